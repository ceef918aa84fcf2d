// Which experts a token meets, and with what weight: noaux_tc (DeepSeek-V3, arXiv:2412.19437,
// section 2.1.2; selection limited to groups as in DeepSeek's published implementation), greedy and
// group_limited_greedy (DeepSeek-V2, arXiv:2405.04434, section 2.1.3).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "pensee/base/arena.hpp"
#include "pensee/kernels/reference.hpp"
#include "pensee/model/config.hpp"

namespace pensee {

struct RouterScratch {
  float* choice = nullptr;       // (n_routed_experts)
  float* group_score = nullptr;  // (n_group)

  static RouterScratch layout(Arena& arena, const Config& config) {
    RouterScratch scratch;
    scratch.choice = arena.take<float>(config.n_routed_experts);
    scratch.group_score = arena.take<float>(config.n_group);
    return scratch;
  }
};

// The index of the largest of values (n), the first of equals; -1 when all are -infinity.
[[nodiscard]] inline int64_t argmax_above_minus_infinity(const float* values, int64_t n) {
  int64_t best = -1;
  float best_value = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) {
    if (values[i] > best_value) {
      best_value = values[i];
      best = i;
    }
  }
  return best;
}

// Excludes all but the topk_group best groups from `choice`: a group's score is the sum of its two
// largest choices (noaux_tc), or its largest.
inline void exclude_groups(const Config& c, const RouterScratch& scratch) {
  constexpr float kExcluded = -std::numeric_limits<float>::infinity();
  const int64_t group_size = c.n_routed_experts / c.n_group;
  for (int64_t g = 0; g < c.n_group; ++g) {
    float first = kExcluded;
    float second = kExcluded;
    for (int64_t e = g * group_size; e < (g + 1) * group_size; ++e) {
      const float value = scratch.choice[e];
      if (value > first) {
        second = first;
        first = value;
      } else if (value > second) {
        second = value;
      }
    }
    scratch.group_score[g] = c.topk_method == TopkMethod::kNoauxTc ? first + second : first;
  }
  for (int64_t drop = c.n_group - c.topk_group; drop > 0; --drop) {
    // The last of the smallest, so that of equal groups the first are kept.
    int64_t worst = -1;
    for (int64_t g = 0; g < c.n_group; ++g) {
      if (scratch.group_score[g] == std::numeric_limits<float>::infinity()) continue;
      if (worst < 0 || scratch.group_score[g] <= scratch.group_score[worst]) worst = g;
    }
    if (worst < 0) return;
    scratch.group_score[worst] = std::numeric_limits<float>::infinity();
    std::fill_n(scratch.choice + worst * group_size, group_size, kExcluded);
  }
}

// One token: scores (n_routed_experts) hold the router's logits on entry and on return
// sigmoid(logits) (noaux_tc) or softmax(logits); experts and weights (num_experts_per_tok) are
// written. `bias` (n_routed_experts) is read by noaux_tc alone. A weight is the expert's score
// WITHOUT the bias, normalised and scaled as the configuration says.
inline void route_token(const Config& c, const float* bias, float* scores,
                        const RouterScratch& scratch, int32_t* experts, float* weights) {
  if (c.topk_method == TopkMethod::kNoauxTc) {
    for (int64_t e = 0; e < c.n_routed_experts; ++e) {
      scores[e] = 1.0F / (1.0F + std::exp(-scores[e]));
      scratch.choice[e] = scores[e] + bias[e];
    }
  } else {
    reference::softmax(scores, 1.0F, c.n_routed_experts);
    std::copy_n(scores, c.n_routed_experts, scratch.choice);
  }
  if (c.topk_method != TopkMethod::kGreedy && c.topk_group < c.n_group) exclude_groups(c, scratch);
  float sum = 0.0F;
  for (int64_t k = 0; k < c.num_experts_per_tok; ++k) {
    // NaN logits (a broken checkpoint) choose nothing: then the first experts that are not chosen
    // yet are, for buffers have room for every token once in each.
    int64_t expert = argmax_above_minus_infinity(scratch.choice, c.n_routed_experts);
    if (expert < 0) {
      expert = 0;
      while (std::find(experts, experts + k, static_cast<int32_t>(expert)) != experts + k) ++expert;
    }
    experts[k] = static_cast<int32_t>(expert);
    weights[k] = scores[expert];
    sum += weights[k];
    scratch.choice[expert] = -std::numeric_limits<float>::infinity();
  }
  constexpr float kEpsilon = 1e-20F;  // the reference's guard against a division by zero
  const auto scale = static_cast<float>(c.routed_scaling_factor);
  for (int64_t k = 0; k < c.num_experts_per_tok; ++k) {
    weights[k] = (c.norm_topk_prob ? weights[k] / (sum + kEpsilon) : weights[k]) * scale;
  }
}

}  // namespace pensee
