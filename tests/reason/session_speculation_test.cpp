// Session: with guesses at coming tokens everything is as without them.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "pensee/kernels/dispatch.hpp"
#include "pensee/reason/saved_session.hpp"
#include "pensee/reason/session.hpp"
#include "reason/replies.hpp"

namespace pensee {
namespace {

// The tiny R1 with fast kernels.
const std::shared_ptr<const Model>& fast() {
  static const auto model =
      must(Model::load(PENSEE_TINY_R1, {.kernels = &best_kernels(), .threads = 2}));
  return model;
}

std::unique_ptr<Session> session_with(Speculation speculation, int64_t chunk = 512) {
  return must(Session::create(fast(), {.prefill_chunk = chunk, .speculation = speculation}));
}

// A prompt in which a whole reply to the same question stands already, so that guesses come true.
std::vector<int32_t> prompt_with_a_reply() {
  auto session = session_with(Speculation::kOff);
  ReplyOptions options = greedy();
  options.max_tokens = 300;
  must(session->ask(kQuestion, options));
  std::vector<int32_t> tokens(session->tokens().begin(), session->tokens().end());
  const auto n = static_cast<ptrdiff_t>(session->usage().prompt_tokens);
  tokens.insert(tokens.end(), tokens.begin(), tokens.begin() + n);
  return tokens;
}

std::vector<Event> run_prompt(Session& session, const std::vector<int32_t>& prompt,
                              const ReplyOptions& options) {
  const auto started = session.start_prompt(prompt, options);
  REQUIRE_MESSAGE(started.ok(), started.error().message);
  return run(session);
}

void expect_same(const std::vector<Event>& found, const std::vector<Event>& expected) {
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    REQUIRE(same(found[i], expected[i]));
  }
}

// Every kind of ending, forced tokens, samplers with a memory, and one token at a time.
std::vector<ReplyOptions> many_options() {
  std::vector<ReplyOptions> all(9, greedy());
  all[1].thinking_token_budget = 20;
  all[1].budget_message = "\n\nThat is enough, and here is what I have found out so far.";
  all[2].min_thought_tokens = 100;
  all[2].max_extensions = 3;
  all[3].stop = {"boxed"};
  all[4].max_tokens = 37;
  all[5].max_answer_tokens = 5;
  all[6].thought_sampler = {.temperature = 0.8F, .seed = 7};
  all[7].thought_sampler = {.temperature = 1.5F, .top_p = 1.0F, .seed = 8};
  all[7].answer_sampler = {.temperature = 0.7F, .seed = 9};
  all[8].thought_sampler = {.temperature = 0.6F,
                            .repetition_penalty = 1.1F,
                            .presence_penalty = 0.2F,
                            .frequency_penalty = 0.1F,
                            .seed = 10};
  return all;
}

// Runs both sessions and gives the number of guesses that came true.
int64_t expect_same_replies(Session& guessing, Session& plain, const std::vector<int32_t>& prompt,
                            const ReplyOptions& options) {
  const auto expected = run_prompt(plain, prompt, options);
  expect_same(run_prompt(guessing, prompt, options), expected);
  const Usage usage = guessing.usage();
  CHECK(plain.usage().draft_tokens == 0);
  CHECK(plain.usage().accepted_tokens == 0);
  CHECK(usage.accepted_tokens <= usage.draft_tokens);
  CHECK(usage.reply_tokens() == plain.usage().reply_tokens());
  CHECK(usage.forced_tokens == plain.usage().forced_tokens);
  CHECK(usage.cached_tokens == plain.usage().cached_tokens);
  return usage.accepted_tokens;
}

TEST_CASE("replies are the same event for event, greedy and sampled, and need fewer passes") {
  const std::vector<int32_t> prompt = prompt_with_a_reply();
  for (const auto speculation :
       {Speculation::kPromptLookup, Speculation::kMtp, Speculation::kAuto}) {
    CAPTURE(std::string(name_of(speculation)));
    auto plain = session_with(Speculation::kOff);
    auto guessing = session_with(speculation);
    int64_t accepted = 0;
    for (const ReplyOptions& options : many_options()) {
      accepted += expect_same_replies(*guessing, *plain, prompt, options);
    }
    CHECK(accepted > (speculation == Speculation::kMtp ? 20 : 200));
  }
}

TEST_CASE("a model without the layer is kUnsupported where it is asked for, and has the rest") {
  const auto model =
      must(Model::load(std::string(PENSEE_TEST_DATA) + "/models/gguf/v3_split_kv_b.gguf",
                       {.kernels = &best_kernels()}));
  const auto refused = Session::create(model, {.speculation = Speculation::kMtp});
  REQUIRE(!refused.ok());
  CHECK(refused.error().status == Status::kUnsupported);
  CHECK(refused.error().message.find("speculation") == 0);
  CHECK(Session::create(model, {.speculation = Speculation::kAuto}).ok());
}

TEST_CASE("passes of few tokens bound the guesses") {
  const std::vector<int32_t> prompt = prompt_with_a_reply();
  for (const int64_t chunk : {1, 3}) {
    auto plain = session_with(Speculation::kOff, chunk);
    auto guessing = session_with(Speculation::kPromptLookup, chunk);
    const int64_t accepted = expect_same_replies(*guessing, *plain, prompt, greedy());
    CHECK((accepted > 0) == (chunk > 1));
  }
}

TEST_CASE("a fork amid guesses, and a session saved amid them, go on as without") {
  const std::vector<int32_t> prompt = prompt_with_a_reply();
  const ReplyOptions options = many_options()[6];
  auto plain = session_with(Speculation::kOff);
  auto source = session_with(Speculation::kAuto);
  CHECK(expect_same_replies(*source, *plain, prompt, options) > 10);
  const auto expected = run_prompt(*plain, prompt, options);
  REQUIRE(source->start_prompt(prompt, options).ok());
  std::vector<Event> events;
  while (source->is_replying()) {
    if (events.size() % 9 == 4) {
      auto copy = must(source->fork());
      CHECK(std::ranges::equal(source->tokens(), copy->tokens()));
      std::vector<Event> all = events;
      const auto rest = run(*copy);
      all.insert(all.end(), rest.begin(), rest.end());
      expect_same(all, expected);
    }
    events.push_back(must(source->step()));
  }
  expect_same(events, expected);
  CHECK(std::ranges::equal(must(source->logits()), must(plain->logits())));
  // Saved where guesses have been read that nobody wrote.
  for (const int64_t most : {31, 32, 33, 34}) {
    CAPTURE(most);
    ReplyOptions cut = options;
    cut.max_tokens = most;
    expect_same_replies(*source, *plain, prompt, cut);
    CHECK(must(save(*source)) == must(save(*plain)));
  }
  auto restored =
      must(restore(fast(), must(save(*source)), {.speculation = Speculation::kPromptLookup}));
  expect_same_replies(*restored, *plain, prompt, options);
}

TEST_CASE("a conversation with messages, rewound and cancelled, is the same") {
  std::vector<std::unique_ptr<Session>> sessions;
  sessions.push_back(session_with(Speculation::kOff));
  sessions.push_back(session_with(Speculation::kPromptLookup));
  sessions.push_back(session_with(Speculation::kMtp));
  std::vector<std::vector<Event>> events(sessions.size());
  std::vector<std::vector<int32_t>> tokens(sessions.size());
  for (size_t k = 0; k < sessions.size(); ++k) {
    Session& s = *sessions[k];
    const auto ask = [&](const char* question, int64_t cancel_at) {
      REQUIRE(s.add_message(Role::kUser, question).ok());
      REQUIRE(s.start(greedy()).ok());
      for (int64_t i = 0; s.is_replying(); ++i) {
        if (i == cancel_at) s.end_thinking();
        if (i == cancel_at + 5) s.cancel();
        events[k].push_back(must(s.step()));
        tokens[k].insert(tokens[k].end(), s.tokens().begin(), s.tokens().end());
      }
    };
    ask(kQuestion, -10);
    ask(kQuestion, 20);
    ask(kQuestion, -10);
    REQUIRE(s.rewind(2).ok());
    ask("What is 12 + 30?", -10);
  }
  for (size_t k = 1; k < sessions.size(); ++k) {
    expect_same(events[k], events[0]);
    CHECK(tokens[k] == tokens[0]);
  }
}

TEST_CASE("what the engine writes is read in few passes, guesses or not") {
  ReplyOptions options = many_options()[1];
  auto session = session_with(Speculation::kOff);
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(options).ok());
  const Reply reply = [&] {
    run(*session);
    return session->reply();
  }();
  CHECK(reply.thought_end == ThoughtEnd::kBudget);
  CHECK(reply.usage.forced_tokens > kMaxDraft);
  CHECK(reply.usage.draft_tokens == 0);
}

}  // namespace
}  // namespace pensee
