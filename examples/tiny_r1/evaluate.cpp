// Scores a model on the held-out problems of the tiny R1 by greedy decoding, in this engine, with
// thoughts and without. The answer is the integer in the last \boxed{} of the answer text; a reply
// whose thought never closed has no answer.
//
//   evaluate_tiny_r1 MODEL heldout.jsonl [LEAST [SPECULATION]]
//
// With LEAST, a percentage, the exit code is 1 unless so many are right with thoughts and fewer
// without. SPECULATION (off, prompt_lookup, mtp, auto) changes no reply: the last line says how
// many tokens were guessed, how many of these were right, and how long writing took.
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pensee/kernels/dispatch.hpp"
#include "pensee/reason/model.hpp"
#include "pensee/reason/session.hpp"

namespace {

struct Problem {
  std::string kind;
  std::string prompt;
  int64_t answer = 0;
};

// What all replies cost.
struct Cost {
  int64_t tokens = 0;
  int64_t draft_tokens = 0;
  int64_t accepted_tokens = 0;
  double seconds = 0;  // of writing, without reading prompts

  void add(const pensee::Usage& usage) {
    tokens += usage.reply_tokens();
    draft_tokens += usage.draft_tokens;
    accepted_tokens += usage.accepted_tokens;
    seconds += usage.thought_seconds + usage.answer_seconds;
  }
};

struct Score {
  int right_with_thoughts = 0;
  int right_without = 0;
  int problems = 0;
};

pensee::Result<std::vector<Problem>> read_problems(const std::string& path) {
  std::ifstream file(path);
  if (!file) return pensee::Error{pensee::Status::kNotFound, path + ": cannot open"};
  std::vector<Problem> problems;
  for (std::string line; std::getline(file, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    const bool fits = json.is_object() && json.contains("kind") && json["kind"].is_string() &&
                      json.contains("prompt") && json["prompt"].is_string() &&
                      json.contains("answer") && json["answer"].is_number_integer();
    if (!fits) {
      return pensee::corrupt_file(path + ": line " + std::to_string(problems.size() + 1) +
                                  ": expected an object with kind, prompt and answer");
    }
    problems.push_back({json["kind"], json["prompt"], json["answer"]});
  }
  return problems;
}

std::optional<int64_t> last_boxed(std::string_view text) {
  constexpr std::string_view kBoxed = "\\boxed{";
  const size_t at = text.rfind(kBoxed);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + kBoxed.size());
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data() + text.size() || *end != '}') return std::nullopt;
  return value;
}

pensee::Result<bool> is_right(pensee::Session& session, const Problem& problem,
                              pensee::Thinking thinking, Cost& cost) {
  pensee::ReplyOptions options;
  options.thinking = thinking;
  options.thought_sampler.temperature = 0.0F;
  options.max_tokens = 1024;  // a thought that repeats itself is wrong anyway
  PENSEE_RETURN_IF_ERROR(session.clear_messages());
  PENSEE_ASSIGN_OR_RETURN(const pensee::Reply reply, session.ask(problem.prompt, options));
  cost.add(reply.usage);
  return last_boxed(reply.answer) == problem.answer;
}

pensee::Result<std::map<std::string, Score>> evaluate(const char* model_path,
                                                      const char* problems_path,
                                                      pensee::Speculation speculation, Cost& cost) {
  PENSEE_ASSIGN_OR_RETURN(const std::vector<Problem> problems, read_problems(problems_path));
  pensee::LoadOptions load;
  load.kernels = &pensee::best_kernels();
  load.threads = 1;  // more do not help a model of this size
  PENSEE_ASSIGN_OR_RETURN(const auto model, pensee::Model::load(model_path, load));
  PENSEE_ASSIGN_OR_RETURN(const auto session,
                          pensee::Session::create(model, {.speculation = speculation}));
  std::map<std::string, Score> scores;
  for (const Problem& problem : problems) {
    Score& score = scores[problem.kind];
    ++score.problems;
    PENSEE_ASSIGN_OR_RETURN(const bool with,
                            is_right(*session, problem, pensee::Thinking::kOn, cost));
    PENSEE_ASSIGN_OR_RETURN(const bool without,
                            is_right(*session, problem, pensee::Thinking::kOff, cost));
    score.right_with_thoughts += with ? 1 : 0;
    score.right_without += without ? 1 : 0;
  }
  return scores;
}

std::optional<pensee::Speculation> speculation_from(std::string_view name) {
#define PENSEE_X(enumerator, value, text) \
  if (name == (text)) return pensee::Speculation::enumerator;
  PENSEE_SPECULATION_LIST(PENSEE_X)
#undef PENSEE_X
  return std::nullopt;
}

void print(const std::string& name, const Score& score) {
  std::printf("%-14s %4d %4d of %4d\n", name.c_str(), score.right_with_thoughts,
              score.right_without, score.problems);
}

}  // namespace

int main(int argc, char** argv) {
  const auto speculation = speculation_from(argc == 5 ? argv[4] : "off");
  if (argc < 3 || argc > 5 || !speculation) {
    std::fprintf(stderr, "usage: %s MODEL heldout.jsonl [LEAST [SPECULATION]]\n", argv[0]);
    return 1;
  }
  Cost cost;
  const auto scores = evaluate(argv[1], argv[2], *speculation, cost);
  if (!scores) {
    std::fprintf(stderr, "%s\n", scores.error().message.c_str());
    return 1;
  }
  std::printf("right with thoughts, without, of all\n");
  Score all;
  for (const auto& [kind, score] : *scores) {
    print(kind, score);
    all.right_with_thoughts += score.right_with_thoughts;
    all.right_without += score.right_without;
    all.problems += score.problems;
  }
  print("all", all);
  std::printf("%lld tokens in %.2f s; guessed %lld, of which right %lld\n",
              static_cast<long long>(cost.tokens), cost.seconds,
              static_cast<long long>(cost.draft_tokens),
              static_cast<long long>(cost.accepted_tokens));
  if (argc < 4) return 0;
  const double least = std::atof(argv[3]) / 100.0 * all.problems;
  const bool good = all.right_with_thoughts >= least && all.right_without < all.right_with_thoughts;
  return good && all.problems > 0 ? 0 : 1;
}
