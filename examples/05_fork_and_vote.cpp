// 05 fork and vote: many thoughts about one question, and the answer that most of them reach
// (self-consistency, arXiv:2203.11171).
//
//   05_fork_and_vote [MODEL]
//
// The prompt is read once. Every fork is a session of its own from there on, and reseed() gives it
// a random stream of its own. fork() works in the middle of a reply too: after think(), forks give
// many answers to one thought.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <pensee/pensee.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int kVoters = 9;

// What is in the last \boxed{} of an answer, without white space; "" if there is none. Braces
// within it come in pairs.
std::string boxed(std::string_view answer) {
  constexpr std::string_view kOpen = "\\boxed{";
  const size_t at = answer.rfind(kOpen);
  if (at == std::string_view::npos) return "";
  std::string text;
  int depth = 1;
  for (const char c : answer.substr(at + kOpen.size())) {
    depth += c == '{' ? 1 : c == '}' ? -1 : 0;
    if (depth == 0) return text;
    if (c != ' ') text += c;
  }
  return "";  // not closed
}

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
  PENSEE_RETURN_IF_ERROR(session->prefill());

  std::vector<std::unique_ptr<pensee::Session>> voters;
  std::vector<pensee::Session*> busy;
  for (uint64_t seed = 0; seed < kVoters; ++seed) {
    PENSEE_ASSIGN_OR_RETURN(auto fork, session->fork());
    fork->reseed(seed);
    busy.push_back(fork.get());
    voters.push_back(std::move(fork));
  }
  while (!busy.empty()) {
    for (const auto& event : pensee::step_many(busy)) PENSEE_RETURN_IF_ERROR(event);
    std::erase_if(busy, [](const pensee::Session* s) { return !s->is_replying(); });
  }

  std::map<std::string, int> votes;
  for (const auto& voter : voters) {
    const pensee::Reply reply = voter->reply();
    const std::string vote = boxed(reply.answer);
    std::printf("%4d tokens of thought, %-6s votes for %s\n",
                static_cast<int>(reply.usage.thought_tokens), name_of(reply.thought_end),
                vote.empty() ? "nothing" : vote.c_str());
    if (!vote.empty()) ++votes[vote];
  }
  const auto fewer = [](const auto& a, const auto& b) { return a.second < b.second; };
  const auto winner = std::max_element(votes.begin(), votes.end(), fewer);
  if (winner == votes.end()) return pensee::Error{pensee::Status::kInternal, "nobody voted"};
  std::printf("%s, by %d of %d votes\n", winner->first.c_str(), winner->second, kVoters);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const pensee::Result<void> done = run(argc > 1 ? argv[1] : "examples/tiny_r1/model");
  if (!done) std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
