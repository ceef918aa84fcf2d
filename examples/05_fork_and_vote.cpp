// 05 fork and vote: many thoughts about one question, and the answer that most of them reach
// (self-consistency, arXiv:2203.11171).
//
//   05_fork_and_vote [MODEL]
//
// The prompt is read once. Every voter is a fork of the session from there on, with a random stream
// of its own, and all of them write together. vote() works in the middle of a reply too: after
// think(), voters give many answers to one thought.
#include <cstdio>
#include <pensee/pensee.hpp>
#include <string>

namespace {

constexpr int kVoters = 9;

pensee::Result<void> run(const std::string& path) {
  pensee::LoadOptions load;
  load.kernels = &pensee::best_kernels();
  PENSEE_ASSIGN_OR_RETURN(const auto model, pensee::Model::load(path, load));
  PENSEE_ASSIGN_OR_RETURN(const auto session, pensee::Session::create(model));

  pensee::ReplyOptions options;
  options.thought_sampler.temperature = 1.0F;  // thoughts that differ
  options.thought_sampler.top_p = 1.0F;
  options.thinking_token_budget = 400;
  PENSEE_RETURN_IF_ERROR(session->add_message(pensee::Role::kUser, "What is (57+39)*12-8?"));
  PENSEE_RETURN_IF_ERROR(session->start(options));

  PENSEE_ASSIGN_OR_RETURN(const pensee::VoteResult result,
                          pensee::vote(*session, {.voters = kVoters}));
  for (const pensee::Ballot& ballot : result.ballots) {
    std::printf("%4d tokens of thought, %-6s votes for %s\n",
                static_cast<int>(ballot.reply.usage.thought_tokens),
                name_of(ballot.reply.thought_end),
                ballot.choice.empty() ? "nothing" : ballot.choice.c_str());
  }
  if (result.votes == 0) return pensee::Error{pensee::Status::kInternal, "nobody voted"};
  std::printf("%s, by %d of %d votes\n", result.winner.c_str(), result.votes, kVoters);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const pensee::Result<void> done = run(argc > 1 ? argv[1] : "examples/tiny_r1/model");
  if (!done) std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
