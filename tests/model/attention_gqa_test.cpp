#include "pensee/model/attention_gqa.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "compute.hpp"
#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"
#include "pensee/model/read_config.hpp"

namespace pensee {
namespace {

using pensee_test::Workbench;

// Layer 0's attention over x (n, hidden), in pieces of `piece` tokens.
std::vector<float> attend(const Config& c, const GqaWeights& w, const Workbench& bench,
                          std::span<const float> x, int64_t n, int64_t piece,
                          CacheType type = CacheType::kF32) {
  const RotaryTable rotary = RotaryTable::create(c);
  Arena measure;
  const int threads = bench.compute().pool->size();
  (void)KvCache::layout(measure, c, n, type);
  (void)GqaScratch::layout(measure, c, n, piece, threads);
  Arena arena = *Arena::create(measure.used());
  const KvCache cache = KvCache::layout(arena, c, n, type);
  const GqaScratch scratch = GqaScratch::layout(arena, c, n, piece, threads);
  REQUIRE(scratch.thread_scratch() <= bench.compute().scratch_size);
  std::vector<float> out(static_cast<size_t>(n * c.hidden_size), NAN);
  for (int64_t begin = 0; begin < n; begin += piece) {
    const int64_t rows = std::min(piece, n - begin);
    std::vector<float> angles(static_cast<size_t>(rows * c.rope_dim()));
    for (int64_t i = 0; i < rows; ++i) rotary.angles(begin + i, angles.data() + i * c.rope_dim());
    const GqaCall call{bench.compute(), c,     w,    scratch,         cache, cache.layer(0),
                       angles.data(),   begin, rows, softmax_scale(c)};
    gqa_project(call.compute, c, call.w, call.s, call.n, x.data() + begin * c.hidden_size);
    gqa_store(call, rotary);
    gqa_attend(call);
    multiply(bench.compute(),
             std::array{Product{&w.o_proj, scratch.heads, w.o_proj.cols, rows,
                                out.data() + begin * c.hidden_size, c.hidden_size}});
  }
  CHECK(!bench.failed());
  return out;
}

TEST_CASE("one layer equals transformers', at once and piece by piece, on any number of threads") {
  for (const char* name : {"qwen2_f32", "qwen2_tied_bf16", "llama_f32", "llama3_rope_f32",
                           "qwen3_f32", "qwen3_moe_bf16"}) {
    const std::string directory = std::string(PENSEE_TEST_DATA) + "/models/" + name;
    CAPTURE(directory);
    const auto checkpoint = Checkpoint::open(directory).value();
    const Config config = read_config(*checkpoint).value();
    const Weights weights = Weights::load(*checkpoint, config, {}).value();
    const auto x = golden::read_npy(directory + "/attention_input.npy");
    const auto y = golden::read_npy(directory + "/attention_output.npy");
    const int64_t n = x.shape[0];
    for (const KernelTable* kernels : compiled_kernels()) {
      for (const int threads : {1, 5}) {
        const Workbench bench(*kernels, threads);
        for (const int64_t piece : {n, int64_t{1}, int64_t{5}, int64_t{17}}) {
          CAPTURE(piece);
          const auto found = attend(config, weights.layers[0].gqa, bench, x.values, n, piece);
          CHECK(golden::max_difference(y.values, found) < 1e-4F);
        }
      }
    }
  }
}

}  // namespace
}  // namespace pensee
