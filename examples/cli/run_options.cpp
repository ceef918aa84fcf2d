#include "run_options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <string_view>

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

namespace {

void add_thought_options(CLI::App& command, AskOptions& options) {
  ReplyOptions& reply = options.reply;
  command.add_option("--thinking", options.thinking, "auto, on or off")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str();
  command.add_option("--thinking-token-budget,--thinking-budget", reply.thinking_token_budget,
                     "Tokens of thought after which it is closed; -1: no limit, 0: no thought");
  command.add_option("--budget-message", reply.budget_message,
                     "Text that the thought ends with where the budget closes it");
  command.add_option("--min-thought-tokens", reply.min_thought_tokens,
                     "Tokens of thought before which it goes on when the model closes it");
  command
      .add_option("--extension-text", reply.extension_text, "Text that it goes on with each time")
      ->capture_default_str();
  command.add_option("--max-extensions", reply.max_extensions, "Times at most; -1: no limit");
}

void add_answer_options(CLI::App& command, AskOptions& options) {
  ReplyOptions& reply = options.reply;
  command.add_option("--max-answer-tokens", reply.max_answer_tokens,
                     "Tokens of the answer at most; -1: no limit");
  command.add_option("--max-tokens", reply.max_tokens,
                     "Tokens of thought and answer at most; -1: no limit");
  // Not a list, of which CLI11 would take "{}" for an empty one.
  const auto add_stop = [&reply](const std::string& text) { reply.stop.push_back(text); };
  command
      .add_option_function<std::string>("--stop", add_stop,
                                        "Text that ends the answer and is not part of it; may be "
                                        "given several times")
      ->trigger_on_parse();
  command.add_flag("--stop-in-thought", reply.stop_in_thought,
                   "These texts end the thought too, and with it the reply");
  command.add_option("--answer-grammar", options.answer_grammar,
                     "File with a grammar (GBNF) that the answer keeps to");
  command.add_option("--answer-json-schema", options.answer_json_schema,
                     "File with a JSON schema that the answer keeps to");
}

void add_sampler_options(CLI::App& command, AskOptions& options) {
  SamplerOverrides& thought = options.reply.thought_sampler;
  command.add_option("--temperature,--temp", thought.temperature, "Temperature; 0: greedy");
  command.add_option("--top-p", thought.top_p, "Keep the most probable tokens of this sum");
  command.add_option("--top-k", thought.top_k, "Keep this many most probable tokens; 0: all");
  command.add_option("--min-p", thought.min_p,
                     "Keep tokens at least this probable, relative to the most probable one");
  command.add_option("--repetition-penalty", thought.repetition_penalty,
                     "Above 1: tokens of prompt and reply are less probable");
  command.add_option("--presence-penalty", thought.presence_penalty,
                     "Taken once from the logits of the reply's tokens; -2 to 2");
  command.add_option("--frequency-penalty", thought.frequency_penalty,
                     "Taken from them for each time that a token occurs; -2 to 2");
  SamplerOverrides& answer = options.reply.answer_sampler;
  command.add_option("--answer-temperature", answer.temperature,
                     "Of the answer; else, here and below, as of the thought");
  command.add_option("--answer-top-p", answer.top_p, "Of the answer");
  command.add_option("--answer-top-k", answer.top_k, "Of the answer");
  command.add_option("--answer-min-p", answer.min_p, "Of the answer");
  command.add_option("--seed", thought.seed, "Seed of the random choices; 0 unless given");
  command.add_flag("--greedy", options.greedy, "Always take the most probable token");
}

}  // namespace

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
  add_thought_options(command, options);
  add_answer_options(command, options);
  command.add_option("--context", options.context, "Tokens that the session can hold")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--speculation", options.speculation,
                  "Where guesses at coming tokens are from; they change the time, not the reply")
      ->transform(CLI::CheckedTransformer(kSpeculation))
      ->option_text("{off,prompt_lookup,mtp,auto}=off");
  add_sampler_options(command, options);
  command.add_option("--show", options.show, "What is shown")
      ->transform(CLI::CheckedTransformer(kShow))
      ->option_text("{thoughts,answer,both}=both");
  command.add_flag("--json", options.json,
                   "Print prompt, thought, answer, endings and usage as JSON at the end");
}

Error by_option(Error error, std::string_view prefix) {
  std::string& message = error.message;
  std::replace(message.begin(), std::find(message.begin(), message.end(), ':'), '_', '-');
  message.insert(0, prefix);
  return error;
}

}  // namespace pensee::cli
