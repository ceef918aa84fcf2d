// Sampler: chooses the next token from the logits.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/decode/sampler_options.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {

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

// Order of operations, as in Hugging Face transformers: repetition penalty, frequency and presence
// penalty, temperature, top_k, top_p (of what top_k kept), min_p. vLLM applies min_p before top_k,
// llama.cpp the temperature last; only the order of the filters differs. Ties go to the lower id.
//
// As in vLLM the repetition penalty sees the prompt and the reply, the other penalties the reply.
//
// A vocabulary is large: what needs all of it, maximums and sums, is left to the kernels, block by
// block of kLogitBlock tokens; what is left of it by the filters is looked at one by one.
//
// After create() nothing allocates but errors. Thread rule: one thread at a time.
class Sampler {
 public:
  // Errors: kInvalidArgument naming the option.
  static Result<Sampler> create(const KernelTable& kernels, int32_t vocab_size,
                                const SamplerOptions& options) {
    if (vocab_size < 1) {
      return invalid_argument("vocab_size: expected 1 or more, found " +
                              std::to_string(vocab_size));
    }
    Sampler sampler(kernels, vocab_size);
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
  // Takes that back, once. Precondition: the token was accepted.
  void take_back(int32_t token) noexcept {
    Uses& uses = uses_[static_cast<size_t>(token)];
    if (--uses.in_reply == 0 && !uses.in_prompt) std::erase(seen_, token);
  }

  // Chooses a token; does not accept() it. A logit of -infinity excludes its token.
  // Errors: kInvalidArgument if the number of logits is not vocab_size; kInternal if a logit is
  // NaN or +infinity, naming the token, or if every token is excluded.
  Result<Sample> sample(std::span<const float> logits) {  // (vocab_size)
    PENSEE_ASSIGN_OR_RETURN(const double normaliser, log_of_sum(logits));
    float best = largest();
    const std::span<const float> scores = penalised(logits);
    if (scores.data() != logits.data()) {
      find_maximums(scores);
      best = largest();
    }
    const int32_t token = options_.temperature == 0 ? first_of(scores, best) : draw(scores, best);
    return Sample{token, static_cast<float>(logits[static_cast<size_t>(token)] - normaliser)};
  }

  // A token that was not chosen, with its probability. Errors: as sample(). Precondition: 0 <=
  // token < vocab_size.
  Result<Sample> sample_of(std::span<const float> logits, int32_t token) {
    PENSEE_ASSIGN_OR_RETURN(const double normaliser, log_of_sum(logits));
    return Sample{token, static_cast<float>(logits[static_cast<size_t>(token)] - normaliser)};
  }

  // The most probable token, whatever the settings; any token where no logit is finite.
  // Precondition: vocab_size logits.
  int32_t most_probable(std::span<const float> logits) noexcept {
    find_maximums(logits);
    return std::min(first_of(logits, largest()), static_cast<int32_t>(logits.size()) - 1);
  }

 private:
  struct Uses {
    int32_t in_reply = 0;
    bool in_prompt = false;
  };
  struct Candidate {
    double weight;  // probability relative to the best candidate's; before that is known, the score
    int32_t token;
    bool operator<(const Candidate& other) const noexcept {  // the most probable first
      return weight != other.weight ? weight > other.weight : token < other.token;
    }
  };

  static constexpr float kLowest = std::numeric_limits<float>::lowest();
  static constexpr float kExcluded = -std::numeric_limits<float>::infinity();

  Sampler(const KernelTable& kernels, int32_t vocab_size)
      : kernels_(&kernels),
        uses_(static_cast<size_t>(vocab_size)),
        scores_(uses_.size()),
        maximums_(static_cast<size_t>(ceil_div(vocab_size, int{kLogitBlock}))),
        sums_(maximums_.size()) {
    seen_.reserve(uses_.size());
    candidates_.reserve(uses_.size());
  }

  Uses& see(int32_t token) noexcept {
    assert(token >= 0 && static_cast<size_t>(token) < uses_.size());
    Uses& uses = uses_[static_cast<size_t>(token)];
    if (uses.in_reply == 0 && !uses.in_prompt) seen_.push_back(token);
    return uses;
  }

  // The logarithm of the sum of exp(logit). The maximums are those of the logits afterwards.
  Result<double> log_of_sum(std::span<const float> logits) {
    if (logits.size() != uses_.size()) {
      return invalid_argument("logits: expected " + std::to_string(uses_.size()) + ", found " +
                              std::to_string(logits.size()));
    }
    find_maximums(logits);
    const float best = largest();
    if (std::isfinite(best)) {
      const double sum = sum_weights(logits, best, 1.0);
      if (!std::isnan(sum)) return best + std::log(sum);
    }
    for (size_t i = 0; i < logits.size(); ++i) {
      if (logits[i] <= -kLowest) continue;  // NaN is not
      return Error{Status::kInternal, "logits: token " + std::to_string(i) + " has " +
                                          std::to_string(logits[i]) +
                                          "; the model's weights or kernels are broken"};
    }
    return Error{Status::kInternal, "logits: every token is excluded"};
  }

  void find_maximums(std::span<const float> scores) noexcept {
    kernels_->block_max(scores.data(), static_cast<int64_t>(scores.size()), maximums_.data());
  }
  [[nodiscard]] float largest() const noexcept { return array_of(maximums_).maxCoeff(); }

  // The weights exp((score - best) / temperature), block by block in sums_. Returns their sum.
  double sum_weights(std::span<const float> scores, float best, double temperature) noexcept {
    const double most = std::numeric_limits<float>::max();
    kernels_->block_sum_exp(scores.data(), static_cast<int64_t>(scores.size()), best,
                            static_cast<float>(std::min(1.0 / temperature, most)), sums_.data());
    return array_of(sums_).cast<double>().sum();
  }

  [[nodiscard]] static Eigen::Map<const Eigen::ArrayXf> array_of(const std::vector<float>& blocks) {
    return {blocks.data(), static_cast<Eigen::Index>(blocks.size())};
  }

  // f(token) for the tokens of block b.
  template <class F>
  void for_block(size_t b, F&& f) const {
    const size_t end = std::min((b + 1) * kLogitBlock, uses_.size());
    for (size_t i = b * kLogitBlock; i < end; ++i) f(i);
  }

  // The first of those with this score, the largest.
  [[nodiscard]] int32_t first_of(std::span<const float> scores, float best) const noexcept {
    const auto block = std::find(maximums_.begin(), maximums_.end(), best) - maximums_.begin();
    const auto begin = scores.begin() + block * kLogitBlock;
    return static_cast<int32_t>(std::find(begin, scores.end(), best) - scores.begin());
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
      // An extreme penalty must not make infinities: weights are made of differences.
      scores_[static_cast<size_t>(token)] = std::clamp(score, kLowest, -kLowest);
    }
    return scores_;
  }

  [[nodiscard]] double weight_of(float score, float best) const noexcept {
    return std::exp((static_cast<double>(score) - best) / options_.temperature);
  }

  int32_t draw(std::span<const float> scores, float best) noexcept {
    const auto n = static_cast<double>(scores.size());
    const double temperature = options_.temperature;
    candidates_.clear();
    if (options_.top_k > 0 && static_cast<size_t>(options_.top_k) < scores.size()) {
      keep_top_k(scores, best);
      if (options_.top_p < 1) keep_top_p(weight_of_candidates());
    } else if (options_.top_p < 1) {
      const double total = sum_weights(scores, best, temperature);
      // Tokens below this weight sum to at most 1 - top_p even together, so the others reach top_p.
      // The factor 1/2 keeps rounding out of the argument.
      const double floor = 0.5 * (1.0 - options_.top_p) * total / n;
      add_candidates(scores, best + temperature * std::log(floor));
      weigh_candidates(best);
      std::sort(candidates_.begin(), candidates_.end());
      keep_top_p(total);
    } else if (options_.min_p > 0) {
      constexpr double kSome = 0.99;  // fewer than all above it would be a mistake
      add_candidates(scores, best + temperature * std::log(kSome * options_.min_p));
      weigh_candidates(best);
    } else {
      return draw_any(scores, best);
    }
    if (options_.min_p > 0) {
      std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < options_.min_p; });
    }
    double left = random_.uniform() * weight_of_candidates();
    for (const Candidate& c : candidates_) {
      left -= c.weight;
      if (left < 0) return c.token;
    }
    return candidates_.back().token;  // rounding left a rest
  }

  // Draws from all tokens: a block, then one of its tokens.
  int32_t draw_any(std::span<const float> scores, float best) noexcept {
    double left = random_.uniform() * sum_weights(scores, best, options_.temperature);
    size_t block = 0;
    for (size_t b = 0; b < sums_.size(); ++b) {
      if (sums_[b] == 0) continue;
      block = b;
      if (left < sums_[b]) break;
      left -= sums_[b];
    }
    size_t token = 0;
    bool is_found = false;
    for_block(block, [&](size_t i) {
      const double weight = is_found ? 0 : weight_of(scores[i], best);
      if (weight == 0) return;
      token = i;  // the last one, where rounding left a rest
      left -= weight;
      is_found = left < 0;
    });
    return static_cast<int32_t>(token);
  }

  // Those whose score is at least `bound`, by their numbers, the score in the weight's place.
  void add_candidates(std::span<const float> scores, double bound) noexcept {
    for (size_t b = 0; b < maximums_.size(); ++b) {
      if (maximums_[b] < bound) continue;
      for_block(b, [&](size_t i) {
        if (scores[i] >= bound) candidates_.push_back({scores[i], static_cast<int32_t>(i)});
      });
    }
  }
  // Puts weights in the places of scores; those that are nothing go.
  void weigh_candidates(float best) noexcept {
    for (Candidate& c : candidates_) c.weight = weight_of(static_cast<float>(c.weight), best);
    std::erase_if(candidates_, [](const Candidate& c) { return c.weight == 0; });
  }

  // The k most probable ones, in order.
  void keep_top_k(std::span<const float> scores, float best) noexcept {
    const auto k = static_cast<size_t>(options_.top_k);
    float bound = kExcluded;
    if (k <= maximums_.size()) {
      // As many blocks have a token that is at least as good.
      std::copy(maximums_.begin(), maximums_.end(), sums_.begin());
      const auto kth = sums_.begin() + options_.top_k - 1;
      std::nth_element(sums_.begin(), kth, sums_.end(), std::greater<>());
      bound = *kth;
    }
    add_candidates(scores, bound);
    if (k < candidates_.size()) {
      std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k,
                       candidates_.end());
      candidates_.resize(k);
    }
    // nth_element leaves an order of its own; the draw must not depend on it.
    std::sort(candidates_.begin(), candidates_.end());
    weigh_candidates(best);
  }

  [[nodiscard]] double weight_of_candidates() const noexcept {
    double total = 0;
    for (const Candidate& c : candidates_) total += c.weight;
    return total;
  }

  // Precondition: the candidates are in order.
  void keep_top_p(double total) noexcept {
    double sum = 0;
    size_t kept = 0;
    while (kept < candidates_.size() && sum < options_.top_p * total) {
      sum += candidates_[kept++].weight;
    }
    candidates_.resize(kept);
  }

  const KernelTable* kernels_;
  SamplerOptions options_;
  SplitMix64 random_{0};
  std::vector<Uses> uses_;       // (vocab_size)
  std::vector<int32_t> seen_;    // the tokens whose uses_ are not zero
  std::vector<float> scores_;    // (vocab_size): logits after the penalties
  std::vector<float> maximums_;  // (blocks): of the scores
  std::vector<float> sums_;      // (blocks)
  std::vector<Candidate> candidates_;
};

}  // namespace pensee
