// What the command line says, as plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/decode/speculative.hpp"
#include "pensee/reason/reply_options.hpp"

namespace CLI {
class App;
}

namespace pensee::cli {

enum class Show { kBoth, kThoughts, kAnswer };

// Options that every command with a model has.
struct ModelOptions {
  std::string path;  // empty: the bundled model
  int threads = 0;   // 0: one for each core
  bool read_ahead = false;
  std::string repack_dir;
  std::string cache_type = "bf16";  // of sessions
};

// Options of ask and chat. Unset ones leave the model's own defaults in force.
struct AskOptions {
  ModelOptions model;
  std::string prompt;
  std::string system;
  std::string thinking = "auto";  // auto, on, off
  std::string history = "strip";  // strip, keep
  ReplyOptions reply;             // but for the two above and these, which are files:
  std::string answer_grammar;
  std::string answer_json_schema;
  std::optional<int64_t> context;  // tokens
  Speculation speculation = Speculation::kOff;
  bool greedy = false;
  int voters = 0;  // 0: no vote, one reply
  Show show = Show::kBoth;
  bool json = false;
};

struct InfoOptions {
  ModelOptions model;
  int64_t context = 0;  // tokens; 0: the default
};

struct QuantizeCommand {
  ModelOptions model;
  std::string out;
  std::string type = "q8_0";
  std::optional<std::string> output_type;
  std::optional<std::string> embedding_type;
  std::vector<std::string> overrides;  // PATTERN=TYPE
  bool mtp = false;
};

struct LogitsOptions {
  ModelOptions model;
  std::vector<int32_t> ids;
  std::string out;
};

struct BenchOptions {
  ModelOptions model;
  std::vector<int64_t> prefill;   // prompt lengths, tokens; empty: a choice that suits the rest
  std::vector<int64_t> depth;     // tokens that the cache holds before; empty: likewise
  std::vector<int64_t> sessions;  // that write tokens together; may be empty
  int64_t decode = 32;            // tokens
  int repeats = 5;
  std::string cpus;   // "0-3,8"; empty: all, and threads are not pinned
  std::string layer;  // "moe", "mla": one layer instead of a model
  std::string layer_type = "q4_k";
  int64_t experts = 256;  // of the layer
  bool json = false;
};

void add_model_options(CLI::App& command, ModelOptions& options);
void add_load_options(CLI::App& command, ModelOptions& options);
void add_cache_type(CLI::App& command, ModelOptions& options);
void add_ask_options(CLI::App& command, AskOptions& options);

// The error of a field, which its message begins with, naming the option that sets it: the field's
// name after `prefix`.
Error by_option(Error error, std::string_view prefix = "--");

}  // namespace pensee::cli
