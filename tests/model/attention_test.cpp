#include "pensee/model/attention.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "compute.hpp"
#include "pensee/kernels/dispatch.hpp"

namespace pensee {
namespace {

TEST_CASE("a wave of splits gives every thread as many, where there is room for that") {
  const AttentionShape shape{.key_size = 8, .value_size = 64, .block_rows = 4};
  for (const int threads : {2, 3, 4, 16, 24}) {
    CAPTURE(threads);
    Arena measure;
    const AttentionSplits splits = AttentionSplits::layout(measure, shape, 1 << 20, threads);
    for (int64_t units = 1; units < 2 * threads; ++units) {
      CAPTURE(units);
      const int64_t wave = splits.in_a_wave(units, threads);
      CHECK(wave > 0);
      CHECK((wave + 1) * units <= splits.count);  // with what is joined
      if (units == 1 || units == threads) CHECK(wave * units % threads == 0);
    }
  }
}

// Work whose value is the number of the split, from 1 on, for every token of it.
struct SplitNumbers {
  void prepare(const AttentionCall& /*a*/, const AttentionBlock& /*block*/, float* scratch) const {
    *scratch = 1.0F;
  }
  void attend(const AttentionCall& a, const AttentionBlock& block, int64_t begin, int64_t end,
              const float* scratch, const AttentionState& state) const {
    for (int64_t i = 0; i < block.rows(); ++i) {
      const int64_t limit = std::min(end, a.limit(block.row_begin + i));
      if (limit <= begin) continue;
      state.max[i] = 0.0F;
      const auto tokens = static_cast<float>(limit - begin);
      state.sum[i] = tokens;
      state.out[i * state.ld] = tokens * (*scratch + static_cast<float>(begin / kSplitTokens));
    }
  }
};

TEST_CASE("every query meets every token before it once, however the work is cut") {
  constexpr int64_t kStreams = 3;
  constexpr int64_t kNew = 5;
  for (const int64_t begin : {int64_t{0}, kSplitTokens - 2, 40 * kSplitTokens + 7}) {
    CAPTURE(begin);
    for (const int threads : {1, 2, 5}) {
      for (const int64_t block_rows : {1, 4, 64}) {
        const pensee_test::Workbench bench(best_kernels(), threads);
        const AttentionShape shape{
            .key_size = 1, .value_size = 1, .block_rows = block_rows, .work_floats = 1};
        Arena measure;
        (void)AttentionSplits::layout(measure, shape, begin + kNew, threads);
        Arena arena = *Arena::create(measure.used());
        const auto splits = AttentionSplits::layout(arena, shape, begin + kNew, threads);
        std::vector<float> out(kNew * kStreams * 2, 0.0F);
        attend(bench.compute(), shape, splits,
               {.streams = kStreams,
                .per_token = 2,
                .key_size = 1,
                .value_size = 1,
                .begin = begin,
                .n = kNew,
                .scale = 1.0F,
                .q = nullptr,
                .q_token = 0,
                .q_stream = 0,
                .out = out.data(),
                .out_token = kStreams * 2,
                .out_stream = 2},
               SplitNumbers{});
        for (int64_t i = 0; i < kNew; ++i) {
          for (int64_t k = 0; k < kStreams * 2; ++k) {
            const int64_t seen = begin + i + 1;
            const int64_t full = seen / kSplitTokens;
            const auto sum = static_cast<double>(full * (full + 1) / 2 * kSplitTokens +
                                                 seen % kSplitTokens * (full + 1));
            const double mean = sum / static_cast<double>(seen);
            CHECK(out[static_cast<size_t>(i * kStreams * 2 + k)] ==
                  doctest::Approx(mean).epsilon(1e-5));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace pensee
