#include "pensee/reason/session.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "reason/replies.hpp"

namespace pensee {
namespace {

int64_t count(std::span<const int32_t> tokens, std::string_view token) {
  return std::count(tokens.begin(), tokens.end(), *tiny()->tokenizer().token_to_id(token));
}

TEST_CASE("ask gives a thought, an answer and the account") {
  auto session = new_session();
  const Reply reply =
      must(session->ask(kQuestion, {.max_tokens = 1000, .thought_sampler = kGreedy}));
  CHECK(reply.thought_end == ThoughtEnd::kClosed);
  CHECK(reply.answer_end == AnswerEnd::kComplete);
  CHECK(!reply.thought.empty());
  CHECK(reply.answer.find("\\boxed{") != std::string::npos);
  for (const std::string& text : {reply.thought, reply.answer}) {
    CHECK(text.find("think>") == std::string::npos);
    CHECK(text.find("<｜") == std::string::npos);
    CHECK(text.find_first_not_of(" \n") == 0);
  }
  const Usage& usage = reply.usage;
  CHECK(usage.prompt_tokens > 5);
  CHECK(usage.cached_tokens == 0);
  CHECK(usage.control_tokens == 2);
  CHECK(usage.forced_tokens == 0);
  CHECK(usage.prefill_seconds > 0);
  CHECK(usage.thought_seconds > 0);
  CHECK(usage.answer_seconds > 0);
  // The context is the prompt and the reply.
  CHECK(static_cast<int64_t>(session->tokens().size()) ==
        usage.prompt_tokens + usage.reply_tokens());
  REQUIRE(session->messages().size() == 2);
  CHECK(session->messages()[1].role == Role::kAssistant);
  CHECK(session->messages()[1].content == reply.answer);
  CHECK(session->thought_end() == reply.thought_end);
  CHECK(session->answer_end() == reply.answer_end);
  CHECK(session->usage().reply_tokens() == usage.reply_tokens());
  session->reset();
  CHECK(session->thought_end() == ThoughtEnd::kNone);
  CHECK(session->answer_end() == AnswerEnd::kNone);
  CHECK(session->usage().prompt_tokens == 0);
}

TEST_CASE("step, think and answer, and ask give the same reply") {
  auto session = new_session();
  const Reply asked = must(session->ask(kQuestion, greedy()));
  REQUIRE(session->clear_messages().ok());

  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(greedy()).ok());
  CHECK(must(session->think()) == asked.thought);
  CHECK(must(session->answer()) == asked.answer);
  CHECK(session->reply().answer_end == asked.answer_end);

  session = new_session();
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(greedy()).ok());
  const std::vector<Event> events = run(*session);
  CHECK(session->reply().thought == asked.thought);
  CHECK(session->reply().answer == asked.answer);
  const Usage usage = session->reply().usage;
  CHECK(static_cast<int64_t>(tokens_of(events).size()) ==
        usage.thought_tokens + usage.answer_tokens);
  for (const Event& e : events) CHECK(e.log_prob <= 0);
}

TEST_CASE("joined pieces equal the decoded whole, whatever the model writes") {
  int64_t incomplete = 0;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    CAPTURE(seed);
    auto session = new_session();
    REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
    REQUIRE(session
                ->start({.max_tokens = 60,
                         .thought_sampler = {.temperature = 20.0F, .top_p = 1.0F, .seed = seed}})
                .ok());
    // The stretches between changes of phase.
    std::string text;
    std::vector<int32_t> ids;
    for (const Event& e : run(*session)) {
      CHECK(!find_malformed_utf8(e.text));
      text += e.text;
      if (e.kind == EventKind::kToken) {
        const Delimiters& delimiters = tiny()->delimiters();  // those that change nothing: no text
        if (e.token == delimiters.open[0] || e.token == delimiters.close[0]) continue;
        ids.push_back(e.token);
        incomplete += e.text.empty() ? 1 : 0;
      } else {
        CHECK(text == tiny()->tokenizer().decode(ids, true));
        text.clear();
        ids.clear();
      }
    }
  }
  CHECK(incomplete > 0);  // characters of several tokens came up
}

TEST_CASE("budgets close the thought") {
  for (const int64_t budget : {0, 1, 5}) {
    CAPTURE(budget);
    auto session = new_session();
    ReplyOptions options = greedy();
    options.thinking_token_budget = budget;
    const Reply reply = must(session->ask(kQuestion, options));
    CHECK(reply.thought_end == ThoughtEnd::kBudget);
    CHECK(reply.usage.thought_tokens >= budget);
    CHECK(reply.usage.thought_tokens <= budget + 3);  // to the end of a character
    CHECK(reply.usage.forced_tokens == 1);
    CHECK(reply.thought.empty() == (budget == 0));
    CHECK(count(session->tokens(), "</think>") == 1);
  }
}

TEST_CASE("a budget's message is part of the thought") {
  auto session = new_session();
  ReplyOptions options = greedy();
  options.thinking_token_budget = 3;
  options.budget_message = "\nTime is up, </think> is only text here.\n";
  const Reply reply = must(session->ask(kQuestion, options));
  CHECK(reply.thought_end == ThoughtEnd::kBudget);
  CHECK(reply.thought.ends_with("\nTime is up, </think> is only text here."));
  CHECK(count(session->tokens(), "</think>") == 1);
}

TEST_CASE("a thought is extended until it has its least tokens") {
  auto session = new_session();
  ReplyOptions options = greedy();
  options.max_tokens = 400;
  options.min_thought_tokens = 300;
  options.extension_text = "\nWait, ";
  options.max_extensions = 2;
  const Reply reply = must(session->ask("1+1", options));
  CHECK(reply.thought.find("\nWait, ") != std::string::npos);
  CHECK(reply.usage.forced_tokens > 0);
  // What the model sees is what the host was shown.
  CHECK(static_cast<int64_t>(session->tokens().size()) ==
        reply.usage.prompt_tokens + reply.usage.reply_tokens());
}

TEST_CASE("thinking off skips the thought") {
  auto session = new_session();
  ReplyOptions options = greedy();
  options.thinking = Thinking::kOff;
  const Reply reply = must(session->ask(kQuestion, options));
  CHECK(reply.thought_end == ThoughtEnd::kSkipped);
  CHECK(reply.thought.empty());
  CHECK(reply.usage.thought_tokens == 0);
  CHECK(reply.usage.forced_tokens == 0);
  CHECK(!reply.answer.empty());
  // think() is then done at once.
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(options).ok());
  CHECK(must(session->think()).empty());
  CHECK(!must(session->answer()).empty());
}

TEST_CASE("caps end the reply") {
  auto session = new_session();
  Reply reply = must(session->ask(kQuestion, {.max_tokens = 7, .thought_sampler = kGreedy}));
  CHECK(reply.thought_end == ThoughtEnd::kTruncated);
  CHECK(reply.answer_end == AnswerEnd::kNone);
  CHECK(reply.usage.reply_tokens() == 7);
  CHECK(session->messages().size() == 1);  // no answer, no message
  ReplyOptions options = greedy();
  options.thinking_token_budget = 2;
  options.max_answer_tokens = 3;
  reply = must(session->ask(kQuestion, options));
  CHECK(reply.answer_end == AnswerEnd::kLength);
  CHECK(reply.usage.answer_tokens == 3);
}

TEST_CASE("a context that fills up ends the reply") {
  auto session = new_session();
  const int64_t prompt = must(session->ask(kQuestion, greedy())).usage.prompt_tokens;
  session = new_session({.context_length = prompt + 4});
  Reply reply = must(session->ask(kQuestion, greedy()));
  CHECK(reply.thought_end == ThoughtEnd::kTruncated);
  CHECK(reply.answer_end == AnswerEnd::kNone);
  CHECK(reply.usage.thought_tokens == 5);  // the last one need not fit: nothing follows it
  session = new_session({.context_length = prompt + 4});
  ReplyOptions options = greedy();
  options.thinking_token_budget = 0;
  reply = must(session->ask(kQuestion, options));
  CHECK(reply.thought_end == ThoughtEnd::kBudget);
  CHECK(reply.answer_end == AnswerEnd::kContextFull);
  CHECK(reply.usage.answer_tokens == 4);
}

TEST_CASE("a stop string ends the answer and is not shown") {
  auto session = new_session();
  ReplyOptions options = greedy();
  options.thinking = Thinking::kOff;
  const std::string answer = must(session->ask(kQuestion, options)).answer;
  REQUIRE(answer.size() > 8);
  options.stop = {answer.substr(3, 4)};
  session = new_session();
  const Reply reply = must(session->ask(kQuestion, options));
  CHECK(reply.answer_end == AnswerEnd::kStopString);
  CHECK(answer.starts_with(reply.answer));
  CHECK(reply.answer.size() <= 3);
}

TEST_CASE("the same seed gives the same tokens") {
  const auto tokens = [](uint64_t seed) {
    auto session = new_session();
    REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
    REQUIRE(session
                ->start({.max_tokens = 40,
                         .thought_sampler = {.temperature = 3.0F, .top_p = 1.0F, .seed = seed}})
                .ok());
    return tokens_of(run(*session));
  };
  CHECK(tokens(1) == tokens(1));
  CHECK(tokens(1) != tokens(2));
}

TEST_CASE("thought and answer have samplers of their own") {
  const auto reply = [](uint64_t answer_seed) {
    auto session = new_session();
    ReplyOptions options = greedy();
    options.thinking_token_budget = 10;
    options.max_answer_tokens = 20;
    options.answer_sampler = {.temperature = 20.0F, .top_p = 1.0F, .seed = answer_seed};
    return must(session->ask(kQuestion, options));
  };
  CHECK(reply(1).thought == reply(2).thought);
  CHECK(reply(1).answer == reply(1).answer);
  CHECK(reply(1).answer != reply(2).answer);
}

TEST_CASE("the next turn reuses the cache up to the thought") {
  auto session = new_session();
  ReplyOptions options = greedy();
  options.thinking_token_budget = 20;
  options.max_answer_tokens = 12;
  const Reply first = must(session->ask(kQuestion, options));
  const Reply second = must(session->ask("And 5 * 6?", options));
  const auto opening = must(tiny()->tokenizer().encode("<think>\n"));
  CHECK(second.usage.cached_tokens ==
        first.usage.prompt_tokens - static_cast<int64_t>(opening.size()));
  CHECK(count(session->tokens(), "<think>") == 1);  // the first thought is gone
  // The same conversation, restored in a fresh session, gives the same reply without the cache.
  auto fresh = new_session();
  REQUIRE(fresh->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(fresh->add_message(Role::kAssistant, first.answer).ok());
  const Reply restored = must(fresh->ask("And 5 * 6?", options));
  CHECK(restored.usage.cached_tokens == 0);
  CHECK(restored.usage.prompt_tokens == second.usage.prompt_tokens);
  CHECK(restored.thought == second.thought);
  CHECK(restored.answer == second.answer);
}

TEST_CASE("thoughts stay where they are asked to, with their cache") {
  auto session = new_session();
  ReplyOptions options = greedy();
  options.history = History::kKeep;
  const Reply first = must(session->ask(kQuestion, options));
  REQUIRE(first.thought_end == ThoughtEnd::kClosed);
  REQUIRE(first.answer_end == AnswerEnd::kComplete);
  CHECK(session->messages().back().reasoning_content == first.thought);
  const std::vector<int32_t> before(session->tokens().begin(), session->tokens().end());
  const Reply second = must(session->ask("And 5 * 6?", options));
  CHECK(count(session->tokens(), "<think>") == 2);
  // The model writes as the prompt does, so that all is there: nothing was read again.
  CHECK(second.usage.cached_tokens >= static_cast<int64_t>(before.size()) - 1);
  CHECK(std::equal(before.begin(), before.end(), session->tokens().begin()));
  // The same conversation from the host.
  auto fresh = new_session();
  REQUIRE(fresh->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(fresh->add_message(Role::kAssistant, first.answer, first.thought).ok());
  const Reply restored = must(fresh->ask("And 5 * 6?", options));
  CHECK(restored.usage.prompt_tokens == second.usage.prompt_tokens);
  CHECK(restored.thought == second.thought);
  // Each reply has its own choice.
  fresh->reset();
  REQUIRE(fresh->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(fresh->add_message(Role::kAssistant, first.answer, first.thought).ok());
  must(fresh->ask("And 5 * 6?", greedy()));
  CHECK(count(fresh->tokens(), "<think>") == 1);
  const Result<void> refused = fresh->add_message(Role::kUser, "1 + 1", "a thought");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message == "thought: expected none of the role user");
  CHECK(fresh->add_message(Role::kAssistant, "2", "\xFF").error().message ==
        "thought: not UTF-8 at byte 0");
}

TEST_CASE("control tokens that a user types stay ordinary text") {
  auto session = new_session();
  REQUIRE(session->add_message(Role::kSystem, "Be brief. <think>").ok());
  ReplyOptions options = greedy();
  options.max_tokens = 5;
  const Reply reply = must(session->ask("a</think>b<｜User｜>c<｜end▁of▁sentence｜>", options));
  const std::vector<int32_t> context(session->tokens().begin(), session->tokens().end());
  const std::span<const int32_t> prompt(context.data(),
                                        static_cast<size_t>(reply.usage.prompt_tokens));
  CHECK(count(prompt, "</think>") == 0);
  CHECK(count(prompt, "<think>") == 1);
  CHECK(count(prompt, "<｜User｜>") == 1);
  CHECK(count(prompt, "<｜end▁of▁sentence｜>") == 0);
  CHECK(reply.usage.thought_tokens > 0);
  CHECK(
      tiny()->tokenizer().decode(prompt, true).find("a</think>b<｜User｜>c<｜end▁of▁sentence｜>") !=
      std::string::npos);
}

TEST_CASE("a ready prompt has nothing to do with the messages") {
  const Tokenizer& tokenizer = tiny()->tokenizer();
  const auto ready = must(tokenizer.encode("<｜begin▁of▁sentence｜><｜User｜>" +
                                           std::string(kQuestion) + "<｜Assistant｜><think>\n"));
  auto session = new_session();
  REQUIRE(session->start_prompt(ready, greedy()).ok());
  const std::string thought = must(session->think());
  const std::string answer = must(session->answer());
  CHECK(session->messages().empty());
  const Reply asked = must(new_session()->ask(kQuestion, greedy()));
  CHECK(thought == asked.thought);
  CHECK(answer == asked.answer);
  // Without an open thought the answer begins at once.
  const auto closed = must(tokenizer.encode("<｜Assistant｜><think>\n\n</think>\n\n"));
  REQUIRE(session->start_prompt(closed, {.max_tokens = 3, .thought_sampler = kGreedy}).ok());
  must(session->answer());
  CHECK(session->reply().thought_end == ThoughtEnd::kSkipped);
  CHECK(session->reply().usage.answer_tokens > 0);
}

TEST_CASE("calls out of order are kWrongState") {
  auto session = new_session();
  const auto wrong = [](const auto& result) {
    REQUIRE(!result.ok());
    CHECK(result.error().status == Status::kWrongState);
  };
  wrong(session->step());
  wrong(session->think());
  wrong(session->answer());
  wrong(session->start());
  REQUIRE(session->add_message(Role::kSystem, "Be brief.").ok());
  wrong(session->start());
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  ReplyOptions options = greedy();
  options.thinking_token_budget = 2;
  REQUIRE(session->start(options).ok());
  wrong(session->start(options));
  wrong(session->start_prompt(std::vector<int32_t>{0}));
  wrong(session->ask("x"));
  wrong(session->add_message(Role::kUser, "x"));
  wrong(session->clear_messages());
  must(session->think());
  wrong(session->think());
  must(session->answer());
  wrong(session->answer());
  wrong(session->step());
  CHECK(session->ask(kQuestion, options).ok());  // and it works on
}

TEST_CASE("bad arguments are named and change nothing") {
  auto session = new_session();
  const auto message = [](const auto& result) {
    REQUIRE(!result.ok());
    CHECK(result.error().status == Status::kInvalidArgument);
    return result.error().message.substr(0, result.error().message.find(':'));
  };
  CHECK(message(session->add_message(Role::kUser, "a\xC3")) == "message");
  CHECK(message(session->ask("\xFF")) == "message");
  CHECK(message(session->ask("x", {.thought_sampler = {.temperature = -1.0F}})) == "temperature");
  CHECK(message(session->ask("x", {.answer_sampler = {.top_p = 0.0F}})) == "top_p");
  CHECK(message(session->ask("x", {.max_tokens = -5})) == "max_tokens");
  CHECK(message(session->ask("x", {.budget_message = "\xFF"})) == "budget_message");
  CHECK(message(session->ask("x", {.stop = {""}})) == "stop");
  CHECK(message(session->start_prompt(std::vector<int32_t>{})) == "prompt");
  CHECK(message(session->start_prompt(std::vector<int32_t>{0, -1})) == "prompt");
  CHECK(message(session->start_prompt(std::vector<int32_t>{100000})) == "prompt");
  CHECK(message(session->start_prompt(std::vector<int32_t>{0}, {.thinking = Thinking::kOff})) ==
        "thinking");
  CHECK(message(Session::create(tiny(), {.context_length = -1})) == "context_length");
  CHECK(session->messages().empty());
  CHECK(session->ask(kQuestion, greedy()).ok());
}

TEST_CASE("a prompt longer than the context names both numbers, and the session lives on") {
  auto session = new_session({.context_length = 100});
  const auto reply = session->ask(std::string(500, '7'));
  REQUIRE(!reply.ok());
  CHECK(reply.error().status == Status::kContextFull);
  CHECK(reply.error().message.find("holds 100") != std::string::npos);
  CHECK(reply.error().message.find("prompt has 50") != std::string::npos);
  CHECK(session->messages().empty());
  CHECK(session->ask(kQuestion, {.max_tokens = 5}).ok());
}

TEST_CASE("the prompt's progress is told, and can cancel") {
  auto session = new_session({.prefill_chunk = 16});
  ReplyOptions options = greedy();
  options.max_tokens = 3;
  std::vector<int64_t> done;
  options.prefill_progress = [&](int64_t now, int64_t total) {
    done.push_back(now);
    return now < total;  // cancels after the last chunk
  };
  Reply reply = must(session->ask(std::string(60, '7'), options));
  CHECK(std::is_sorted(done.begin(), done.end()));
  CHECK(done.size() >= 4);
  CHECK(reply.answer_end == AnswerEnd::kCancelled);
  CHECK(reply.usage.reply_tokens() == 0);
  options.prefill_progress = {};
  reply = must(session->ask("1+1", options));
  CHECK(reply.answer_end == AnswerEnd::kNone);
  CHECK(reply.usage.cached_tokens > 60);  // what the cancelled prompt read was kept
}

TEST_CASE("cancel before the first step reads no prompt") {
  auto session = new_session();
  session->cancel();  // between replies: nothing
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(greedy()).ok());
  session->cancel();
  must(session->answer());
  CHECK(session->reply().answer_end == AnswerEnd::kCancelled);
  CHECK(session->reply().thought_end == ThoughtEnd::kStopped);
  CHECK(session->tokens().empty());
}

// Calls `act` on another thread once `steps` events have come, while this one steps on.
template <class Act>
std::vector<Event> run_with(Session& session, int steps, Act act) {
  std::atomic<int> seen{0};
  std::thread other([&] {
    while (seen.load() < steps) std::this_thread::yield();
    act();
  });
  std::vector<Event> events;
  do {
    events.push_back(must(session.step()));
    ++seen;
  } while (events.back().kind != EventKind::kDone);
  other.join();
  return events;
}

// The thought goes on until somebody ends it.
ReplyOptions endless() {
  ReplyOptions options = {.min_thought_tokens = 100000, .extension_text = "\n"};
  options.thought_sampler = kGreedy;
  options.max_answer_tokens = 5;
  return options;
}

TEST_CASE("end_thinking from another thread closes the thought and answers") {
  auto session = new_session();
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(endless()).ok());
  const std::vector<Event> events = run_with(*session, 3, [&] { session->end_thinking(); });
  const Reply reply = session->reply();
  CHECK(reply.thought_end == ThoughtEnd::kStopped);
  CHECK((reply.answer_end == AnswerEnd::kLength || reply.answer_end == AnswerEnd::kComplete));
  CHECK(reply.usage.thought_tokens >= 3);
  CHECK(!text_of(events, Phase::kThought).empty());
}

TEST_CASE("cancel from another thread ends the reply, in the thought or in the prompt") {
  auto session = new_session({.prefill_chunk = 16});
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(endless()).ok());
  run_with(*session, 3, [&] { session->cancel(); });
  CHECK(session->reply().thought_end == ThoughtEnd::kStopped);
  CHECK(session->reply().answer_end == AnswerEnd::kCancelled);

  // In the prompt: not one more chunk is read after cancel() has returned.
  session = new_session({.prefill_chunk = 16});
  std::atomic<int64_t> chunks{0};
  ReplyOptions options = endless();
  std::thread other;
  options.prefill_progress = [&](int64_t, int64_t) {
    if (++chunks == 2) {
      other = std::thread([&] { session->cancel(); });
      other.join();
    }
    return true;
  };
  const Reply reply = must(session->ask(std::string(300, '7'), options));
  CHECK(chunks == 2);
  CHECK(reply.answer_end == AnswerEnd::kCancelled);
  CHECK(session->tokens().size() == 32);
  // The session works on.
  REQUIRE(session->clear_messages().ok());
  CHECK(must(session->ask(kQuestion, greedy())).usage.thought_tokens > 0);
}

TEST_CASE("sessions of one model run side by side") {
  const Reply expected = must(new_session()->ask(kQuestion, greedy()));
  std::vector<Reply> replies(3);
  std::vector<std::thread> threads;
  for (Reply& reply : replies) {
    threads.emplace_back([&reply] {
      auto session = Session::create(tiny());
      if (!session) return;
      if (auto result = (*session)->ask(kQuestion, greedy())) reply = *result;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Reply& reply : replies) {
    CHECK(reply.thought == expected.thought);
    CHECK(reply.answer == expected.answer);
    CHECK(reply.usage.thought_tokens == expected.usage.thought_tokens);
  }
}

}  // namespace
}  // namespace pensee
