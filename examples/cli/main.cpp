// pensee: asks a reasoning model from the command line. The answer goes to standard output, the
// thought to standard error.
#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "commands.hpp"
#include "terminal.hpp"

namespace pensee::cli {
namespace {

constexpr int kFailure = 1;  // of every error; ask also returns 130

using Command = std::function<Result<int>()>;

// A text, or a model and a text. Each word is an option of its own: of a list, CLI11 would take a
// text such as "[a,b]" apart.
struct Words {
  std::string first;
  std::string second;
  bool has_model = false;

  [[nodiscard]] const std::string& text() const { return has_model ? second : first; }
};

// `name`: of the text, such as "PROMPT".
std::shared_ptr<Words> add_words(CLI::App& command, const std::string& name) {
  auto words = std::make_shared<Words>();
  command
      .add_option("MODEL-or-" + name, words->first,
                  "The " + name + "; or, if one follows, folder or file of the model")
      ->required();
  const CLI::Option* second = command.add_option(name, words->second, "-: standard input");
  command.parse_complete_callback([words, second] { words->has_model = second->count() > 0; });
  return words;
}

void add_ask(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("ask", "Ask one question");
  auto options = std::make_shared<AskOptions>();
  const auto words = add_words(*command, "PROMPT");
  add_ask_options(*command, *options);
  command
      ->add_option("--vote", options->voters,
                   "Let so many voters reply, which differ in their seeds, and take the \\boxed{} "
                   "answer of most")
      ->check(CLI::Range(1, 1024));
  command->callback([options, words, &chosen] {
    options->prompt = words->text();
    if (words->has_model) options->model.path = words->first;
    chosen = [options] { return run_ask(*options); };
  });
}

void add_chat(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("chat", "Talk: one question a line");
  auto options = std::make_shared<AskOptions>();
  command->add_option("MODEL", options->model.path, "Folder or file of the model");
  add_ask_options(*command, *options);
  command->add_option("--history", options->history, "Whether earlier thoughts stay in the prompt")
      ->check(CLI::IsMember({"strip", "keep"}))
      ->capture_default_str();
  command->callback([options, &chosen] { chosen = [options] { return run_chat(*options); }; });
}

void add_info(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("info", "Show what a model is, and the memory it takes");
  auto options = std::make_shared<InfoOptions>();
  command->add_option("MODEL", options->model.path, "Folder or file of the model");
  command->add_option("--context", options->context, "Tokens that a session shall hold")
      ->check(CLI::PositiveNumber);
  add_model_options(*command, options->model);
  add_cache_type(*command, options->model);
  command->callback([options, &chosen] { chosen = [options] { return run_info(*options); }; });
}

void add_quantize(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand(
      "quantize", "Write a model as a GGUF file of smaller numbers; goes on where it was stopped");
  auto options = std::make_shared<QuantizeCommand>();
  command->add_option("IN", options->model.path, "Folder or file of the model")->required();
  command->add_option("OUT", options->out, "GGUF file to write")->required();
  command->add_option("--type", options->type, "Type of most tensors, such as q8_0 or q4_k")
      ->capture_default_str();
  command->add_option(
      "--output-type", options->output_type,
      "Type of the output, and of embeddings that are the output too; else that of most, "
      "or q6_k where that is smaller");
  command->add_option("--embedding-type", options->embedding_type,
                      "Type of embeddings; else that of most, or of the output where they are one");
  command
      ->add_option("--tensor-type", options->overrides,
                   "Type of the tensors in whose GGUF names a regex occurs, such as "
                   "'ffn_down=q6_k'; the first that does counts")
      ->option_text("PATTERN=TYPE ...");
  command->add_flag("--mtp", options->mtp,
                    "Of safetensors: keep the layer of multi-token prediction, for --speculation "
                    "mtp; other engines may refuse such files");
  add_model_options(*command, options->model);
  command->callback([options, &chosen] { chosen = [options] { return run_quantize(*options); }; });
}

void add_tokenize(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("tokenize", "Show the tokens of a text");
  auto options = std::make_shared<ModelOptions>();
  const auto words = add_words(*command, "TEXT");
  command->callback([options, words, &chosen] {
    if (words->has_model) options->path = words->first;
    chosen = [options, words] { return run_tokenize(*options, words->text()); };
  });
}

void add_logits(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("logits", "Write the logits of all positions");
  auto options = std::make_shared<LogitsOptions>();
  command->add_option("MODEL", options->model.path, "Folder or file of the model");
  command->add_option("--ids", options->ids, "Token ids, such as 1,2,3")
      ->required()
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--out", options->out, "NumPy file to write: float32 (positions, vocabulary)")
      ->required();
  add_model_options(*command, options->model);
  command->callback([options, &chosen] { chosen = [options] { return run_logits(*options); }; });
}

void add_layer_options(CLI::App& command, BenchOptions& options) {
  command
      .add_option("--layer", options.layer,
                  "Instead of a model, one layer of DeepSeek-R1's size with random weights: moe, "
                  "whose prompts are rows, or mla")
      ->check(CLI::IsMember({"moe", "mla"}));
  command.add_option("--layer-type", options.layer_type, "Type of the layer's weights")
      ->capture_default_str();
  command.add_option("--experts", options.experts, "Experts of the layer, of which R1 has 256")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

void add_bench(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("bench", "Measure the machine and the model");
  auto options = std::make_shared<BenchOptions>();
  command->add_option("MODEL", options->model.path, "Folder or file of the model");
  command->add_option("--prefill", options->prefill, "Prompt lengths, such as 32,128")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--depth", options->depth,
                   "Tokens in the cache before decoding, such as 0,8192; their rows are made up")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--sessions", options->sessions,
                   "Sessions that write tokens together, such as 1,4,8")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1024));
  command->add_option("--decode", options->decode, "Tokens to decode at each depth")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--repeats", options->repeats, "Runs, of which the median is shown")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--cpus", options->cpus,
                      "CPUs to tie the threads to, such as 0-3,8; as many threads unless given");
  add_layer_options(*command, *options);
  command->add_flag("--json", options->json, "Print JSON");
  add_load_options(*command, options->model);
  add_model_options(*command, options->model);
  add_cache_type(*command, options->model);
  command->callback([options, &chosen] { chosen = [options] { return run_bench(*options); }; });
}

int run(int argc, char** argv) {
  CLI::App app(
      "Asks reasoning models on this machine's CPU: thoughts and answers apart.\n"
      "Without MODEL a small bundled one is used.",
      "pensee");
  app.set_version_flag("--version", "pensee " PENSEE_VERSION);
  app.require_subcommand(1);
  Command chosen;
  add_ask(app, chosen);
  add_chat(app, chosen);
  add_info(app, chosen);
  add_tokenize(app, chosen);
  add_logits(app, chosen);
  add_bench(app, chosen);
  add_quantize(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kFailure;
  }
  const Result<int> code = chosen();
  if (!code) {
    write_error("pensee: " + code.error().message + "\n");
    return kFailure;
  }
  if (!output_is_good()) {
    write_error("pensee: cannot write to standard output\n");
    return kFailure;
  }
  return *code;
}

}  // namespace
}  // namespace pensee::cli

int main(int argc, char** argv) {
  return pensee::cli::run(argc, argv);
}
