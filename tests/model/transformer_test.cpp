#include "pensee/model/transformer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "forward.hpp"
#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"

namespace pensee {
namespace {

const char* const kFloat32Models[] = {"mla_yarn_f32", "plain_rope_f32", "dense_only_f32"};
const char* const kRoundedModels[] = {"mla_yarn_bf16", "mla_yarn_f16", "mla_yarn_fp8",
                                      "five_groups_bf16", "wide_blocks_fp8"};
constexpr float kLogitTolerance = 1e-3F;
constexpr double kKlTolerance = 1e-4;  // nats, mean over positions

std::string directory_of(const std::string& name) {
  return std::string(PENSEE_TEST_DATA) + "/models/" + name;
}

TEST_CASE("float32 checkpoints agree with transformers to 1e-3 in every logit") {
  for (const KernelTable* kernels : compiled_kernels()) {
    for (const char* name : kFloat32Models) {
      CAPTURE(std::string(kernels->name));
      CAPTURE(std::string(name));
      const auto expected = golden::read_model(directory_of(name));
      const auto model = load_transformer(expected.directory, *kernels, 2);
      for (const MlaForm form : {MlaForm::kAuto, MlaForm::kAbsorbed, MlaForm::kExpanded}) {
        const auto logits =
            prompt_logits(model, expected.tokens(), {.mla = form, .cache_type = kExact});
        CHECK(golden::max_difference(expected.logits.values, logits) <= kLogitTolerance);
      }
      check_greedy(model, expected);
    }
  }
}

TEST_CASE("BF16, F16 and FP8 checkpoints agree with transformers to a mean KL of 1e-4") {
  for (const KernelTable* kernels : compiled_kernels()) {
    for (const char* name : kRoundedModels) {
      CAPTURE(std::string(kernels->name));
      CAPTURE(std::string(name));
      const auto expected = golden::read_model(directory_of(name));
      const auto model = load_transformer(expected.directory, *kernels, 2);
      const auto logits = prompt_logits(model, expected.tokens());
      CHECK(mean_kl(expected, logits) <= kKlTolerance);
      CHECK(golden::max_difference(expected.logits.values, logits) <= kLogitTolerance);
      check_greedy(model, expected);
    }
  }
}

// A trained model, whose logits are far from even: a prompt of 200 tokens, then 128 greedy ones.
TEST_CASE("the tiny R1 agrees with transformers, and writes the same greedy tokens") {
  for (const KernelTable* kernels : compiled_kernels()) {
    CAPTURE(std::string(kernels->name));
    const auto expected = golden::read_model(directory_of("tiny_r1"));
    REQUIRE(expected.prompt.size() == 200);
    REQUIRE(expected.greedy.size() == 128);
    const auto model = load_transformer(PENSEE_TINY_R1, *kernels, 2);
    for (const int64_t chunk : {512, 64}) {
      const auto logits =
          prompt_logits(model, expected.prompt, {.chunk = chunk, .cache_type = kExact});
      CHECK(mean_kl(expected, logits) <= kKlTolerance);
      CHECK(golden::max_difference(expected.logits.values, logits) <= kLogitTolerance);
    }
    check_greedy(model, expected);
  }
}

TEST_CASE("chunks of any size equal one chunk, and decoding equals prefilling") {
  const auto expected = golden::read_model(directory_of("mla_yarn_fp8"));
  const auto model = load_transformer(expected.directory, best_kernels(), 2);
  const auto tokens = expected.tokens();
  for (const int64_t chunk : {1, 2, 7, 15, 16, 17, 33}) {
    CAPTURE(chunk);
    const auto logits = prompt_logits(model, tokens, {.chunk = chunk, .cache_type = kExact});
    CHECK(golden::max_difference(expected.logits.values, logits) <= kLogitTolerance);
  }
}

TEST_CASE("the number of threads changes no bit") {
  for (const char* name : {"wide_blocks_fp8", "llama_k_quants", "v3_iq"}) {
    CAPTURE(std::string(name));
    const auto expected = golden::read_model(directory_of(name));
    const auto tokens = expected.tokens();
    const auto on = [&](int threads) {
      return prompt_logits(load_transformer(expected.directory, best_kernels(), threads), tokens);
    };
    CHECK(on(1) == on(3));
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
        SequenceOptions{.chunk = 0}, SequenceOptions{.chunk = 1 << 20}}) {
    auto refused = Sequence::create(model, options);
    REQUIRE(!refused.ok());
    CHECK(refused.error().status == Status::kInvalidArgument);
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

TEST_CASE("a load can be cancelled, and a missing or misshapen tensor is named") {
  const std::string directory = directory_of("mla_yarn_f32");
  auto checkpoint = Checkpoint::open(directory);
  REQUIRE(checkpoint.ok());
  auto config = read_config(**checkpoint);
  REQUIRE(config.ok());
  auto cancelled =
      Transformer::load(*checkpoint, *config, {.progress = [](double) { return false; }});
  REQUIRE(!cancelled.ok());
  CHECK(cancelled.error().status == Status::kCancelled);

  Config more_layers = *config;
  more_layers.n_layers += 7;
  auto missing = Transformer::load(*checkpoint, more_layers, {});
  REQUIRE(!missing.ok());
  CHECK(missing.error().status == Status::kNotFound);
  CHECK(missing.error().message.find("model.layers.") != std::string::npos);

  Config wider = *config;
  wider.vocab_size += 1;
  auto misshapen = Transformer::load(*checkpoint, wider, {});
  REQUIRE(!misshapen.ok());
  CHECK(misshapen.error().status == Status::kCorruptFile);
  for (const char* part : {"model.safetensors", "model.embed_tokens.weight", "expected shape"}) {
    CAPTURE(part);
    CHECK(misshapen.error().message.find(part) != std::string::npos);
  }
}

}  // namespace
}  // namespace pensee
