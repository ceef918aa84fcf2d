// The kernels on plain float vectors, written once for every instruction set; see matrix-inl.hpp
// for the conventions. Results depend on the length alone, never on alignment.
#pragma once

#include <stdint.h>

#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

constexpr float kLog2E = 1.44269504F;
constexpr float kLn2High = 0.693359375F;  // few bits: its products with small integers are exact
constexpr float kLn2Low = -2.12194440e-4F;
constexpr float kRounder = 0x1.8p23F;  // adding and subtracting it rounds to a whole number
// exp is 0 below the first and infinite above the second.
constexpr float kExpMin = -104.0F;
constexpr float kExpMax = 89.0F;

// exp(x), relative error below 1e-6 where the result is normal; NaN stays NaN. With x = k ln 2 + r
// and |r| <= ln 2 / 2, the Taylor series through r^7 is exact to 6e-9.
template <class S>
inline typename S::Vec exp(typename S::Vec x) {
  using Vec = typename S::Vec;
  x = S::min(S::set1(kExpMax), S::max(S::set1(kExpMin), x));
  const Vec rounder = S::set1(kRounder);
  const Vec k = S::sub(S::fma(x, S::set1(kLog2E), rounder), rounder);
  Vec r = S::fma(k, S::set1(-kLn2High), x);
  r = S::fma(k, S::set1(-kLn2Low), r);
  Vec p = S::set1(1.0F / 5040.0F);
  p = S::fma(p, r, S::set1(1.0F / 720.0F));
  p = S::fma(p, r, S::set1(1.0F / 120.0F));
  p = S::fma(p, r, S::set1(1.0F / 24.0F));
  p = S::fma(p, r, S::set1(1.0F / 6.0F));
  p = S::fma(p, r, S::set1(0.5F));
  p = S::fma(p, r, S::set1(1.0F));
  p = S::fma(p, r, S::set1(1.0F));
  return S::scale_by_power_of_two(p, k);
}

// `count` floats, at most a vector, and `fill` in the other lanes.
template <class S>
inline typename S::Vec load_lanes(const float* from, int64_t count, float fill) {
  if (count >= S::kLanes) return S::load(from);
  float lanes[S::kLanes];
  for (int64_t i = 0; i < S::kLanes; ++i) lanes[i] = i < count ? from[i] : fill;
  return S::load(lanes);
}

template <class S>
inline void store_lanes(float* to, int64_t count, typename S::Vec value) {
  if (count >= S::kLanes) return S::store(to, value);
  float lanes[S::kLanes];
  S::store(lanes, value);
  for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
}

template <class S>
void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* y) {
  using Vec = typename S::Vec;
  constexpr unsigned kSums = 4;
  Vec sums[kSums] = {S::zero(), S::zero(), S::zero(), S::zero()};
  int64_t i = 0;
  for (; i + kSums * S::kLanes <= n; i += kSums * S::kLanes) {
#pragma GCC unroll 8
    for (unsigned k = 0; k < kSums; ++k) {
      const Vec v = S::load(x + i + k * S::kLanes);
      sums[k] = S::fma(v, v, sums[k]);
    }
  }
  for (; i < n; i += S::kLanes) {
    const Vec v = load_lanes<S>(x + i, n - i, 0.0F);
    sums[0] = S::fma(v, v, sums[0]);
  }
  const float sum = S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
  const Vec mean = S::set1(sum / static_cast<float>(n) + eps);
  const Vec factor = S::div(S::set1(1.0F), S::sqrt(mean));
  for (i = 0; i < n; i += S::kLanes) {
    const Vec scaled = S::mul(load_lanes<S>(x + i, n - i, 0.0F), factor);
    store_lanes<S>(y + i, n - i, S::mul(load_lanes<S>(weight + i, n - i, 0.0F), scaled));
  }
}

template <class S>
void silu_mul(const float* gate, const float* up, int64_t n, float* y) {
  using Vec = typename S::Vec;
  const Vec one = S::set1(1.0F);
  for (int64_t i = 0; i < n; i += S::kLanes) {
    const Vec g = load_lanes<S>(gate + i, n - i, 0.0F);
    const Vec silu = S::div(g, S::add(one, exp<S>(S::sub(S::zero(), g))));
    store_lanes<S>(y + i, n - i, S::mul(silu, load_lanes<S>(up + i, n - i, 0.0F)));
  }
}

// f(v, k) for the vectors of the first block of x (n), with -infinity beyond the end, and k = 0 to
// 3 in turn.
template <class S, class F>
[[gnu::always_inline]] inline void for_block(const float* x, int64_t n, F&& f) {
  constexpr int64_t kVectors = kLogitBlock / S::kLanes;
  if (n >= kLogitBlock) {
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) f(S::load(x + v * S::kLanes), v % 4);
    return;
  }
  for (int64_t v = 0; v * S::kLanes < n; ++v) {
    f(load_lanes<S>(x + v * S::kLanes, n - v * S::kLanes, -__builtin_inff()), v % 4);
  }
}

template <class S>
void block_max(const float* x, int64_t n, float* out) {
  using Vec = typename S::Vec;
  for (int64_t begin = 0; begin < n; begin += kLogitBlock) {
    const Vec none = S::set1(-__builtin_inff());
    Vec most[4] = {none, none, none, none};
    for_block<S>(x + begin, n - begin, [&](Vec v, int64_t k) { most[k] = S::max(v, most[k]); });
    *out++ = S::max_lane(S::max(S::max(most[0], most[1]), S::max(most[2], most[3])));
  }
}

template <class S>
void block_sum_exp(const float* x, int64_t n, float max, float scale, float* out) {
  using Vec = typename S::Vec;
  const Vec most = S::set1(max);
  const Vec factor = S::set1(scale);
  for (int64_t begin = 0; begin < n; begin += kLogitBlock) {
    Vec sums[4] = {S::zero(), S::zero(), S::zero(), S::zero()};
    for_block<S>(x + begin, n - begin, [&](Vec v, int64_t k) {
      sums[k] = S::add(sums[k], exp<S>(S::mul(S::sub(v, most), factor)));
    });
    *out++ = S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
  }
}

}  // namespace
}  // namespace pensee
