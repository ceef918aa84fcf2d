// The settings of a sampler, for the thought and for the answer.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

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
// seed: the same seed, settings, logits and kernels give the same tokens.
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

}  // namespace pensee
