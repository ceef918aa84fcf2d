// ask and chat: questions, thoughts and answers.
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "interrupt.hpp"
#include "load.hpp"
#include "pensee/io/mapped_file.hpp"
#include "pensee/reason/answer_form.hpp"
#include "pensee/reason/session.hpp"
#include "pensee/reason/stop_strings.hpp"
#include "pensee/reason/vote.hpp"
#include "reply_printer.hpp"
#include "terminal.hpp"

namespace pensee::cli {
namespace {

constexpr int kNoAnswer = 1;
constexpr int kOneLine = -1;       // JSON without line breaks
constexpr int kIndented = 2;       // JSON with
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
  ReplyOptions reply = options.reply;
  reply.thinking = thinking_of(options.thinking);
  reply.history = options.history == "keep" ? History::kKeep : History::kStrip;
  PENSEE_ASSIGN_OR_RETURN(reply.answer_grammar, text_of(options.answer_grammar));
  PENSEE_ASSIGN_OR_RETURN(reply.answer_json_schema, text_of(options.answer_json_schema));
  if (options.greedy) {
    reply.thought_sampler.temperature = 0;
    reply.answer_sampler.temperature = 0;
  }
  return reply;
}

// What can be known to be wrong without a model. Errors name the option instead of the field.
Result<void> check(const AskOptions& options) {
  PENSEE_ASSIGN_OR_RETURN(const ReplyOptions reply, reply_options(options));
  for (const Result<void>& valid : {validate(reply), validate(reply.thought_settings({}))}) {
    if (!valid) return by_option(valid.error());
  }
  // The thought's settings are good: what is wrong is the answer's own.
  const Result<void> valid = validate(reply.answer_settings({}));
  if (!valid) return by_option(valid.error(), "--answer-");
  const Result<StopStrings> stop = StopStrings::create(reply.stop);
  if (!stop) return by_option(stop.error());
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

// Begins the reply to a question, and shows how much of the prompt has been read.
Result<void> begin_reply(Session& session, const AskOptions& options, const std::string& prompt,
                         ProgressBar& bar) {
  PENSEE_ASSIGN_OR_RETURN(ReplyOptions reply, reply_options(options));
  reply.prefill_progress = [&bar](int64_t done, int64_t total) {
    bar.show(static_cast<double>(done) / static_cast<double>(total));
    return true;
  };
  PENSEE_RETURN_IF_ERROR(session.add_message(Role::kUser, prompt));
  return session.start(reply);
}

int exit_code(const Reply& reply) {
  if (reply.answer_end == AnswerEnd::kCancelled) return kInterrupted;
  return reply.answer_end == AnswerEnd::kNone ? kNoAnswer : 0;
}

// One question: shows the reply, or prints it as JSON with this indentation.
Result<int> converse(Session& session, const AskOptions& options, const std::string& prompt,
                     int indentation) {
  ProgressBar bar("reading the prompt");
  PENSEE_RETURN_IF_ERROR(begin_reply(session, options, prompt, bar));
  InterruptScope interrupt(session);
  ReplyPrinter printer(options.show);
  for (;;) {
    PENSEE_ASSIGN_OR_RETURN(const Event event, session.step());
    bar.wipe();
    const bool answers = event.kind == EventKind::kToken && event.phase == Phase::kAnswer;
    if (answers || event.kind == EventKind::kThoughtEnd) interrupt.thought_is_over();
    if (event.kind == EventKind::kDone) break;
    if (!options.json) printer.show(event);
  }
  const Reply reply = session.reply();
  if (options.json) {
    write_json(to_json(prompt, reply), indentation);
  } else {
    printer.finish(reply);
  }
  return exit_code(reply);
}

// Every voter's answer, and whose is taken.
void show_votes(const VoteResult& result) {
  int voter = 0;
  for (const Ballot& ballot : result.ballots) {
    const Reply& reply = ballot.reply;
    write_error("Voter " + std::to_string(++voter) + ", thought " + name_of(reply.thought_end) +
                ", answer " + name_of(reply.answer_end) + ":\n" + reply.answer + "\n");
  }
  write_error("Elected: voter " + std::to_string(result.elected + 1) +
              (result.votes == 0
                   ? ", since none made a choice\n"
                   : ", for " + result.winner + " by " + std::to_string(result.votes) + " of " +
                         std::to_string(voter) + " votes\n"));
}

// The elected reply, as without a vote, and the voters' in "ballots".
nlohmann::ordered_json to_json(const std::string& prompt, const VoteResult& result) {
  nlohmann::ordered_json json = to_json(prompt, result.ballots[result.elected].reply);
  json["vote"] = {{"winner", result.winner}, {"votes", result.votes}, {"elected", result.elected}};
  for (const Ballot& ballot : result.ballots) {
    nlohmann::ordered_json reply = to_json(prompt, ballot.reply);
    reply.erase("prompt");
    reply["choice"] = ballot.choice;
    json["vote"]["ballots"].push_back(std::move(reply));
  }
  return json;
}

// One question to many voters; shows all answers and the elected reply, or prints them as JSON.
Result<int> elect(Session& session, const AskOptions& options, const std::string& prompt) {
  ProgressBar reading("reading the prompt");
  ProgressBar voting("voting");
  PENSEE_RETURN_IF_ERROR(begin_reply(session, options, prompt, reading));
  InterruptScope interrupt(session);
  if (options.thinking == "off") interrupt.thought_is_over();
  VoteOptions settings{options.voters, options.reply.thought_sampler.seed.value_or(0)};
  settings.progress = [&](int done, int voters) {
    reading.wipe();
    voting.show(static_cast<double>(done) / voters);
    return true;
  };
  PENSEE_ASSIGN_OR_RETURN(const VoteResult result, vote(session, settings));
  voting.wipe();
  const Reply& reply = result.ballots[result.elected].reply;
  if (options.json) {
    write_json(to_json(prompt, result), kIndented);
  } else {
    if (options.show == Show::kBoth) show_votes(result);
    ReplyPrinter(options.show).show(reply);
  }
  const bool is_interrupted = std::ranges::any_of(result.ballots, [](const Ballot& ballot) {
    return ballot.reply.answer_end == AnswerEnd::kCancelled;
  });
  return is_interrupted ? kInterrupted : exit_code(reply);
}

}  // namespace

Result<int> run_ask(const AskOptions& options) {
  PENSEE_ASSIGN_OR_RETURN(const auto session, start_session(options));
  const std::string prompt = given_or_input(options.prompt);
  if (options.voters > 0) return elect(*session, options, prompt);
  return converse(*session, options, prompt, kIndented);
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
