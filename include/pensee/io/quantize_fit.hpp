// Finds scales: how a few numbers are best written as a scale times small whole numbers.
//
// Everything here makes the sum of squared errors small, all numbers counting the same.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>

#include "pensee/kernels/blocks.hpp"

namespace pensee::quantize_detail {

// The whole number next to x, |x| < 2^22: where floats have no fraction, the addition rounds.
[[nodiscard]] inline float nearest_whole(float x) noexcept {
  constexpr float kNoFraction = 12582912.0F;  // 1.5 * 2^23
  return (x + kNoFraction) - kNoFraction;
}

// What codes can stand for, before the scale: whole numbers of a range, ...
template <int kFrom, int kTo>
struct Integers {
  static constexpr int kLeast = kFrom;
  static constexpr int kMost = kTo;
  [[nodiscard]] static float nearest(float x) noexcept {
    return nearest_whole(std::clamp(x, static_cast<float>(kFrom), static_cast<float>(kTo)));
  }
};
// ... or the levels of IQ4_NL and IQ4_XS.
struct Iq4Levels {
  static constexpr int kLeast = blocks::kIQ4Values[0];
  static constexpr int kMost = blocks::kIQ4Values[15];
  [[nodiscard]] static int index(float x) noexcept {
    int i = 0;
    for (int next = 1; next < 16; ++next) {
      i += 2.0F * x > static_cast<float>(blocks::kIQ4Values[next - 1] + blocks::kIQ4Values[next]);
    }
    return i;
  }
  [[nodiscard]] static float nearest(float x) noexcept { return blocks::kIQ4Values[index(x)]; }
};

// 1 / scale, or 0 where that is no use: every number then becomes level 0's neighbour.
[[nodiscard]] inline float inverse_of(float scale) noexcept {
  return std::fabs(scale) < std::numeric_limits<float>::min() ? 0.0F : 1.0F / scale;
}

// Sum of squared errors of x (n) written as scale * level.
template <class Levels>
[[nodiscard]] float scale_error(const float* x, int n, float scale) noexcept {
  const float inverse = inverse_of(scale);
  float sum = 0.0F;
  for (int i = 0; i < n; ++i) {
    const float error = x[i] - scale * Levels::nearest(x[i] * inverse);
    sum += error * error;
  }
  return sum;
}

// The number of x (n) that is farthest from zero.
[[nodiscard]] inline float peak_of(const float* x, int n) noexcept {
  return *std::max_element(x, x + n, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
}

// The scale for x (n): tries some that put the peak near either end of the levels, and for each the
// scale that is best for the levels thus chosen.
template <class Levels>
[[nodiscard]] float fit_scale(const float* x, int n) noexcept {
  constexpr int kSteps = 9;             // to either side of an end
  constexpr float kStep = 0.1F;         // of a level
  constexpr float kLeastPeak = 1e-30F;  // below it levels times the inverse are infinite
  const float peak = peak_of(x, n);
  if (std::fabs(peak) < kLeastPeak) return 0.0F;
  const float inverse_peak = inverse_of(peak);
  float best = 0.0F;
  float best_gain = 0.0F;  // by how much the error is less than that of zeros
  for (const int end : {Levels::kLeast, Levels::kMost}) {
    for (int step = -kSteps; step <= kSteps; ++step) {
      const float width = Levels::kMost > 64 ? 10.0F * kStep : kStep;  // levels that lie apart
      const float inverse =
          (static_cast<float>(end) + width * static_cast<float>(step)) * inverse_peak;
      float product = 0.0F;
      float square = 0.0F;
      for (int i = 0; i < n; ++i) {
        const float level = Levels::nearest(x[i] * inverse);
        product += x[i] * level;
        square += level * level;
      }
      if (product * product <= best_gain * square) continue;
      best = product / square;
      best_gain = product * product / square;
    }
  }
  return best;
}

// x is about scale * q + min, q whole from 0 to some most.
struct ScaleMin {
  float scale = 0.0F;
  float min = 0.0F;
};

// Sum of squared errors of x (n) written so.
template <int kMost>
[[nodiscard]] float scale_min_error(const float* x, int n, ScaleMin fit) noexcept {
  const float inverse = inverse_of(fit.scale);
  float sum = 0.0F;
  for (int i = 0; i < n; ++i) {
    const float q = Integers<0, kMost>::nearest((x[i] - fit.min) * inverse);
    const float error = x[i] - (fit.scale * q + fit.min);
    sum += error * error;
  }
  return sum;
}

// The best scale and minimum for the q that `from` gives; the minimum at most `highest_min`.
template <int kMost>
[[nodiscard]] ScaleMin refit(const float* x, int n, ScaleMin from, float highest_min) noexcept {
  const float inverse = inverse_of(from.scale);
  float sum_x = 0.0F;
  float sum_q = 0.0F;
  float sum_qq = 0.0F;
  float sum_xq = 0.0F;
  for (int i = 0; i < n; ++i) {
    const float q = Integers<0, kMost>::nearest((x[i] - from.min) * inverse);
    sum_x += x[i];
    sum_q += q;
    sum_qq += q * q;
    sum_xq += x[i] * q;
  }
  const auto count = static_cast<float>(n);
  const float spread = count * sum_qq - sum_q * sum_q;
  if (spread <= 0.0F) return from;
  const ScaleMin fit = {(count * sum_xq - sum_x * sum_q) / spread,
                        (sum_qq * sum_x - sum_q * sum_xq) / spread};
  if (fit.min <= highest_min) return fit;
  return {(sum_xq - highest_min * sum_q) / sum_qq, highest_min};
}

// The scale and minimum for x (n). highest_min: 0 where minimums are written as magnitudes.
template <int kMost>
[[nodiscard]] ScaleMin fit_scale_min(const float* x, int n, float highest_min) noexcept {
  constexpr int kSteps = 20;
  constexpr float kStep = 0.1F;  // of a level, from one level below the full range on
  const auto [low, high] = std::minmax_element(x, x + n);
  const float min = std::min(*low, highest_min);
  const float range = *high - min;
  if (!(range > std::numeric_limits<float>::min())) return {0.0F, min};
  ScaleMin best = {range / kMost, min};
  float best_error = scale_min_error<kMost>(x, n, best);
  const auto keep_better = [&](ScaleMin fit) {
    const float error = scale_min_error<kMost>(x, n, fit);
    if (!(error < best_error) || fit.scale <= 0.0F) return false;
    best = fit;
    best_error = error;
    return true;
  };
  for (int step = 0; step <= kSteps; ++step) {
    const float levels = kMost - 1 + kStep * static_cast<float>(step);
    keep_better(refit<kMost>(x, n, {range / levels, min}, highest_min));
  }
  while (keep_better(refit<kMost>(x, n, best, highest_min))) {
  }
  return best;
}

}  // namespace pensee::quantize_detail
