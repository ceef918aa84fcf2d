// vote(): many answers to one prompt, and the one that most of them give.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/reason/boxed_answer.hpp"
#include "pensee/reason/event.hpp"
#include "pensee/reason/session.hpp"
#include "pensee/reason/step_many.hpp"

namespace pensee {

struct VoteOptions {
  int voters = 8;     // 1 to 1024
  uint64_t seed = 0;  // of the first voter; the others have the numbers after it
  // Called after each step with how many voters are done; false cancels the others.
  std::function<bool(int done, int voters)> progress = {};
};

struct Ballot {
  Reply reply;
  std::string choice;  // its boxed_answer(); "" if it has none
};

struct VoteResult {
  std::string winner;  // the choice of most, of several the one made first in `ballots`; may be ""
  int votes = 0;       // for it
  size_t elected = 0;  // the first ballot with that choice; the first of all if nobody chose
  std::vector<Ballot> ballots;  // (voters)
};

namespace vote_detail {

class Access {
 public:
  // What the host has asked of `session` is asked of the voters: the end of the thought once.
  static void pass_on(const Session& session, const std::vector<Session*>& voters, bool& told) {
    const bool ends_thinking = !told && session.writer_.is_to_end_thinking();
    told = told || ends_thinking;
    for (Session* voter : voters) {
      if (ends_thinking) voter->end_thinking();
      if (session.writer_.is_cancelled()) voter->cancel();
    }
  }
  // `session` goes on as `other` would.
  static void become(Session& session, Session& other) {
    session.writer_.become(std::move(other.writer_));
    session.messages_ = std::move(other.messages_);
    session.keeps_answer_ = other.keeps_answer_;
    session.thought_ended_ = other.thought_ended_;
  }
};

inline Result<void> step_to_end(const Session& session, std::vector<Session*> busy,
                                const VoteOptions& options) {
  bool told = false;
  while (!busy.empty()) {
    Access::pass_on(session, busy, told);
    for (const Result<Event>& event : step_many(busy)) PENSEE_RETURN_IF_ERROR(event);
    std::erase_if(busy, [](const Session* voter) { return !voter->is_replying(); });
    const int done = options.voters - static_cast<int>(busy.size());
    if (!options.progress || options.progress(done, options.voters)) continue;
    for (Session* voter : busy) voter->cancel();
  }
  return {};
}

inline void count(VoteResult& result) {
  std::map<std::string, int> votes;
  for (const Ballot& ballot : result.ballots) {
    if (!ballot.choice.empty()) ++votes[ballot.choice];
  }
  for (size_t i = 0; i < result.ballots.size(); ++i) {
    const auto found = votes.find(result.ballots[i].choice);
    if (found == votes.end() || found->second <= result.votes) continue;
    result.winner = found->first;
    result.votes = found->second;
    result.elected = i;
  }
}

}  // namespace vote_detail

// Self-consistency (arXiv:2203.11171): reads the prompt of the reply under way, if it has not been
// read, lets `voters` forks of the session finish it, each with a random stream of its own, and
// counts their boxed_answer()s. From start() on they differ in their thoughts; after think() they
// are answers to one thought. They read their tokens together. The session goes on as the elected
// one: its reply() and messages() are that one's. end_thinking() and cancel() of the session reach
// all; what a voter has then counts. Errors: kWrongState if no reply is under way; those of
// Session::prefill(), which end it; and, after which it goes on as before, its prompt read:
// kInvalidArgument for the number of voters, those of Session::fork() and step(). After an
// exception, abandon_reply(). Thread rule: as if it used the session.
[[nodiscard]] inline Result<VoteResult> vote(Session& session, const VoteOptions& options = {}) {
  constexpr int kMost = 1024;
  if (options.voters < 1 || options.voters > kMost) {
    return invalid_argument("voters: expected 1 to " + std::to_string(kMost) + ", found " +
                            std::to_string(options.voters));
  }
  PENSEE_RETURN_IF_ERROR(session.prefill());
  std::vector<std::unique_ptr<Session>> voters;
  std::vector<Session*> busy;
  for (int i = 0; i < options.voters; ++i) {
    PENSEE_ASSIGN_OR_RETURN(auto voter, session.fork());
    voter->reseed(options.seed + static_cast<uint64_t>(i));
    busy.push_back(voter.get());
    voters.push_back(std::move(voter));
  }
  PENSEE_RETURN_IF_ERROR(vote_detail::step_to_end(session, std::move(busy), options));
  VoteResult result;
  for (const auto& voter : voters) {
    Reply reply = voter->reply();
    std::string choice = boxed_answer(reply.answer);
    result.ballots.push_back({std::move(reply), std::move(choice)});
  }
  vote_detail::count(result);
  vote_detail::Access::become(session, *voters[result.elected]);
  return result;
}

}  // namespace pensee
