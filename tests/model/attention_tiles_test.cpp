#include "pensee/model/attention_tiles.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "compute.hpp"
#include "pensee/kernels/dispatch.hpp"
#include "pensee/kernels/reference.hpp"

namespace pensee {
namespace {

using pensee_test::random_floats;
using pensee_test::Workbench;

// Two key-value heads of 24 numbers, each read by three query heads, and a cache full of random
// rows.
struct Problem {
  static constexpr int64_t kStreams = 2;
  static constexpr int64_t kGroup = 3;
  static constexpr int64_t kSize = 24;
  static constexpr int64_t kRow = kStreams * kGroup * kSize;  // of queries, and of results

  Problem(int64_t tokens, CacheType type) : capacity(tokens) {
    config.family = ModelFamily::kQwen2;
    config.n_layers = 1;
    config.n_kv_heads = kStreams;
    config.head_dim = kSize;
    Arena measure;
    (void)KvCache::layout(measure, config, tokens, type);
    arena = *Arena::create(measure.used());
    cache = KvCache::layout(arena, config, tokens, type);
    const std::vector<float> numbers = random_floats(tokens * kStreams * 2 * kSize, 1);
    const float* x = numbers.data();
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t s = 0; s < kStreams; ++s, x += 2 * kSize) {
        cache.store(reference_kernels(), cache.layer(0), s, t, 0, x, kSize);
        cache.store(reference_kernels(), cache.layer(0), s, t, cache.second, x + kSize, kSize);
      }
    }
    q = random_floats(tokens * kRow, 2);
  }

  // Results (n, kStreams, kGroup, kSize) of the tokens [begin, begin + n).
  std::vector<float> attend_to(const KernelTable& kernels, int threads, int64_t begin, int64_t n,
                               int64_t block_rows = 8) const {
    const Workbench bench(kernels, threads);
    AttentionShape shape{.key_size = kSize, .value_size = kSize, .block_rows = block_rows};
    shape.work_floats = TileBuffers::layout(nullptr, shape).floats;
    REQUIRE(AttentionBuffers::layout(nullptr, shape).floats <= bench.compute().scratch_size);
    Arena measure;
    (void)AttentionSplits::layout(measure, shape, capacity, threads);
    Arena waiting = *Arena::create(measure.used());
    const AttentionSplits splits = AttentionSplits::layout(waiting, shape, capacity, threads);
    const AttentionKernels& math = attention_kernels(kernels, cache.type);
    std::vector<float> out(static_cast<size_t>(n * kRow), NAN);
    const AttentionCall call{.streams = kStreams,
                             .per_token = kGroup,
                             .key_size = kSize,
                             .value_size = kSize,
                             .begin = begin,
                             .n = n,
                             .scale = 0.3F,
                             .q = q.data() + begin * kRow,
                             .q_token = kRow,
                             .q_stream = kGroup * kSize,
                             .out = out.data(),
                             .out_token = kRow,
                             .out_stream = kGroup * kSize};
    const CacheLoader loader{math, cache, cache.layer(0), cache.second, shape};
    attend(bench.compute(), shape, splits, call, TileWork{shape, math, loader});
    return out;
  }

  // The same for one token, in double.
  std::vector<double> exact(int64_t token) const {
    std::vector<double> out(kRow, 0.0);
    std::vector<float> rows(static_cast<size_t>((token + 1) * cache.row_size));
    for (int64_t s = 0; s < kStreams; ++s) {
      const KernelMatrix m = cache.matrix(cache.layer(0), s, 0, cache.row_size);
      reference_kernels().unpack_rows[static_cast<size_t>(cache_dtype(cache.type))](
          &m, 0, token + 1, rows.data(), cache.row_size);
      for (int64_t h = 0; h < kGroup; ++h) {
        const float* query = q.data() + token * kRow + (s * kGroup + h) * kSize;
        double sum = 0.0;
        double* to = out.data() + (s * kGroup + h) * kSize;
        for (int64_t t = 0; t <= token; ++t) {
          const float* row = rows.data() + t * cache.row_size;
          double score = 0.0;
          for (int64_t d = 0; d < kSize; ++d) score += double{query[d]} * row[d];
          const double weight = std::exp(0.3 * score);
          sum += weight;
          for (int64_t d = 0; d < kSize; ++d) to[d] += weight * row[cache.second + d];
        }
        for (int64_t d = 0; d < kSize; ++d) to[d] /= sum;
      }
    }
    return out;
  }

  int64_t capacity;
  Config config;
  Arena arena;
  KvCache cache;
  std::vector<float> q;
};

TEST_CASE("attention equals the formula, within and across tiles and splits") {
  for (const CacheType type : {CacheType::kBF16, CacheType::kF32, CacheType::kQ8}) {
    const Problem problem(2 * kSplitTokens + 200, type);
    for (const KernelTable* kernels : compiled_kernels()) {
      CAPTURE(std::string(kernels->name));
      const bool is_exact = attention_kernels(*kernels, type).pair == 1;
      for (const int64_t token : {int64_t{0}, int64_t{1}, int64_t{127}, int64_t{128}, int64_t{1000},
                                  kSplitTokens - 1, kSplitTokens, 2 * kSplitTokens + 199}) {
        CAPTURE(token);
        const auto found = problem.attend_to(*kernels, 2, token, 1);
        const auto expected = problem.exact(token);
        for (size_t i = 0; i < expected.size(); ++i) {
          CHECK(std::fabs(found[i] - expected[i]) < (is_exact ? 1e-5 : 2e-2));
        }
      }
    }
  }
}

TEST_CASE("neither threads nor the tokens that come together change a bit") {
  constexpr int64_t kBegin = 3 * kSplitTokens - 4;  // the last of these begins a split
  constexpr int64_t kNew = 9;
  for (const CacheType type : {CacheType::kBF16, CacheType::kF32, CacheType::kQ8}) {
    const Problem problem(kBegin + kNew, type);
    for (const KernelTable* kernels : compiled_kernels()) {
      CAPTURE(std::string(kernels->name));
      const auto one = problem.attend_to(*kernels, 1, kBegin, kNew);
      for (const int threads : {2, 7}) {
        CHECK(problem.attend_to(*kernels, threads, kBegin, kNew) == one);
      }
      CHECK(problem.attend_to(*kernels, 2, kBegin, kNew, 32) == one);
      for (int64_t i = 0; i < kNew; ++i) {
        const auto alone = problem.attend_to(*kernels, 3, kBegin + i, 1);
        CHECK(std::memcmp(alone.data(), one.data() + i * Problem::kRow,
                          Problem::kRow * sizeof(float)) == 0);
      }
    }
  }
}

}  // namespace
}  // namespace pensee
