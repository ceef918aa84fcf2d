#include "pensee/model/forward.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "compute.hpp"
#include "forward.hpp"
#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"

namespace pensee {
namespace {

const char* const kFloat32Models[] = {"mla_yarn_f32", "plain_rope_f32", "dense_only_f32"};
const char* const kRoundedModels[] = {"mla_yarn_bf16", "mla_yarn_f16", "mla_yarn_fp8",
                                      "five_groups_bf16", "wide_blocks_fp8"};

TEST_CASE("float32 checkpoints agree with transformers to 1e-3 in every logit") {
  for (const KernelTable* kernels : exact_kernels()) {
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
  for (const KernelTable* kernels : exact_kernels()) {
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
  for (const KernelTable* kernels : exact_kernels()) {
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

// A token that hangs between two experts may go to the other one, which is most of the difference.
TEST_CASE("inputs that are rounded to bfloat16, as for AMX, change the tiny R1 little") {
  constexpr double kRoundedKl = 5e-4;  // a tenth of what inputs in eight bits cost a model
  const auto expected = golden::read_model(directory_of("tiny_r1"));
  for (const KernelTable* table : exact_kernels()) {
    CAPTURE(std::string(table->name));
    KernelTable kernels = *table;
    kernels.has_tiles = 1;
    if (kernels.attention.pair == 1) kernels.attention.pack_left = pensee_test::pack_rounded;
    const auto model = load_transformer(PENSEE_TINY_R1, kernels, 2);
    if (kernels.attention.pair == 2 && model->panels() == nullptr)
      continue;  // an oneDNN that cannot
    REQUIRE(model->panels() != nullptr);
    const auto logits = prompt_logits(model, expected.prompt);
    CHECK(mean_kl(expected, logits) <= kRoundedKl);
    CHECK(golden::max_difference(expected.logits.values, logits) > kLogitTolerance);  // rounded
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

}  // namespace
}  // namespace pensee
