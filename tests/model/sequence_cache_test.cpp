// Sequence: what caches of fewer bits cost in accuracy.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "forward.hpp"
#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"

namespace pensee {
namespace {

// Mean over positions of the Kullback-Leibler divergence, nats.
double mean_divergence(std::span<const float> expected, std::span<const float> found,
                       int64_t vocab) {
  double sum = 0.0;
  const auto width = static_cast<size_t>(vocab);
  for (size_t i = 0; i < expected.size(); i += width) {
    sum += golden::kl_divergence(expected.subspan(i, width), found.subspan(i, width));
  }
  return sum / static_cast<double>(expected.size() / width);
}

// Logits with a cache of `type` against those with an exact one.
double divergence(const std::shared_ptr<const Transformer>& model, std::span<const int32_t> tokens,
                  int64_t chunk, CacheType type) {
  const auto logits = [&](CacheType cache) {
    return prompt_logits(model, tokens, {.chunk = chunk, .cache_type = cache});
  };
  return mean_divergence(logits(kExact), logits(type), model->config().vocab_size);
}

// Not those with experts: made of random numbers, their routers are so undecided that one more
// rounding sends tokens elsewhere.
TEST_CASE("caches of 16 and 8 bits stay close to one of 32, in every dense golden checkpoint") {
  int models = 0;
  for (const golden::IndexRow& row : golden::read_index(PENSEE_TEST_DATA "/models")) {
    CAPTURE(row.name);
    const std::vector<int32_t> tokens = golden::read_model(row.expected).tokens();
    for (const KernelTable* kernels : compiled_kernels()) {
      CAPTURE(std::string(kernels->name));
      const auto model = load_transformer(row.checkpoint, *kernels, 2);
      if (model->config().has_moe()) continue;
      ++models;
      for (const int64_t chunk : {512, 1}) {
        CHECK(divergence(model, tokens, chunk, CacheType::kBF16) < 5e-4);
        CHECK(divergence(model, tokens, chunk, CacheType::kQ8) < 3e-3);
      }
    }
  }
  CHECK(models > 0);
}

TEST_CASE("and in the tiny R1, whose router is trained") {
  const auto expected = golden::read_model(PENSEE_TEST_DATA "/models/tiny_r1");
  const auto model = load_transformer(PENSEE_TINY_R1, best_kernels(), 2);
  for (const int64_t chunk : {512, 1}) {  // both forms of latent attention
    CHECK(divergence(model, expected.prompt, chunk, CacheType::kBF16) < 1e-3);
    CHECK(divergence(model, expected.prompt, chunk, CacheType::kQ8) < 2e-3);
  }
}

}  // namespace
}  // namespace pensee
