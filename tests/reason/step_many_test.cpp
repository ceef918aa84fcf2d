#include "pensee/reason/step_many.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

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

bool same(const Event& a, const Event& b) {
  return a.kind == b.kind && a.phase == b.phase && a.text == b.text && a.token == b.token &&
         a.log_prob == b.log_prob && a.forced == b.forced && a.thought_end == b.thought_end &&
         a.answer_end == b.answer_end;
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
