// Sampler: chooses the next token from the logits, the same way on every platform.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pensee/base/result.hpp"

namespace pensee {

// The settings of a sampler. X(type, name, neutral value)
//
// temperature: 0 takes the most probable token (greedy); otherwise logits are divided by it.
//
// top_k: keep the k most probable tokens; 0 keeps all.
//
// top_p: keep the most probable tokens whose probabilities first reach top_p; (0, 1].
//
// min_p: keep tokens at least min_p times as probable as the best; [0, 1].
//
// repetition_penalty: above 1, tokens of the prompt and of the reply are less probable (positive
// logits are divided by it, negative ones multiplied; arXiv:1909.05858, 4.1).
//
// presence_penalty: subtracted once from the logit of each token of the reply; [-2, 2].
//
// frequency_penalty: subtracted for each time a token occurs in the reply; [-2, 2].
//
// seed: the same seed, settings and logits give the same tokens.
#define PENSEE_SAMPLER_FIELDS(X)     \
  X(float, temperature, 1.0F)        \
  X(int32_t, top_k, 0)               \
  X(float, top_p, 1.0F)              \
  X(float, min_p, 0.0F)              \
  X(float, repetition_penalty, 1.0F) \
  X(float, presence_penalty, 0.0F)   \
  X(float, frequency_penalty, 0.0F)  \
  X(uint64_t, seed, 0)

struct SamplerOptions {
#define PENSEE_X(type, name, neutral) type name = neutral;
  PENSEE_SAMPLER_FIELDS(PENSEE_X)
#undef PENSEE_X
  bool operator==(const SamplerOptions&) const = default;
};

// Settings that replace others where they are set: a request over a model's defaults, the answer's
// over the thought's.
struct SamplerOverrides {
#define PENSEE_X(type, name, neutral) std::optional<type> name = std::nullopt;
  PENSEE_SAMPLER_FIELDS(PENSEE_X)
#undef PENSEE_X

  [[nodiscard]] SamplerOptions over(SamplerOptions base) const noexcept {
#define PENSEE_X(type, name, neutral) \
  if (name) base.name = *name;
    PENSEE_SAMPLER_FIELDS(PENSEE_X)
#undef PENSEE_X
    return base;
  }
};

// kInvalidArgument naming the field that is out of range.
[[nodiscard]] inline Result<void> validate(const SamplerOptions& options) {
  const auto check = [](bool good, const char* field, const char* expected, double found) {
    return good ? Result<void>()
                : Result<void>(invalid_argument(std::string(field) + ": expected " + expected +
                                                ", found " + std::to_string(found)));
  };
  const SamplerOptions& o = options;
  PENSEE_RETURN_IF_ERROR(check(std::isfinite(o.temperature) && o.temperature >= 0, "temperature",
                               "a finite number, 0 or more", o.temperature));
  PENSEE_RETURN_IF_ERROR(check(o.top_k >= 0, "top_k", "0 or more", o.top_k));
  PENSEE_RETURN_IF_ERROR(
      check(o.top_p > 0 && o.top_p <= 1, "top_p", "more than 0, at most 1", o.top_p));
  PENSEE_RETURN_IF_ERROR(check(o.min_p >= 0 && o.min_p <= 1, "min_p", "0 to 1", o.min_p));
  PENSEE_RETURN_IF_ERROR(check(std::isfinite(o.repetition_penalty) && o.repetition_penalty > 0,
                               "repetition_penalty", "a finite number above 0",
                               o.repetition_penalty));
  PENSEE_RETURN_IF_ERROR(
      check(std::abs(o.presence_penalty) <= 2, "presence_penalty", "-2 to 2", o.presence_penalty));
  return check(std::abs(o.frequency_penalty) <= 2, "frequency_penalty", "-2 to 2",
               o.frequency_penalty);
}

// SplitMix64 (Steele, Lea, Flood 2014): integer arithmetic only, so equal on every platform.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) noexcept : state_(seed) {}
  [[nodiscard]] uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15U;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }
  // Uniform in [0, 1), 53 random bits.
  [[nodiscard]] double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

struct Sample {
  int32_t token = 0;
  float log_prob = 0;  // natural logarithm, under the unmodified logits
};

// The natural logarithm of the probability of `token` under softmax(logits).
// Precondition: no logit is NaN or +infinity, and one is finite.
[[nodiscard]] inline float log_prob(std::span<const float> logits,  // (vocab_size)
                                    int32_t token) {
  const Eigen::Map<const Eigen::ArrayXf> x(logits.data(), static_cast<Eigen::Index>(logits.size()));
  const double max = x.maxCoeff();
  const double sum = (x.cast<double>() - max).exp().sum();
  return static_cast<float>(logits[static_cast<size_t>(token)] - max - std::log(sum));
}

// Order of operations, as in Hugging Face transformers: repetition penalty, frequency and presence
// penalty, temperature, top_k, top_p (of what top_k kept), min_p. vLLM applies min_p before top_k,
// llama.cpp the temperature last; only the order of the filters differs. Ties go to the lower id.
//
// As in vLLM the repetition penalty sees the prompt and the reply, the other penalties the reply.
// After create() nothing allocates but errors. Thread rule: one thread at a time.
class Sampler {
 public:
  // Errors: kInvalidArgument naming the option.
  static Result<Sampler> create(int32_t vocab_size, const SamplerOptions& options) {
    if (vocab_size < 1) {
      return invalid_argument("vocab_size: expected 1 or more, found " +
                              std::to_string(vocab_size));
    }
    Sampler sampler(vocab_size);
    PENSEE_RETURN_IF_ERROR(sampler.set_options(options));
    sampler.reset(options.seed);
    return sampler;
  }

  // Changes the settings; the random stream and the tokens seen go on. `seed` is not looked at.
  Result<void> set_options(const SamplerOptions& options) {
    PENSEE_RETURN_IF_ERROR(validate(options));
    options_ = options;
    return {};
  }
  [[nodiscard]] const SamplerOptions& options() const noexcept { return options_; }

  // Starts the random stream anew.
  void reseed(uint64_t seed) noexcept { random_ = SplitMix64(seed); }

  // Starts the random stream anew and forgets the tokens seen.
  void reset(uint64_t seed) noexcept {
    reseed(seed);
    for (const int32_t token : seen_) uses_[static_cast<size_t>(token)] = Uses{};
    seen_.clear();
  }

  // Tells the penalties of a token of the prompt. Precondition: 0 <= token < vocab_size.
  void accept_prompt(int32_t token) noexcept { see(token).in_prompt = true; }
  // Tells the penalties of a token of the reply. Precondition: 0 <= token < vocab_size.
  void accept(int32_t token) noexcept { ++see(token).in_reply; }

  // Chooses a token; does not accept() it. A logit of -infinity excludes its token.
  // Errors: kInvalidArgument if the number of logits is not vocab_size; kInternal if a logit is
  // NaN or +infinity, naming the token, or if every token is excluded.
  Result<Sample> sample(std::span<const float> logits) {  // (vocab_size)
    PENSEE_RETURN_IF_ERROR(check(logits));
    const std::span<const float> scores = penalised(logits);
    const auto best = std::max_element(scores.begin(), scores.end());  // the first of equals
    const int32_t token = options_.temperature == 0 ? static_cast<int32_t>(best - scores.begin())
                                                    : draw(scores, static_cast<double>(*best));
    return Sample{token, log_prob(logits, token)};
  }

 private:
  struct Uses {
    int32_t in_reply = 0;
    bool in_prompt = false;
  };
  struct Candidate {
    double weight;  // probability relative to the best candidate's
    int32_t token;
    bool operator<(const Candidate& other) const noexcept {  // the most probable first
      return weight != other.weight ? weight > other.weight : token < other.token;
    }
  };

  static constexpr float kLowest = std::numeric_limits<float>::lowest();

  explicit Sampler(int32_t vocab_size)
      : uses_(static_cast<size_t>(vocab_size)), scores_(static_cast<size_t>(vocab_size)) {
    seen_.reserve(uses_.size());
    candidates_.reserve(uses_.size());
  }

  Uses& see(int32_t token) noexcept {
    assert(token >= 0 && static_cast<size_t>(token) < uses_.size());
    Uses& uses = uses_[static_cast<size_t>(token)];
    if (uses.in_reply == 0 && !uses.in_prompt) seen_.push_back(token);
    return uses;
  }

  [[nodiscard]] Result<void> check(std::span<const float> logits) const {
    if (logits.size() != uses_.size()) {
      return invalid_argument("logits: expected " + std::to_string(uses_.size()) + ", found " +
                              std::to_string(logits.size()));
    }
    bool any = false;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!(logits[i] <= -kLowest)) {  // NaN too
        return Error{Status::kInternal, "logits: token " + std::to_string(i) + " has " +
                                            std::to_string(logits[i]) +
                                            "; the model's weights or kernels are broken"};
      }
      any |= logits[i] != -std::numeric_limits<float>::infinity();
    }
    if (any) return {};
    return Error{Status::kInternal, "logits: every token is excluded"};
  }

  std::span<const float> penalised(std::span<const float> logits) noexcept {
    if (options_.repetition_penalty == 1 && options_.presence_penalty == 0 &&
        options_.frequency_penalty == 0) {
      return logits;
    }
    std::copy(logits.begin(), logits.end(), scores_.begin());
    for (const int32_t token : seen_) {
      const Uses uses = uses_[static_cast<size_t>(token)];
      float score = scores_[static_cast<size_t>(token)];
      if (score < kLowest) continue;  // excluded already
      score = score > 0 ? score / options_.repetition_penalty : score * options_.repetition_penalty;
      if (uses.in_reply > 0) {
        score -= options_.frequency_penalty * static_cast<float>(uses.in_reply);
        score -= options_.presence_penalty;
      }
      // An extreme penalty must not make infinities: draw() subtracts scores.
      scores_[static_cast<size_t>(token)] = std::clamp(score, kLowest, -kLowest);
    }
    return scores_;
  }

  int32_t draw(std::span<const float> scores, double best) noexcept {
    candidates_.clear();
    double total = 0;
    for (size_t i = 0; i < scores.size(); ++i) {
      const double weight =
          std::exp((static_cast<double>(scores[i]) - best) / options_.temperature);
      if (weight == 0) continue;
      candidates_.push_back({weight, static_cast<int32_t>(i)});
      total += weight;
    }
    if (options_.top_k > 0) total = keep_top_k(total);
    if (options_.top_p < 1) keep_top_p(total);
    if (options_.min_p > 0) {
      std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < options_.min_p; });
    }
    total = 0;
    for (const Candidate& c : candidates_) total += c.weight;
    double left = random_.uniform() * total;
    for (const Candidate& c : candidates_) {
      left -= c.weight;
      if (left < 0) return c.token;
    }
    return candidates_.back().token;  // rounding left a rest
  }

  // Returns the total weight of those kept.
  double keep_top_k(double total) noexcept {
    const auto k = static_cast<size_t>(options_.top_k);
    if (k >= candidates_.size()) return total;
    std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k, candidates_.end());
    candidates_.resize(k);
    // nth_element leaves an order of its own; the draw must not depend on it.
    std::sort(candidates_.begin(), candidates_.end());
    total = 0;
    for (const Candidate& c : candidates_) total += c.weight;
    return total;
  }

  void keep_top_p(double total) noexcept {
    // Tokens below this weight sum to at most 1 - top_p even together, so the others reach top_p:
    // only they need sorting. The factor 1/2 keeps rounding out of the argument.
    const double top_p = options_.top_p;
    const double floor = 0.5 * (1 - top_p) * total / static_cast<double>(candidates_.size());
    std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < floor; });
    std::sort(candidates_.begin(), candidates_.end());
    double sum = 0;
    size_t kept = 0;
    while (kept < candidates_.size() && sum < top_p * total) sum += candidates_[kept++].weight;
    candidates_.resize(kept);
  }

  SamplerOptions options_;
  SplitMix64 random_{0};
  std::vector<Uses> uses_;     // (vocab_size)
  std::vector<int32_t> seen_;  // the tokens whose uses_ are not zero
  std::vector<float> scores_;  // (vocab_size): logits after the penalties
  std::vector<Candidate> candidates_;
};

}  // namespace pensee
