#include "pensee/model/sequence.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "forward.hpp"
#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"

namespace pensee {
namespace {

TEST_CASE("chunks of any size equal one chunk, and decoding equals prefilling") {
  const auto expected = golden::read_model(directory_of("mla_yarn_fp8"));
  const auto model = load_transformer(expected.directory, *exact_kernels().front(), 2);
  const auto tokens = expected.tokens();
  for (const int64_t chunk : {1, 2, 7, 15, 16, 17, 33}) {
    CAPTURE(chunk);
    const auto logits = prompt_logits(model, tokens, {.chunk = chunk, .cache_type = kExact});
    CHECK(golden::max_difference(expected.logits.values, logits) <= kLogitTolerance);
  }
}

TEST_CASE("truncating and feeding again gives the same logits") {
  const auto expected = golden::read_model(directory_of("plain_rope_f32"));
  const auto model = load_transformer(expected.directory, best_kernels(), 2);
  auto sequence = Sequence::create(model, {.cache_type = kExact});
  REQUIRE(sequence.ok());
  REQUIRE(sequence->prefill(expected.prompt).ok());
  const std::vector<float> first(sequence->logits().begin(), sequence->logits().end());
  REQUIRE(sequence->prefill(expected.greedy).ok());
  sequence->truncate(static_cast<int64_t>(expected.prompt.size()) - 1);
  REQUIRE(sequence->decode(expected.prompt.back()).ok());
  CHECK(golden::max_difference(first, sequence->logits()) <= 1e-4F);
}

TEST_CASE("wrong calls are errors that leave the sequence usable") {
  const auto expected = golden::read_model(directory_of("dense_only_f32"));
  const auto model = load_transformer(expected.directory, best_kernels(), 1);
  auto sequence = Sequence::create(model, {.context_length = 20, .chunk = 4});
  REQUIRE(sequence.ok());
  const std::vector<int32_t> too_many(21, 1);
  auto full = sequence->prefill(too_many);
  REQUIRE(!full.ok());
  CHECK(full.error().status == Status::kContextFull);
  CHECK(full.error().message ==
        "21 tokens do not fit: the context holds 20 tokens and 0 are taken");
  CHECK(sequence->length() == 0);

  for (const int32_t token : {-1, static_cast<int32_t>(model->config().vocab_size)}) {
    auto outside = sequence->decode(token);
    REQUIRE(!outside.ok());
    CHECK(outside.error().status == Status::kInvalidArgument);
  }
  const std::vector<int32_t> prompt(10, 1);
  auto cancelled = sequence->prefill(prompt, [](int64_t done, int64_t) { return done < 8; });
  REQUIRE(!cancelled.ok());
  CHECK(cancelled.error().status == Status::kCancelled);
  CHECK(sequence->length() == 8);
  CHECK(sequence->decode(1).ok());
  CHECK(sequence->length() == 9);

  for (const SequenceOptions& options :
       {SequenceOptions{.context_length = -1}, SequenceOptions{.context_length = 1 << 30},
        SequenceOptions{.chunk = -1}, SequenceOptions{.chunk = 1 << 20}}) {
    auto refused = Sequence::create(model, options);
    REQUIRE(!refused.ok());
    CHECK(refused.error().status == Status::kInvalidArgument);
  }
  Config large = model->config();
  large.max_position_embeddings = 4096;
  CHECK(checked_options(large, {})->chunk == 512);
  Config dense = large;
  dense.family = ModelFamily::kQwen2;
  CHECK(!dense.has_moe());
  CHECK(checked_options(dense, {})->chunk == 256);
}

TEST_CASE("the last tokens of a prompt are not read in a pass of few") {
  const auto expected = golden::read_model(directory_of("dense_only_f32"));
  const auto model = load_transformer(expected.directory, best_kernels(), 1);
  for (const auto& [tokens, ends] :
       {std::pair<size_t, std::vector<int64_t>>{35, {19, 35}}, {48, {32, 48}}, {64, {32, 64}}}) {
    auto sequence = Sequence::create(model, {.context_length = 64, .chunk = 32});
    REQUIRE(sequence.ok());
    std::vector<int64_t> found;
    CHECK(sequence
              ->prefill(std::vector<int32_t>(tokens, 1),
                        [&](int64_t done, int64_t) {
                          found.push_back(done);
                          return true;
                        })
              .ok());
    CHECK(found == ends);
  }
}

TEST_CASE("the memory estimate grows by one cache row and its scores for each token") {
  const auto expected = golden::read_model(directory_of("mla_yarn_f32"));
  const auto model = load_transformer(expected.directory, best_kernels(), 1);
  const auto bytes = [&](int64_t tokens) {
    return *Sequence::estimate_memory(
        model->config(), {.context_length = tokens, .chunk = 1, .cache_type = kExact}, 1);
  };
  const Config& c = model->config();
  const auto rows = static_cast<size_t>(c.n_layers * (c.kv_lora_rank + c.qk_rope_head_dim)) * 4;
  CHECK(bytes(128) > bytes(64));
  CHECK(bytes(128) - bytes(64) >= 64 * rows);
}

}  // namespace
}  // namespace pensee
