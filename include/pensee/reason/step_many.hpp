// step_many(): one step of many sessions of one model, which read their tokens together.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/model/sequence.hpp"
#include "pensee/reason/event.hpp"
#include "pensee/reason/session.hpp"

namespace pensee {

namespace step_many_detail {

// What is wrong with the list itself, if anything.
inline std::optional<Error> find_fault(std::span<Session* const> sessions) {
  const auto at = [](size_t i) { return "sessions[" + std::to_string(i) + "]: "; };
  for (size_t i = 0; i < sessions.size(); ++i) {
    if (sessions[i] == nullptr) {
      return invalid_argument(at(i) + "expected a session, found null");
    }
    if (sessions[i]->model() != sessions[0]->model()) {
      return invalid_argument(at(i) + "expected the model of sessions[0], found another");
    }
  }
  std::vector<Session*> sorted(sessions.begin(), sessions.end());
  std::sort(sorted.begin(), sorted.end(), std::less<>());
  const auto twin = std::adjacent_find(sorted.begin(), sorted.end());
  if (twin == sorted.end()) return std::nullopt;
  const auto first = std::find(sessions.begin(), sessions.end(), *twin);
  const auto second = std::find(first + 1, sessions.end(), *twin);
  return invalid_argument(at(static_cast<size_t>(second - sessions.begin())) +
                          "the session is in the list twice");
}

class Access {
 public:
  // Reads the tokens that the sessions wait for, where there are several, so that their steps find
  // the logits ready. The time counts for each, as each waited for it. After an error their steps
  // read alone, and say what is wrong.
  static void read_together(std::span<Session* const> sessions) {
    std::vector<NextToken> next;
    std::vector<Session*> readers;
    next.reserve(sessions.size());
    readers.reserve(sessions.size());
    for (Session* session : sessions) {
      const std::optional<NextToken> token = session->writer_.next_read();
      if (!token) continue;
      next.push_back(*token);
      readers.push_back(session);
    }
    if (next.size() < 2) return;
    const auto begin = std::chrono::steady_clock::now();
    const Result<void> read = Sequence::decode_together(next);
    if (!read) return;
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    for (Session* session : readers) session->writer_.seconds() += seconds.count();
  }

  // First those that have no prompt to read: what another thread asks of them does not wait for
  // minutes until others' prompts are read.
  static std::vector<Result<Event>> step_in_turn(std::span<Session* const> sessions) {
    std::vector<std::optional<Result<Event>>> steps(sessions.size());
    for (size_t i = 0; i < sessions.size(); ++i) {
      if (sessions[i]->writer_.prompt_is_read()) steps[i] = sessions[i]->step();
    }
    std::vector<Result<Event>> events;
    events.reserve(sessions.size());
    for (size_t i = 0; i < sessions.size(); ++i) {
      events.push_back(steps[i] ? *std::move(steps[i]) : sessions[i]->step());
    }
    return events;
  }
};

}  // namespace step_many_detail

// The next event of every session, in their order. Each result equals what Session::step() of that
// session alone would give, errors included; one session's error does not hold up the others.
// Tokens that several sessions wait for are read in one pass, for which the weights are read once;
// prompts are read one after the other, when the sessions that have read theirs are done; they all
// wait for it, so a long one is better read before, by prefill() of its session, which may run
// beside this in a thread of its own. If the
// list itself is wrong (a null, a session twice, sessions of different models), nothing is stepped
// and every result is that kInvalidArgument. After std::bad_alloc, abandon_reply() of each.
//
// Thread rule: as if the calling thread used all the sessions; cancel() and end_thinking() may come
// from any thread.
[[nodiscard]] inline std::vector<Result<Event>> step_many(std::span<Session* const> sessions) {
  if (std::optional<Error> fault = step_many_detail::find_fault(sessions)) {
    return std::vector<Result<Event>>(sessions.size(), *fault);
  }
  step_many_detail::Access::read_together(sessions);
  return step_many_detail::Access::step_in_turn(sessions);
}

}  // namespace pensee
