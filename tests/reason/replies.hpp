// What the tests of sessions share.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pensee/reason/session.hpp"
#include "reason/tiny.hpp"

namespace pensee {

inline constexpr const char* kQuestion = "What is 34 + 57?";
inline const SamplerOverrides kGreedy = {.temperature = 0.0F};

inline std::unique_ptr<Session> new_session(SessionOptions options = {}) {
  Result<std::unique_ptr<Session>> session = Session::create(tiny(), options);
  if (!session) FAIL(session.error().message);
  return std::move(session).value();
}

template <class T>
T must(Result<T> result) {
  if (!result) FAIL(result.error().message);
  return std::move(result).value();
}

// A greedy reply of at most 120 tokens: the tests' usual length.
inline ReplyOptions greedy() {
  return {.max_tokens = 120, .thought_sampler = kGreedy};
}

inline std::vector<Event> run(Session& session) {
  std::vector<Event> events;
  do {
    events.push_back(must(session.step()));
  } while (events.back().kind != EventKind::kDone);
  return events;
}

inline bool same(const Event& a, const Event& b) {
  return a.kind == b.kind && a.phase == b.phase && a.text == b.text && a.token == b.token &&
         a.log_prob == b.log_prob && a.forced == b.forced && a.thought_end == b.thought_end &&
         a.answer_end == b.answer_end;
}

inline std::string text_of(const std::vector<Event>& events, Phase phase) {
  std::string text;
  for (const Event& e : events) {
    if (e.phase == phase) text += e.text;
  }
  return text;
}

inline std::vector<int32_t> tokens_of(const std::vector<Event>& events) {
  std::vector<int32_t> tokens;
  for (const Event& e : events) {
    if (e.kind == EventKind::kToken) tokens.push_back(e.token);
  }
  return tokens;
}

}  // namespace pensee
