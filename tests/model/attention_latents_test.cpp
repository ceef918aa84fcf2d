#include "pensee/model/attention_latents.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "compute.hpp"
#include "pensee/kernels/dispatch.hpp"
#include "pensee/kernels/reference.hpp"
#include "pensee/model/attention_mla.hpp"

namespace pensee {
namespace {

using pensee_test::random_floats;
using pensee_test::Workbench;

// Latents of 128 numbers and keys of 16 more, in a full cache of eight bits, and twelve heads.
struct LatentProblem {
  explicit LatentProblem(int64_t tokens) : capacity(tokens) {
    config.family = ModelFamily::kDeepseekV3;
    config.n_layers = 1;
    config.n_heads = kHeads;
    config.kv_lora_rank = 128;
    config.qk_nope_head_dim = 32;
    config.qk_rope_head_dim = 16;
    config.v_head_dim = 32;
    Arena measure;
    (void)KvCache::layout(measure, config, tokens, CacheType::kQ8);
    arena = *Arena::create(measure.used());
    cache = KvCache::layout(arena, config, tokens, CacheType::kQ8);
    const std::vector<float> numbers = random_floats(tokens * 144, 1);
    for (int64_t t = 0; t < tokens; ++t) {
      const float* x = numbers.data() + t * 144;
      cache.store(reference_kernels(), cache.layer(0), 0, t, 0, x, 128);
      cache.store(reference_kernels(), cache.layer(0), 0, t, cache.second, x + 128, 16);
    }
  }

  // o_latent (n, kHeads, 128) of the tokens [begin, begin + n), of the queries that they always
  // have. Without the kernels of eight bits if `exact`.
  std::vector<float> attend_to(KernelTable kernels, int threads, int64_t begin, int64_t n,
                               bool exact = false) const {
    if (exact) kernels.latents = {};
    const Workbench bench(kernels, threads);
    Arena measure;
    (void)MlaScratch::layout(measure, config, cache, n, threads);
    Arena memory = *Arena::create(measure.used());
    const MlaScratch scratch = MlaScratch::layout(memory, config, cache, n, threads);
    REQUIRE(scratch.latents.group == 128);
    REQUIRE(scratch.thread_scratch() <= bench.compute().scratch_size);
    const int64_t row = cache.row_size;
    for (int64_t i = 0; i < n; ++i) {
      const auto q = random_floats(kHeads * row, static_cast<uint32_t>(7 + begin + i));
      std::memcpy(scratch.q_latent + i * kHeads * row, q.data(), q.size() * sizeof(float));
    }
    const MlaWeights w;
    const MlaCall call{bench.compute(), config,  w,     scratch, cache,
                       cache.layer(0),  nullptr, begin, n,       0.05F};
    attend_latents(call, 0, n);
    return {scratch.o_latent, scratch.o_latent + n * kHeads * 128};
  }

  static constexpr int64_t kHeads = 12;
  int64_t capacity;
  Config config;
  Arena arena;
  KvCache cache;
};

TEST_CASE("eight bits are near the other kernels, within and across tiles and splits") {
  const LatentProblem problem(kSplitTokens + 300);
  for (const KernelTable* kernels : compiled_kernels()) {
    if (kernels->latents.attend == nullptr) continue;
    CAPTURE(std::string(kernels->name));
    for (const int64_t token : {int64_t{0}, int64_t{1}, int64_t{127}, int64_t{128},
                                kSplitTokens - 1, kSplitTokens, kSplitTokens + 299}) {
      CAPTURE(token);
      const auto found = problem.attend_to(*kernels, 2, token, 1);
      const auto expected = problem.attend_to(*kernels, 2, token, 1, true);
      double error = 0.0;
      double size = 0.0;
      for (size_t i = 0; i < expected.size(); ++i) {
        error += std::pow(double{found[i]} - expected[i], 2);
        size += std::pow(double{expected[i]}, 2);
      }
      CHECK(error < 0.03 * 0.03 * size);
      CHECK(error > 0.0);  // they were used
    }
  }
}

TEST_CASE("neither threads nor the tokens that come together change a bit of them") {
  constexpr int64_t kBegin = 3 * kSplitTokens - 4;  // the last of these begins a split
  constexpr int64_t kNew = 16;                      // which a block of queries ends amid
  const LatentProblem problem(kBegin + kNew);
  for (const KernelTable* kernels : compiled_kernels()) {
    if (kernels->latents.attend == nullptr) continue;
    CAPTURE(std::string(kernels->name));
    const auto one = problem.attend_to(*kernels, 1, kBegin, kNew);
    for (const int threads : {2, 7}) {
      CHECK(problem.attend_to(*kernels, threads, kBegin, kNew) == one);
    }
    for (int64_t i = 0; i < kNew; ++i) {
      const auto alone = problem.attend_to(*kernels, 3, kBegin + i, 1);
      CHECK(std::memcmp(alone.data(), one.data() + i * LatentProblem::kHeads * 128,
                        alone.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("rows that the kernels do not take are told") {
  Config c;
  c.n_layers = 1;
  c.family = ModelFamily::kDeepseekV3;
  c.qk_rope_head_dim = 64;
  const auto group = [&](int64_t rank, CacheType type) {
    c.kv_lora_rank = rank;
    Arena measure;
    return latent_shape(c, KvCache::layout(measure, c, 1, type)).group;
  };
  CHECK(group(512, CacheType::kQ8) == 128);
  CHECK(group(192, CacheType::kQ8) == 64);
  CHECK(group(96, CacheType::kQ8) == 32);
  CHECK(group(512, CacheType::kBF16) == 0);
  CHECK(group(40, CacheType::kQ8) == 0);    // not of whole blocks
  CHECK(group(480, CacheType::kQ8) == 0);   // too many groups
  CHECK(group(1024, CacheType::kQ8) == 0);  // too long
}

}  // namespace
}  // namespace pensee
