#include "run_options.hpp"

#include <CLI/CLI.hpp>
#include <array>
#include <map>
#include <string_view>
#include <utility>

namespace pensee::cli {

void add_model_options(CLI::App& command, ModelOptions& options) {
  command.add_option("--threads", options.threads, "Threads; 0: as many as may run at once")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

void add_load_options(CLI::App& command, ModelOptions& options) {
  command.add_flag("--read-ahead", options.read_ahead,
                   "Read all of the model into memory first; else as parts of it are used");
  command.add_option("--repack-dir", options.repack_dir,
                     "Folder for a copy of the weights in an order that is read faster; made once");
}

void add_cache_type(CLI::App& command, ModelOptions& options) {
  command
      .add_option("--cache-type", options.cache_type,
                  "How the cache holds numbers: bf16, f32 (exact) or q8 (8 bits)")
      ->capture_default_str();
}

void add_ask_options(CLI::App& command, AskOptions& options) {
  static const std::map<std::string, Show> kShow = {
      {"both", Show::kBoth}, {"thoughts", Show::kThoughts}, {"answer", Show::kAnswer}};
#define PENSEE_X(enumerator, value, name) {name, Speculation::enumerator},
  static const std::map<std::string, Speculation> kSpeculation = {
      PENSEE_SPECULATION_LIST(PENSEE_X)};
#undef PENSEE_X
  add_model_options(command, options.model);
  add_load_options(command, options.model);
  add_cache_type(command, options.model);
  command.add_option("--system", options.system, "System prompt");
  command.add_option("--thinking", options.thinking, "auto, on or off")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str();
  command.add_option("--thinking-budget", options.thinking_budget,
                     "Tokens of thought after which it is closed; -1: no limit, 0: no thought");
  command.add_option("--max-answer-tokens", options.max_answer_tokens,
                     "Tokens of the answer at most");
  command.add_option("--max-tokens", options.max_tokens, "Tokens of thought and answer at most");
  command.add_option("--answer-grammar", options.answer_grammar,
                     "File with a grammar (GBNF) that the answer keeps to");
  command.add_option("--answer-json-schema", options.answer_json_schema,
                     "File with a JSON schema that the answer keeps to");
  command.add_option("--context", options.context, "Tokens that the session can hold")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--speculation", options.speculation,
                  "Where guesses at coming tokens are from; they change the time, not the reply")
      ->transform(CLI::CheckedTransformer(kSpeculation))
      ->option_text("{off,prompt_lookup,mtp,auto}=off");
  command.add_option("--temp", options.temperature, "Temperature; 0: greedy");
  command.add_option("--top-p", options.top_p, "Keep the most probable tokens of this sum");
  command.add_option("--top-k", options.top_k, "Keep this many most probable tokens; 0: all");
  command.add_option("--min-p", options.min_p,
                     "Keep tokens at least this probable, relative to the most probable one");
  command.add_option("--seed", options.seed, "Seed of the random choices; 0 unless given");
  command.add_flag("--greedy", options.greedy, "Always take the most probable token");
  command.add_option("--show", options.show, "What is shown")
      ->transform(CLI::CheckedTransformer(kShow))
      ->option_text("{thoughts,answer,both}=both");
  command.add_flag("--json", options.json,
                   "Print prompt, thought, answer, endings and usage as JSON at the end");
}

Error by_option(Error error) {
  using Name = std::pair<std::string_view, std::string_view>;
  static constexpr std::array kNames = {Name{"thinking_token_budget", "--thinking-budget"},
                                        Name{"max_answer_tokens", "--max-answer-tokens"},
                                        Name{"max_tokens", "--max-tokens"},
                                        Name{"answer_grammar", "--answer-grammar"},
                                        Name{"answer_json_schema", "--answer-json-schema"},
                                        Name{"temperature", "--temp"},
                                        Name{"top_p", "--top-p"},
                                        Name{"top_k", "--top-k"},
                                        Name{"min_p", "--min-p"}};
  for (const auto& [field, option] : kNames) {
    if (error.message.starts_with(std::string(field) + ":")) {
      error.message.replace(0, field.size(), option);
    }
  }
  return error;
}

}  // namespace pensee::cli
