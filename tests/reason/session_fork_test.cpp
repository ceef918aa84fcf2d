// Session: forks, other seeds, the prompt by itself, logits, and going back.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "pensee/decode/sampler.hpp"
#include "pensee/reason/session.hpp"
#include "reason/replies.hpp"

namespace pensee {
namespace {

std::unique_ptr<Session> fork(const Session& session) {
  return must(session.fork());
}

template <class T>
void wrong_state(const Result<T>& result) {
  REQUIRE(!result.ok());
  CHECK(result.error().status == Status::kWrongState);
}

// A hot thought and answer, so that random streams show. Each has its share of tokens.
ReplyOptions hot(uint64_t seed) {
  ReplyOptions options;
  options.thinking_token_budget = 12;
  options.max_answer_tokens = 24;
  options.thought_sampler = {.temperature = 8.0F, .top_p = 1.0F, .seed = seed};
  return options;
}

std::unique_ptr<Session> started(const ReplyOptions& options, const char* question = kQuestion) {
  auto session = new_session();
  REQUIRE(session->add_message(Role::kUser, question).ok());
  REQUIRE(session->start(options).ok());
  return session;
}

std::vector<int32_t> context(const Session& session) {
  return {session.tokens().begin(), session.tokens().end()};
}

TEST_CASE("a fork at any step of a reply goes on as its source does") {
  ReplyOptions options = hot(5);
  options.thought_sampler.repetition_penalty = 1.3F;  // the sampler's memory counts too
  options.stop = {"never written"};
  const std::vector<Event> all = run(*started(options));
  REQUIRE(all.size() > 20);
  for (size_t at = 0; at < all.size(); at += 3) {
    CAPTURE(at);
    auto source = started(options);
    for (size_t i = 0; i < at; ++i) must(source->step());
    const auto copy = fork(*source);
    CHECK(copy->is_replying());
    CHECK(context(*copy) == context(*source));
    // Interleaved, so that shared memory would show.
    std::vector<int32_t> a;
    std::vector<int32_t> b;
    for (size_t i = at; i < all.size(); ++i) {
      const Event of_source = must(source->step());
      const Event of_copy = must(copy->step());
      CHECK(of_source.token == all[i].token);
      CHECK(of_copy.token == all[i].token);
      CHECK(of_copy.text == all[i].text);
      CHECK(of_copy.log_prob == of_source.log_prob);
    }
    CHECK(copy->reply().thought == source->reply().thought);
    CHECK(copy->reply().answer == source->reply().answer);
    CHECK(copy->reply().usage.reply_tokens() == source->reply().usage.reply_tokens());
    CHECK(copy->messages().size() == source->messages().size());
    // Both live on, each for itself.
    CHECK(must(copy->ask("1+1", {.max_tokens = 3})).usage.cached_tokens > 0);
    CHECK(copy->messages().size() == source->messages().size() + 1);
  }
}

TEST_CASE("a fork between replies keeps the conversation and its cache") {
  auto source = new_session();
  ReplyOptions options = greedy();
  options.thinking_token_budget = 10;
  options.max_answer_tokens = 8;
  must(source->ask(kQuestion, options));
  const auto copy = fork(*source);
  CHECK(copy->reply().answer == source->reply().answer);
  const Reply expected = must(source->ask("And 5 * 6?", options));
  const Reply found = must(copy->ask("And 5 * 6?", options));
  CHECK(found.usage.cached_tokens == expected.usage.cached_tokens);
  CHECK(found.usage.cached_tokens > 0);
  CHECK(found.thought == expected.thought);
  CHECK(found.answer == expected.answer);
  // A fresh one.
  const auto empty = fork(*new_session());
  CHECK(empty->messages().empty());
  CHECK(must(empty->ask(kQuestion, options)).usage.cached_tokens == 0);
}

TEST_CASE("a fork outlives its source") {
  auto source = started(hot(1));
  must(source->step());
  const auto copy = fork(*source);
  source.reset();
  CHECK(!must(copy->answer()).empty());
}

TEST_CASE("forks of one thought give many answers, and the seed decides which") {
  // The options' own seed for the answer must not make the forks alike.
  for (const bool own_seed : {false, true}) {
    CAPTURE(own_seed);
    ReplyOptions options = hot(5);
    if (own_seed) options.answer_sampler.seed = 77;
    auto source = started(options);
    const std::string thought = must(source->think());
    std::vector<std::string> answers;
    for (const uint64_t seed : {1U, 2U, 1U}) {
      auto copy = fork(*source);
      copy->reseed(seed);
      answers.push_back(must(copy->answer()));
      CHECK(copy->reply().thought == thought);
    }
    answers.push_back(must(source->answer()));
    CHECK(answers[0] != answers[1]);
    CHECK(answers[0] == answers[2]);
    CHECK(answers[0] != answers[3]);
    CHECK(answers[1] != answers[3]);
  }
}

TEST_CASE("a seed given in the thought holds for the answer as well") {
  ReplyOptions options = hot(5);
  options.thinking_token_budget = 4;
  options.answer_sampler = {.temperature = 8.0F, .top_p = 1.0F, .seed = 77};
  // Greedy thoughts: only the answers can differ.
  options.thought_sampler = kGreedy;
  auto source = started(options);
  must(source->step());
  auto copy = fork(*source);
  copy->reseed(3);
  CHECK(must(copy->think()) == must(source->think()));
  CHECK(must(copy->answer()) != must(source->answer()));
}

TEST_CASE("forks of one prompt give many thoughts, and no fork reads the prompt again") {
  auto source = started(hot(5));
  REQUIRE(source->prefill().ok());
  std::vector<std::string> thoughts;
  for (const uint64_t seed : {1U, 2U, 5U}) {
    auto copy = fork(*source);
    copy->reseed(seed);
    thoughts.push_back(must(copy->think()));
    CHECK(copy->reply().usage.prefill_seconds == source->reply().usage.prefill_seconds);
  }
  CHECK(thoughts[0] != thoughts[1]);
  CHECK(thoughts[2] == must(source->think()));  // the seed that the options gave
  // Before the prompt is read a fork is possible as well.
  source = started(hot(5));
  auto copy = fork(*source);
  copy->reseed(2);
  CHECK(must(copy->think()) == thoughts[1]);
}

TEST_CASE("a seed given between replies is that of replies whose options have none") {
  const auto thought_of = [](Session& session, const ReplyOptions& options) {
    REQUIRE(session.clear_messages().ok());
    return must(session.ask(kQuestion, options)).thought;
  };
  ReplyOptions unseeded = hot(5);
  unseeded.thought_sampler.seed.reset();
  auto session = new_session();
  const std::string seeded = thought_of(*session, hot(5));
  const std::string first = thought_of(*session, unseeded);
  session->reseed(98);
  const std::string second = thought_of(*session, unseeded);
  CHECK(second != first);
  CHECK(thought_of(*session, unseeded) == second);
  CHECK(thought_of(*fork(*session), unseeded) == second);
  CHECK(thought_of(*session, hot(5)) == seeded);
  auto other = fork(*session);
  other->reseed(97);
  CHECK(thought_of(*other, unseeded) != second);
}

TEST_CASE("forks run side by side, and cancel reaches only its own session") {
  auto source = started(hot(5));
  REQUIRE(source->prefill().ok());
  source->cancel();
  std::vector<std::unique_ptr<Session>> forks;
  std::vector<std::string> answers(3);
  for (size_t i = 0; i < answers.size(); ++i) forks.push_back(fork(*source));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < answers.size(); ++i) {
    threads.emplace_back([&, i] {
      if (Result<std::string> answer = forks[i]->answer()) answers[i] = *answer;
    });
  }
  for (std::thread& thread : threads) thread.join();
  must(source->answer());
  CHECK(source->reply().answer_end == AnswerEnd::kCancelled);
  CHECK(!answers[0].empty());
  CHECK(answers[0] == answers[1]);
  CHECK(answers[0] == answers[2]);
}

TEST_CASE("prefill reads the prompt and no more") {
  auto session = new_session();
  wrong_state(session->prefill());
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  wrong_state(session->prefill());
  REQUIRE(session->start(greedy()).ok());
  CHECK(session->tokens().empty());
  REQUIRE(session->prefill().ok());
  CHECK(static_cast<int64_t>(session->tokens().size()) == session->reply().usage.prompt_tokens);
  CHECK(session->reply().usage.reply_tokens() == 0);
  REQUIRE(session->prefill().ok());  // again: nothing
  must(session->answer());
  const Reply asked = must(new_session()->ask(kQuestion, greedy()));
  CHECK(session->reply().thought == asked.thought);
  CHECK(session->reply().answer == asked.answer);
  wrong_state(session->prefill());
}

TEST_CASE("a cancelled prefill ends the reply with the next step") {
  auto session = new_session({.prefill_chunk = 8});
  ReplyOptions options = greedy();
  options.prefill_progress = [&](int64_t, int64_t) {
    session->cancel();
    return true;
  };
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(options).ok());
  REQUIRE(session->prefill().ok());
  CHECK(session->tokens().size() == 8);
  must(session->answer());
  CHECK(session->reply().answer_end == AnswerEnd::kCancelled);
}

TEST_CASE("logits are those that the next token comes from") {
  auto session = new_session();
  wrong_state(session->logits());
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(greedy()).ok());
  wrong_state(session->logits());
  REQUIRE(session->prefill().ok());
  for (int i = 0; i < 8; ++i) {
    const std::span<const float> logits = must(session->logits());
    CHECK(static_cast<int64_t>(logits.size()) == tiny()->config().vocab_size);
    const auto best =
        static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<double>(x));
    const double expected = logits[static_cast<size_t>(best)] - std::log(sum);
    const Event event = must(session->step());
    CHECK(event.token == best);
    CHECK(event.log_prob == doctest::Approx(expected).epsilon(1e-5));
  }
  must(session->answer());
  CHECK(must(session->logits()).size() > 0);  // after the last token too
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(greedy()).ok());
  wrong_state(session->logits());  // of the new prompt there are none yet
  session->abandon_reply();
  CHECK(must(session->logits()).size() > 0);  // of the tokens before it
}

TEST_CASE("logits after a cancelled prompt are those of the tokens read") {
  auto session = new_session({.prefill_chunk = 8});
  const auto tokens = must(tiny()->tokenizer().encode_ordinary("What is 34 + 57? And 12 * 11?"));
  REQUIRE(tokens.size() > 8);
  ReplyOptions options = greedy();
  options.prefill_progress = [](int64_t, int64_t) { return false; };
  REQUIRE(session->start_prompt(tokens, options).ok());
  must(session->answer());
  REQUIRE(session->tokens().size() == 8);
  const auto found = must(session->logits());
  auto other = new_session();
  REQUIRE(other->start_prompt(std::span(tokens).first(8), greedy()).ok());
  REQUIRE(other->prefill().ok());
  const auto expected = must(other->logits());
  for (size_t i = 0; i < found.size(); ++i) CHECK(std::abs(found[i] - expected[i]) < 1e-3F);
}

TEST_CASE("a full context has no logits after its last token") {
  auto session = new_session({.context_length = 10});
  REQUIRE(session->start_prompt(std::vector<int32_t>{0, 5, 6, 7}, greedy()).ok());
  must(session->answer());
  if (session->tokens().size() <= 10) return;  // the model ended its reply before
  const auto logits = session->logits();
  REQUIRE(!logits.ok());
  CHECK(logits.error().status == Status::kContextFull);
}

TEST_CASE("rewind forgets the newest messages, and the cache keeps what still holds") {
  auto session = new_session();
  ReplyOptions options = greedy();
  options.thinking_token_budget = 10;
  options.max_answer_tokens = 8;
  REQUIRE(session->add_message(Role::kSystem, "Be brief.").ok());
  const Reply first = must(session->ask(kQuestion, options));
  must(session->ask("And 5 * 6?", options));
  REQUIRE(session->messages().size() == 5);
  CHECK(session->rewind(6).error().status == Status::kInvalidArgument);
  CHECK(session->rewind(6).error().message.find("at most 5, found 6") != std::string::npos);
  CHECK(session->messages().size() == 5);
  REQUIRE(session->rewind(5).ok());
  CHECK(session->messages().size() == 5);
  REQUIRE(session->rewind(1).ok());
  REQUIRE(session->messages().size() == 1);
  CHECK(session->messages()[0].content == "Be brief.");
  const Reply again = must(session->ask(kQuestion, options));
  CHECK(again.thought == first.thought);
  CHECK(again.answer == first.answer);
  CHECK(again.usage.cached_tokens > again.usage.prompt_tokens / 2);
  REQUIRE(session->rewind(0).ok());
  CHECK(session->messages().empty());

  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(options).ok());
  wrong_state(session->rewind(0));
  CHECK(session->messages().size() == 1);
}

TEST_CASE("reset abandons whatever is under way") {
  const Reply expected = must(new_session()->ask(kQuestion, greedy()));
  auto session = new_session();
  for (const int steps : {-1, 0, 3}) {  // -1: the prompt is not read
    CAPTURE(steps);
    REQUIRE(session->add_message(Role::kUser, "1+1").ok());
    REQUIRE(session->start(greedy()).ok());
    if (steps >= 0) REQUIRE(session->prefill().ok());
    for (int i = 0; i < steps; ++i) must(session->step());
    session->reset();
    CHECK(!session->is_replying());
    CHECK(session->messages().empty());
    CHECK(session->reply().usage.prompt_tokens == 0);
    wrong_state(session->step());
    const Reply reply = must(session->ask(kQuestion, greedy()));
    CHECK(reply.thought == expected.thought);
    CHECK(reply.answer == expected.answer);
    session->reset();  // between replies
    CHECK(session->messages().empty());
    CHECK(session->reply().answer.empty());
  }
}

}  // namespace
}  // namespace pensee
