// The softmax of a block of attention scores in which no token sees a later one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pensee/kernels/table.hpp"

namespace pensee {

// Attention over long prompts takes so many queries at a time, which share one block of scores.
inline constexpr int64_t kScoreRows = 64;

// scores (n, begin + n), in place: row i is that of the token at position begin + i.
inline void causal_softmax(const KernelTable& kernels, float scale, float* scores, int64_t begin,
                           int64_t n) {
  const int64_t seen = begin + n;
  for (int64_t i = 0; i < n; ++i) {
    float* row = scores + i * seen;
    const int64_t visible = begin + i + 1;
    kernels.softmax(row, scale, visible);
    std::fill(row + visible, row + seen, 0.0F);
  }
}

}  // namespace pensee
