// ask and chat: questions, thoughts and answers.
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "interrupt.hpp"
#include "load.hpp"
#include "pensee/io/mapped_file.hpp"
#include "pensee/reason/answer_form.hpp"
#include "pensee/reason/session.hpp"
#include "reply_printer.hpp"
#include "terminal.hpp"

namespace pensee::cli {
namespace {

constexpr int kNoAnswer = 1;
constexpr int kOneLine = -1;       // JSON without line breaks
constexpr int kInterrupted = 130;  // as a shell says of a program that Ctrl-C ended

Thinking thinking_of(const std::string& name) {
  if (name == "on") return Thinking::kOn;
  return name == "off" ? Thinking::kOff : Thinking::kAuto;
}

// The text of a file; none for no name.
Result<std::string> text_of(const std::string& file) {
  if (file.empty()) return std::string();
  PENSEE_ASSIGN_OR_RETURN(const MappedFile text, MappedFile::open(file));
  if (text.bytes().empty())
    return invalid_argument(file + ": expected a text, found an empty file");
  return std::string(reinterpret_cast<const char*>(text.bytes().data()), text.bytes().size());
}

Result<ReplyOptions> reply_options(const AskOptions& options) {
  ReplyOptions reply;
  reply.thinking = thinking_of(options.thinking);
  reply.history = options.history == "keep" ? History::kKeep : History::kStrip;
  reply.thinking_token_budget = options.thinking_budget.value_or(reply.thinking_token_budget);
  reply.max_answer_tokens = options.max_answer_tokens.value_or(reply.max_answer_tokens);
  reply.max_tokens = options.max_tokens.value_or(reply.max_tokens);
  PENSEE_ASSIGN_OR_RETURN(reply.answer_grammar, text_of(options.answer_grammar));
  PENSEE_ASSIGN_OR_RETURN(reply.answer_json_schema, text_of(options.answer_json_schema));
  reply.thought_sampler.temperature = options.greedy ? 0.0F : options.temperature;
  reply.thought_sampler.top_p = options.top_p;
  reply.thought_sampler.top_k = options.top_k;
  reply.thought_sampler.min_p = options.min_p;
  reply.thought_sampler.seed = options.seed;
  return reply;
}

// What can be known to be wrong without a model. Errors name the option instead of the field.
Result<void> check(const AskOptions& options) {
  PENSEE_ASSIGN_OR_RETURN(const ReplyOptions reply, reply_options(options));
  for (const Result<void>& valid : {validate(reply), validate(reply.thought_settings({}))}) {
    if (!valid) return by_option(valid.error());
  }
  const Result<AnswerForm> form = AnswerForm::create(reply, {});
  if (!form) return by_option(form.error());
  return {};
}

Result<std::unique_ptr<Session>> start_session(const AskOptions& options) {
  PENSEE_RETURN_IF_ERROR(check(options));
  SessionOptions session_options;
  PENSEE_ASSIGN_OR_RETURN(session_options.cache_type,
                          cache_type_from_name(options.model.cache_type));
  session_options.context_length = options.context.value_or(session_options.context_length);
  session_options.speculation = options.speculation;
  ProgressBar bar("loading");
  LoadOptions load;
  load.kernels = &best_kernels();
  load.threads = options.model.threads;
  load.read_ahead = options.model.read_ahead;
  load.repack_dir = options.model.repack_dir;
  load.progress = [&](double fraction) {
    bar.show(fraction);
    return true;
  };
  PENSEE_ASSIGN_OR_RETURN(auto model, Model::load(model_path(options.model), load));
  bar.wipe();
  PENSEE_ASSIGN_OR_RETURN(auto session, Session::create(std::move(model), session_options));
  if (!options.system.empty()) {
    PENSEE_RETURN_IF_ERROR(session->add_message(Role::kSystem, options.system));
  }
  return session;
}

nlohmann::ordered_json to_json(const std::string& prompt, const Reply& reply) {
  const Usage& u = reply.usage;
  return {{"prompt", prompt},
          {"thought", reply.thought},
          {"answer", reply.answer},
          {"thought_end", name_of(reply.thought_end)},
          {"answer_end", name_of(reply.answer_end)},
          {"usage",
           {{"prompt_tokens", u.prompt_tokens},
            {"cached_tokens", u.cached_tokens},
            {"thought_tokens", u.thought_tokens},
            {"answer_tokens", u.answer_tokens},
            {"control_tokens", u.control_tokens},
            {"forced_tokens", u.forced_tokens},
            {"draft_tokens", u.draft_tokens},
            {"accepted_tokens", u.accepted_tokens},
            {"prefill_seconds", u.prefill_seconds},
            {"thought_seconds", u.thought_seconds},
            {"answer_seconds", u.answer_seconds}}}};
}

void write_json(const nlohmann::ordered_json& json, int indentation) {
  using Json = nlohmann::ordered_json;
  write_out(json.dump(indentation, ' ', false, Json::error_handler_t::replace) + "\n");
}

// One question: shows the reply, or prints it as JSON with this indentation.
Result<int> converse(Session& session, const AskOptions& options, const std::string& prompt,
                     int indentation) {
  ProgressBar bar("reading the prompt");
  PENSEE_ASSIGN_OR_RETURN(ReplyOptions reply_settings, reply_options(options));
  reply_settings.prefill_progress = [&](int64_t done, int64_t total) {
    bar.show(static_cast<double>(done) / static_cast<double>(total));
    return true;
  };
  PENSEE_RETURN_IF_ERROR(session.add_message(Role::kUser, prompt));
  PENSEE_RETURN_IF_ERROR(session.start(reply_settings));
  InterruptScope interrupt(session);
  ReplyPrinter printer(options.show);
  for (;;) {
    PENSEE_ASSIGN_OR_RETURN(const Event event, session.step());
    bar.wipe();
    if (event.kind == EventKind::kThoughtEnd) interrupt.thought_is_over();
    if (event.kind == EventKind::kDone) break;
    if (!options.json) printer.show(event);
  }
  const Reply reply = session.reply();
  if (options.json) {
    write_json(to_json(prompt, reply), indentation);
  } else {
    printer.finish(reply);
  }
  if (reply.answer_end == AnswerEnd::kCancelled) return kInterrupted;
  return reply.answer_end == AnswerEnd::kNone ? kNoAnswer : 0;
}

}  // namespace

Result<int> run_ask(const AskOptions& options) {
  PENSEE_ASSIGN_OR_RETURN(const auto session, start_session(options));
  const std::string prompt = given_or_input(options.prompt);
  constexpr int kIndentation = 2;
  return converse(*session, options, prompt, kIndentation);
}

Result<int> run_chat(const AskOptions& options) {
  PENSEE_ASSIGN_OR_RETURN(const auto session, start_session(options));
  const bool ask = input_is_terminal();
  if (ask) write_error("One question a line; Ctrl-D ends.\n");
  std::string line;
  int code = 0;
  for (;;) {
    if (ask) write_error("> ");
    if (!std::getline(std::cin, line)) break;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const size_t messages = session->messages().size();
    const Result<int> asked = converse(*session, options, line, kOneLine);
    code = asked ? *asked : kNoAnswer;
    if (asked) continue;
    // A question that is too long, or no text, is as if it had never been.
    const bool is_refused =
        asked.error().status == Status::kContextFull || find_malformed_utf8(line).has_value();
    if (!is_refused) return asked.error();
    write_error("pensee: " + asked.error().message + "\n");
    if (options.json) {
      write_json({{"prompt", line}, {"error", asked.error().message}}, kOneLine);
    }
    session->abandon_reply();
    PENSEE_RETURN_IF_ERROR(session->rewind(messages));
  }
  if (ask) write_error("\n");
  return ask ? 0 : code;
}

}  // namespace pensee::cli
