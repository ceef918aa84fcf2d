// The memory of multi-head latent attention, in both of its forms.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "pensee/base/arena.hpp"
#include "pensee/model/attention.hpp"
#include "pensee/model/attention_latents.hpp"
#include "pensee/model/attention_tiles.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/kv_cache.hpp"
#include "pensee/model/linear.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// Both forms compute the same numbers, but for rounding. Expanded: kv_b_proj turns every cached
// latent back into keys and values of each head, then ordinary attention. Absorbed: kv_b_proj's key
// half goes into the query and its value half onto the result, so that the latents themselves are
// keys and values.
enum class MlaForm { kAuto, kAbsorbed, kExpanded };

inline constexpr int64_t kAbsorbedTokens = 16;  // queries in one go of the absorbed form
// The references normalise the low-rank latents with this, whatever rms_norm_eps says.
inline constexpr float kLatentNormEps = 1e-6F;

// What the expanded form needs to turn a tile of latents into keys and values of one head.
struct ExpandBuffers {
  uint32_t* w_uk = nullptr;     // left (nope, kv_lora_rank): the head's rows of kv_b_proj
  uint32_t* w_uv = nullptr;     // right (kv_lora_rank, v)
  uint32_t* latents = nullptr;  // right (kv_lora_rank, kTileTokens), or left with tokens for rows
  float* rows = nullptr;        // (kTileTokens or nope + v, kv_lora_rank or more)
  float* product = nullptr;     // (nope, kTileTokens) or (kTileTokens, v)
  int64_t floats = 0;

  static ExpandBuffers layout(float* scratch, const Config& c, const KvCache& cache) {
    ExpandBuffers b;
    const ThreadScratch room{scratch, b.floats};
    const int64_t latent = c.kv_lora_rank;
    const int64_t v_columns = AttentionShape::columns(c.v_head_dim);
    b.w_uk = room.words(c.qk_nope_head_dim * latent);
    b.w_uv = room.words(latent * v_columns);
    b.latents = room.words(latent * kTileTokens);
    b.rows = room.take(
        std::max(kTileTokens * cache.second, std::max(c.qk_nope_head_dim, c.v_head_dim) * latent));
    b.product = room.take(std::max(c.qk_nope_head_dim, v_columns) * kTileTokens);
    return b;
  }
};

struct MlaScratch {
  float* q_a = nullptr;       // (chunk, q_lora_rank)
  float* q = nullptr;         // (chunk, n_heads, nope + rope)
  float* kv_a = nullptr;      // (chunk, kv_lora_rank + rope)
  float* q_latent = nullptr;  // (kAbsorbedTokens, n_heads, cache.row_size)
  float* o_latent = nullptr;  // (kAbsorbedTokens, n_heads, kv_lora_rank)
  float* heads = nullptr;     // (chunk, n_heads, v)
  LatentShape latents;
  AttentionShape absorbed;
  AttentionShape expanded;
  AttentionSplits absorbed_splits;
  AttentionSplits expanded_splits;
  int64_t quantized_floats = 0;  // for the inputs of one head's part of kv_b_proj

  // The queries of a task: so many that what it packs costs little beside their products.
  static constexpr int64_t kAbsorbedRows = LatentWork::kMostRows;
  static constexpr int64_t kExpandedRows = 512;

  static MlaScratch layout(Arena& arena, const Config& c, const KvCache& cache, int64_t chunk,
                           int threads) {
    const int64_t tokens = std::min(chunk, kAbsorbedTokens);
    const int64_t rope = c.qk_rope_head_dim;
    MlaScratch s;
    s.q_a = arena.take<float>(chunk * c.q_lora_rank);
    s.q = arena.take<float>(chunk * c.n_heads * (c.qk_nope_head_dim + rope));
    s.kv_a = arena.take<float>(chunk * (c.kv_lora_rank + rope));
    s.q_latent = arena.take<float>(tokens * c.n_heads * cache.row_size);
    s.o_latent = arena.take<float>(tokens * c.n_heads * c.kv_lora_rank);
    s.heads = arena.take<float>(chunk * c.n_heads * c.v_head_dim);
    s.absorbed = {.key_size = cache.row_size,
                  .value_size = c.kv_lora_rank,
                  .block_rows = std::min(tokens * c.n_heads, kAbsorbedRows)};
    s.expanded = {.key_size = c.qk_nope_head_dim + rope,
                  .value_size = c.v_head_dim,
                  .block_rows = std::min(chunk, kExpandedRows)};
    s.quantized_floats = tokens * q8_chunks(std::max(c.kv_lora_rank, c.qk_nope_head_dim)) *
                         static_cast<int64_t>(sizeof(Q8Chunk) / sizeof(float));
    s.latents = latent_shape(c, cache);
    s.absorbed.work_floats =
        std::max(TileBuffers::layout(nullptr, s.absorbed).floats,
                 LatentBuffers::layout(nullptr, s.latents, s.absorbed.block_rows).floats);
    s.expanded.work_floats = TileBuffers::layout(nullptr, s.expanded).floats +
                             ExpandBuffers::layout(nullptr, c, cache).floats;
    s.absorbed_splits = AttentionSplits::layout(arena, s.absorbed, cache.capacity, threads);
    s.expanded_splits = AttentionSplits::layout(arena, s.expanded, cache.capacity, threads);
    return s;
  }
  // For a sequence whose rows of a pass of several begin with row `first`: the rows of that pass,
  // and the rest its own.
  [[nodiscard]] MlaScratch with_rows_of(const MlaScratch& pass, const Config& c,
                                        int64_t first) const noexcept {
    MlaScratch s = *this;
    s.q = pass.q + first * c.n_heads * c.qk_head_dim();
    s.kv_a = pass.kv_a + first * (c.kv_lora_rank + c.qk_rope_head_dim);
    s.heads = pass.heads + first * c.n_heads * c.v_head_dim;
    return s;
  }
  // Floats of thread scratch that attention needs.
  [[nodiscard]] int64_t thread_scratch() const noexcept {
    return std::max({AttentionBuffers::layout(nullptr, absorbed).floats,
                     AttentionBuffers::layout(nullptr, expanded).floats, quantized_floats});
  }
};

// `rows` is (capacity, row_bytes).
using MlaCall = LayerCall<MlaWeights, MlaScratch>;

}  // namespace pensee
