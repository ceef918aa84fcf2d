#include "pensee/reason/vote.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "reason/replies.hpp"

namespace pensee::vote_test {
namespace {

ReplyOptions lively() {
  return {.max_tokens = 200, .thought_sampler = {.temperature = 1.3F, .top_p = 1.0F}};
}

std::unique_ptr<Session> asked(const ReplyOptions& options) {
  auto session = new_session();
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(options).ok());
  return session;
}

TEST_CASE("voters are forks with seeds, the choice of most wins, and the session goes on with it") {
  auto session = asked(lively());
  const VoteResult result = must(vote(*session, {.voters = 7, .seed = 5}));
  REQUIRE(result.ballots.size() == 7);
  std::map<std::string, int> counts;
  for (size_t i = 0; i < result.ballots.size(); ++i) {
    // Each as it would be alone.
    auto alone = asked(lively());
    REQUIRE(alone->prefill().ok());
    alone->reseed(5 + i);
    must(alone->answer());
    const Ballot& ballot = result.ballots[i];
    CHECK(ballot.reply.thought == alone->reply().thought);
    CHECK(ballot.reply.answer == alone->reply().answer);
    CHECK(ballot.choice == boxed_answer(ballot.reply.answer));
    if (!ballot.choice.empty()) ++counts[ballot.choice];
  }
  REQUIRE_FALSE(result.winner.empty());
  CHECK(result.votes == counts[result.winner]);
  for (const auto& [choice, n] : counts) CHECK(n <= result.votes);
  const Ballot& elected = result.ballots[result.elected];
  CHECK(elected.choice == result.winner);
  for (size_t i = 0; i < result.elected; ++i) CHECK(result.ballots[i].choice != result.winner);
  CHECK_FALSE(session->is_replying());
  CHECK(session->reply().answer == elected.reply.answer);
  REQUIRE(session->messages().size() == 2);
  CHECK(session->messages()[1].content == elected.reply.answer);
  // Its cache is the elected one's too.
  ReplyOptions options = greedy();
  options.history = History::kKeep;
  const Usage& usage = elected.reply.usage;
  const auto n_tokens = static_cast<int64_t>(session->tokens().size());
  REQUIRE(n_tokens == usage.prompt_tokens + usage.reply_tokens());
  // All of it up to the answer at least, whose cut the model may have chosen otherwise.
  CHECK(must(session->ask("And 5 * 6?", options)).usage.cached_tokens >
        usage.prompt_tokens + usage.thought_tokens / 2);
  // Its seed is not, for later replies.
  session->reset();
  auto other = new_session();
  CHECK(must(session->ask(kQuestion, lively())).thought ==
        must(other->ask(kQuestion, lively())).thought);
}

TEST_CASE("answers to one thought") {
  auto session = asked(lively());
  const std::string thought = must(session->think());
  const VoteResult result = must(vote(*session, {.voters = 3}));
  for (const Ballot& ballot : result.ballots) CHECK(ballot.reply.thought == thought);
}

TEST_CASE("of as many votes the first counts, and nobody has to choose") {
  const auto counted = [](const std::vector<std::string>& choices) {
    VoteResult result;
    for (const std::string& choice : choices) result.ballots.push_back({{}, choice});
    vote_detail::count(result);
    return result;
  };
  const VoteResult tie = counted({"", "b", "a", "a", "b"});
  CHECK(tie.winner == "b");
  CHECK(tie.votes == 2);
  CHECK(tie.elected == 1);
  CHECK(counted({"x", "y", "y"}).winner == "y");
  const VoteResult none = counted({"", ""});
  CHECK(none.winner.empty());
  CHECK(none.votes == 0);
  CHECK(none.elected == 0);
}

TEST_CASE("progress is told and can cancel, and so can the session") {
  auto session = asked(lively());
  int calls = 0;
  VoteResult result = must(vote(*session, {.voters = 3, .progress = [&](int done, int voters) {
                                             CHECK(voters == 3);
                                             CHECK((done == 0 || done == 3));
                                             return ++calls < 4;
                                           }}));
  CHECK(calls >= 4);
  for (const Ballot& ballot : result.ballots) {
    CHECK(ballot.reply.answer_end == AnswerEnd::kCancelled);
    CHECK(ballot.reply.usage.thought_tokens <= 4);
  }
  for (const bool cancels : {false, true}) {
    session = asked(lively());
    calls = 0;
    result = must(vote(*session, {.voters = 2, .progress = [&](int, int) {
                                    if (++calls == 4) {
                                      cancels ? session->cancel() : session->end_thinking();
                                    }
                                    return true;
                                  }}));
    for (const Ballot& ballot : result.ballots) {
      CHECK(ballot.reply.thought_end == ThoughtEnd::kStopped);
      CHECK((ballot.reply.answer_end == AnswerEnd::kCancelled) == cancels);
    }
  }
}

TEST_CASE("what cannot be voted on is refused, and the reply goes on") {
  auto session = new_session();
  CHECK(vote(*session).error().status == Status::kWrongState);
  session = asked(greedy());
  for (const int voters : {0, -1, 1025}) {
    CHECK(vote(*session, {.voters = voters}).error().message.find("voters") == 0);
  }
  CHECK(session->is_replying());
  CHECK_FALSE(must(session->answer()).empty());
}

}  // namespace
}  // namespace pensee::vote_test
