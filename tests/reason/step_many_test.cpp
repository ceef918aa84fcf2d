#include "pensee/reason/step_many.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "reason/replies.hpp"
#include "reason/tiny.hpp"

namespace pensee {
namespace {

std::unique_ptr<Session> asked(const std::string& question, uint64_t seed, int64_t max_tokens) {
  auto session = Session::create(tiny()).value();
  REQUIRE(session->add_message(Role::kUser, question).ok());
  const ReplyOptions options = {
      .max_tokens = max_tokens,
      .thought_sampler = {.temperature = 3.0F, .top_p = 1.0F, .seed = seed}};
  REQUIRE(session->start(options).ok());
  return session;
}

TEST_CASE("stepping many equals stepping each alone, also when some end earlier") {
  std::vector<std::unique_ptr<Session>> together;
  std::vector<std::unique_ptr<Session>> alone;
  for (auto* list : {&together, &alone}) {
    list->push_back(asked("1+1", 1, 5));
    list->push_back(asked("What is 34 + 57?", 2, 12));
    list->push_back(asked("1+1", 3, 8));
  }
  std::vector<Session*> list;
  for (const auto& session : together) list.push_back(session.get());
  for (int step = 0; step < 20; ++step) {
    const std::vector<Result<Event>> events = step_many(list);
    REQUIRE(events.size() == alone.size());
    for (size_t i = 0; i < alone.size(); ++i) {
      const Result<Event> expected = alone[i]->step();
      REQUIRE(events[i].ok() == expected.ok());
      if (expected) {
        CHECK(same(*events[i], *expected));
      } else {
        CHECK(events[i].error().status == Status::kWrongState);
        CHECK(events[i].error().message == expected.error().message);
      }
    }
  }
  for (const Session* session : list) CHECK(!session->is_replying());
  CHECK(step_many({}).empty());
}

// Steps `together` in one call and `alone` one by one until all replies are over: the same events.
// `meanwhile(list, step)` acts on both lists alike before a step.
template <class Meanwhile>
void check_same(const std::vector<std::unique_ptr<Session>>& together,
                const std::vector<std::unique_ptr<Session>>& alone, Meanwhile meanwhile) {
  std::vector<Session*> list;
  for (const auto& session : together) list.push_back(session.get());
  const auto busy = [](const auto& session) { return session->is_replying(); };
  for (int step = 0; std::any_of(list.begin(), list.end(), busy); ++step) {
    CAPTURE(step);
    meanwhile(together, step);
    meanwhile(alone, step);
    const std::vector<Result<Event>> events = step_many(list);
    for (size_t i = 0; i < alone.size(); ++i) {
      CAPTURE(i);
      const Result<Event> expected = alone[i]->step();
      REQUIRE(events[i].ok() == expected.ok());
      if (expected) REQUIRE(same(*events[i], *expected));
      REQUIRE(std::ranges::equal(together[i]->tokens(), alone[i]->tokens()));
    }
  }
  for (size_t i = 0; i < alone.size(); ++i) {
    CHECK(!alone[i]->is_replying());
    CHECK(together[i]->reply().answer == alone[i]->reply().answer);
    CHECK(together[i]->usage().reply_tokens() == alone[i]->usage().reply_tokens());
  }
}

// Replies of all kinds: greedy and drawn, without thoughts, with a budget, with short contexts.
std::unique_ptr<Session> mixed(size_t i) {
  SessionOptions room;
  if (i % 7 == 4) room.context_length = 40;
  if (i % 5 == 3) room.prefill_chunk = 4;
  auto session = Session::create(tiny(), room).value();
  const std::string question = "What is " + std::to_string(3 * i) + " + " + std::to_string(i) + "?";
  REQUIRE(session->add_message(Role::kUser, question).ok());
  ReplyOptions options = {.max_tokens = 20 + static_cast<int64_t>(i)};
  options.thought_sampler = {.temperature = i % 2 == 0 ? 0.0F : 1.0F, .seed = i};
  if (i % 3 == 1) options.thinking = Thinking::kOff;
  if (i % 3 == 2) options.thinking_token_budget = 10;
  REQUIRE(session->start(options).ok());
  return session;
}

TEST_CASE("tokens read together are those read alone, whatever happens to one of the sessions") {
  for (const size_t n : {size_t{2}, size_t{5}, size_t{20}}) {
    CAPTURE(n);
    std::vector<std::unique_ptr<Session>> together;
    std::vector<std::unique_ptr<Session>> alone;
    for (size_t i = 0; i < n; ++i) {
      together.push_back(mixed(i));
      alone.push_back(mixed(i));
    }
    check_same(together, alone, [&](const auto& list, int step) {
      if (step == 7) list[0]->cancel();
      if (step == 9 && n > 2) list[2]->end_thinking();
      if (step == 11 && n > 2) list[3]->abandon_reply();  // its steps are errors from now on
      if (step == 13) REQUIRE(list[1]->logits().ok());    // reads its token before the others
    });
  }
}

TEST_CASE("the host may close a thought at any token, also at the last of its budget") {
  for (int at = 8; at < 15; ++at) {
    CAPTURE(at);
    std::vector<std::unique_ptr<Session>> together;
    std::vector<std::unique_ptr<Session>> alone;
    for (auto* list : {&together, &alone}) {
      for (const size_t i : {size_t{2}, size_t{8}}) list->push_back(mixed(i));  // budgets of 10
    }
    check_same(together, alone, [&](const auto& list, int step) {
      if (step == at) list[0]->end_thinking();
    });
    CHECK(together[0]->reply().thought_end == alone[0]->reply().thought_end);
  }
}

TEST_CASE("the time of reading together counts for each session, in its phase") {
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<Session*> list;
  for (size_t i = 0; i < 2; ++i) {
    sessions.push_back(asked("1+1", i, 6));
    list.push_back(sessions.back().get());
  }
  for (int step = 0; step < 4; ++step) REQUIRE(step_many(list)[0].ok());
  for (const Session* session : list) {
    CHECK(session->usage().prefill_seconds > 0);
    CHECK(session->usage().thought_seconds + session->usage().answer_seconds > 0);
  }
}

TEST_CASE("sessions that have read their prompts do not wait for those of others") {
  auto first = Session::create(tiny()).value();
  auto second = asked("1+1", 1, 8);
  REQUIRE(second->prefill().ok());
  REQUIRE(first->add_message(Role::kUser, "1+1").ok());
  int64_t written = -1;
  REQUIRE(first
              ->start({.max_tokens = 4,
                       .prefill_progress =
                           [&](int64_t, int64_t) {
                             const Usage usage = second->reply().usage;
                             written = usage.thought_tokens + usage.answer_tokens;
                             return true;
                           }})
              .ok());
  const std::vector<Session*> list = {first.get(), second.get()};
  const std::vector<Result<Event>> events = step_many(list);
  REQUIRE(events[0].ok());
  REQUIRE(events[1].ok());
  CHECK(written == 1);
}

TEST_CASE("a wrong list steps nothing") {
  const auto a = asked("1+1", 1, 5);
  const auto b = asked("1+1", 2, 5);
  const auto other_model = Model::load(PENSEE_TINY_R1, {.threads = 1});
  REQUIRE(other_model.ok());
  const auto other = Session::create(*other_model).value();
  const auto expect = [](const std::vector<Session*>& list, const std::string& words) {
    const std::vector<Result<Event>> events = step_many(list);
    REQUIRE(events.size() == list.size());
    for (const Result<Event>& event : events) {
      REQUIRE(!event.ok());
      CHECK(event.error().status == Status::kInvalidArgument);
      CAPTURE(event.error().message);
      CHECK(event.error().message.find(words) != std::string::npos);
    }
  };
  expect({nullptr}, "sessions[0]: expected a session, found null");
  expect({a.get(), nullptr}, "sessions[1]: expected a session, found null");
  expect({a.get(), b.get(), a.get()}, "sessions[2]: the session is in the list twice");
  expect({a.get(), b.get(), other.get()}, "sessions[2]: expected the model of sessions[0]");
  CHECK(a->tokens().empty());
  CHECK(b->tokens().empty());
}

}  // namespace
}  // namespace pensee
