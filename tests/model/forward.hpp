// Loads a model and runs it, for tests that compare its logits.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"
#include "pensee/model/read_config.hpp"
#include "pensee/model/sequence.hpp"

namespace pensee {

inline constexpr float kLogitTolerance = 1e-3F;
inline constexpr double kKlTolerance = 1e-4;  // nats, mean over positions

// The kernels of this machine that round no inputs of matrices in float32, 16 or 8 bits; the best
// first.
inline std::vector<const KernelTable*> exact_kernels() {
  std::vector<const KernelTable*> tables;
  for (const KernelTable* kernels : compiled_kernels()) {
    if (kernels->has_tiles == 0) tables.push_back(kernels);
  }
  return tables;
}

inline std::string directory_of(const std::string& model) {
  return std::string(PENSEE_TEST_DATA) + "/models/" + model;
}

inline std::shared_ptr<const Transformer> load_transformer(const std::string& path,
                                                           const KernelTable& kernels,
                                                           int threads) {
  auto checkpoint = Checkpoint::open(path);
  REQUIRE_MESSAGE(checkpoint.ok(), checkpoint.error().message);
  auto config = read_config(**checkpoint);
  REQUIRE_MESSAGE(config.ok(), config.error().message);
  auto model = Transformer::load(*checkpoint, *config, {.kernels = &kernels, .threads = threads});
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  return *model;
}

// What comparisons with other implementations want: a cache that rounds nothing.
inline constexpr CacheType kExact = CacheType::kF32;

// Logits (tokens, vocab_size) of all tokens, fed as one prompt.
inline std::vector<float> prompt_logits(const std::shared_ptr<const Transformer>& model,
                                        std::span<const int32_t> tokens,
                                        const SequenceOptions& options = {.cache_type = kExact}) {
  auto sequence = Sequence::create(model, options);
  REQUIRE_MESSAGE(sequence.ok(), sequence.error().message);
  std::vector<float> all;
  const auto sink = [&](int64_t position, int64_t n, std::span<const float> logits) {
    const auto seen = static_cast<int64_t>(all.size()) / model->config().vocab_size;
    CHECK(position == seen);
    CHECK(static_cast<int64_t>(logits.size()) == n * model->config().vocab_size);
    all.insert(all.end(), logits.begin(), logits.end());
  };
  const auto done = sequence->prefill_with_logits(tokens, sink);
  REQUIRE_MESSAGE(done.ok(), done.error().message);
  return all;
}

inline double mean_kl(const golden::Model& expected, std::span<const float> logits) {
  const auto vocab = static_cast<size_t>(expected.vocab_size());
  REQUIRE(logits.size() == expected.logits.values.size());
  double sum = 0.0;
  for (int64_t i = 0; i < expected.rows(); ++i) {
    sum += golden::kl_divergence(expected.logits.row(i),
                                 logits.subspan(static_cast<size_t>(i) * vocab, vocab));
  }
  return sum / static_cast<double>(expected.rows());
}

inline int32_t argmax(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

inline void check_greedy(const std::shared_ptr<const Transformer>& model,
                         const golden::Model& expected) {
  auto sequence = Sequence::create(model, {.cache_type = kExact});
  REQUIRE(sequence.ok());
  REQUIRE(sequence->prefill(expected.prompt).ok());
  std::vector<int32_t> found;
  for (size_t i = 0; i < expected.greedy.size(); ++i) {
    found.push_back(argmax(sequence->logits()));
    REQUIRE(sequence->decode(found.back()).ok());
  }
  CHECK(found == expected.greedy);
}

}  // namespace pensee
