#include "pensee/model/attention_mla.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "compute.hpp"
#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"
#include "pensee/model/read_config.hpp"

namespace pensee {
namespace {

using pensee_test::Workbench;

struct LoadedWeights {
  std::shared_ptr<const Checkpoint> checkpoint;
  Config config;
  Weights weights;
};

LoadedWeights load_weights(const std::string& directory) {
  auto checkpoint = Checkpoint::open(directory);
  REQUIRE_MESSAGE(checkpoint.ok(), checkpoint.error().message);
  auto config = read_config(**checkpoint);
  REQUIRE_MESSAGE(config.ok(), config.error().message);
  auto weights = Weights::load(**checkpoint, *config, {});
  REQUIRE_MESSAGE(weights.ok(), weights.error().message);
  return {*checkpoint, *config, std::move(*weights)};
}

// Layer 0's attention over x (n, hidden), in pieces of `piece` tokens.
std::vector<float> attend(const LoadedWeights& model, const KernelTable& kernels, MlaForm form,
                          std::span<const float> x, int64_t n, int64_t piece,
                          CacheType type = CacheType::kF32) {
  const Config& c = model.config;
  const MlaWeights& w = model.weights.layers[0].mla;
  const Workbench bench(kernels);
  const RotaryTable rotary = RotaryTable::create(c);
  Arena measure;
  const int threads = bench.compute().pool->size();
  (void)MlaScratch::layout(measure, c, KvCache::layout(measure, c, n, type), piece, threads);
  Arena arena = *Arena::create(measure.used());
  const KvCache cache = KvCache::layout(arena, c, n, type);
  const MlaScratch scratch = MlaScratch::layout(arena, c, cache, piece, threads);
  REQUIRE(scratch.thread_scratch() <= bench.compute().scratch_size);
  std::vector<float> out(static_cast<size_t>(n * c.hidden_size), NAN);
  for (int64_t begin = 0; begin < n; begin += piece) {
    const int64_t rows = std::min(piece, n - begin);
    std::vector<float> angles(static_cast<size_t>(rows * c.rope_dim()));
    for (int64_t i = 0; i < rows; ++i) rotary.angles(begin + i, angles.data() + i * c.rope_dim());
    const MlaCall call{bench.compute(), c,     w,    scratch,         cache, cache.layer(0),
                       angles.data(),   begin, rows, softmax_scale(c)};
    mla_project(call.compute, c, call.w, call.s, call.n, x.data() + begin * c.hidden_size);
    mla_store(call, rotary);
    if (form == MlaForm::kAbsorbed) {
      mla_absorbed(call);
    } else {
      mla_expanded(call);
    }
    multiply(bench.compute(),
             std::array{Product{&w.o_proj, scratch.heads, w.o_proj.cols, rows,
                                out.data() + begin * c.hidden_size, c.hidden_size}});
  }
  CHECK(!bench.failed());
  return out;
}

TEST_CASE("both forms of one layer equal transformers', at once and piece by piece") {
  for (const char* name : {"mla_yarn_f32", "mla_yarn_fp8", "plain_rope_f32", "wide_blocks_fp8",
                           "five_groups_bf16", "dense_only_f32"}) {
    const std::string directory = std::string(PENSEE_TEST_DATA) + "/models/" + name;
    CAPTURE(directory);
    const LoadedWeights model = load_weights(directory);
    const auto x = golden::read_npy(directory + "/attention_input.npy");
    const auto y = golden::read_npy(directory + "/attention_output.npy");
    const int64_t n = x.shape[0];
    for (const KernelTable* kernels : compiled_kernels()) {
      for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) {
        for (const int64_t piece : {n, int64_t{1}, int64_t{5}, int64_t{17}}) {
          CAPTURE(piece);
          const auto found = attend(model, *kernels, form, x.values, n, piece);
          CHECK(golden::max_difference(y.values, found) < 1e-4F);
        }
      }
    }
  }
}

TEST_CASE("the cheaper form is chosen: absorbed for decoding, expanded for long prompts") {
  Config r1;
  r1.kv_lora_rank = 512;
  r1.qk_nope_head_dim = 128;
  r1.qk_rope_head_dim = 64;
  r1.v_head_dim = 128;
  for (const bool eight_bits : {false, true}) {
    CHECK(choose_mla_form(r1, 4000, 1, eight_bits) == MlaForm::kAbsorbed);
    CHECK(choose_mla_form(r1, 0, 512, eight_bits) == MlaForm::kExpanded);
  }
  CHECK(choose_mla_form(r1, 100000, 140, false) == MlaForm::kAbsorbed);
  CHECK(choose_mla_form(r1, 100000, 150, false) == MlaForm::kExpanded);
  CHECK(choose_mla_form(r1, 100000, 250, true) == MlaForm::kAbsorbed);
  CHECK(choose_mla_form(r1, 100000, 270, true) == MlaForm::kExpanded);
}

}  // namespace
}  // namespace pensee
