// Attention over an 8-bit cache of latents in the arithmetic of LatentKernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "pensee/base/tensor_view.hpp"
#include "pensee/kernels/table.hpp"
#include "pensee/model/attention.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/kv_cache.hpp"

namespace pensee {

// The rows of such a cache as these kernels see them. `group` is 0 if they do not take them.
[[nodiscard]] inline LatentShape latent_shape(const Config& c, const KvCache& cache) noexcept {
  LatentShape shape{cache.row_size, c.kv_lora_rank, 0};
  if (cache.type != CacheType::kQ8 || shape.key_size > kLatentNumbers) return shape;
  for (const int64_t group : {128, 64, 32}) {
    if (shape.value_size % group != 0) continue;
    if (shape.value_size / group <= kLatentGroups) shape.group = group;
    break;
  }
  return shape;
}

// Thread scratch.
struct LatentBuffers {
  LatentQueries q{};
  LatentTile tile{};
  int64_t floats = 0;

  static LatentBuffers layout(float* scratch, const LatentShape& shape, int64_t block_rows) {
    LatentBuffers b;
    if (shape.group == 0) return b;
    const ThreadScratch room{scratch, b.floats};
    const int64_t key_groups = ceil_div(shape.key_size, shape.group);
    const int64_t value_groups = shape.value_size / shape.group;
    b.q.codes = bytes<int8_t>(room, block_rows * shape.key_size);
    b.q.scales = room.take(block_rows * key_groups);
    b.q.offsets = reinterpret_cast<int32_t*>(room.take(block_rows * key_groups));
    b.tile.keys = bytes<uint8_t>(room, kLatentTokens * shape.key_size);
    b.tile.values = bytes<int8_t>(room, kLatentTokens * shape.value_size);
    b.tile.scales = room.take(key_groups * kLatentTokens);
    b.tile.factors = room.take(value_groups * kLatentTokens);
    b.tile.largest = room.take(value_groups);
    return b;
  }

 private:
  template <class T>
  [[nodiscard]] static T* bytes(const ThreadScratch& room, int64_t n) noexcept {
    return reinterpret_cast<T*>(room.take(ceil_div(n, int64_t{sizeof(float)})));
  }
};

// Work of attend(), whose queries lie side by side.
class LatentWork {
 public:
  LatentWork(const LatentShape& shape, int64_t block_rows, const LatentKernels& kernels,
             const KernelMatrix& rows)
      : shape_(shape), block_rows_(block_rows), kernels_(kernels), rows_(rows) {}

  void prepare(const AttentionCall& a, const AttentionBlock& block, float* scratch) const {
    const LatentBuffers b = LatentBuffers::layout(scratch, shape_, block_rows_);
    kernels_.pack_queries(&shape_, a.query(block.stream, block.row_begin), block.rows(), a.scale,
                          &b.q);
  }

  void attend(const AttentionCall& a, const AttentionBlock& block, int64_t begin, int64_t end,
              float* scratch, const AttentionState& state) const {
    const LatentBuffers b = LatentBuffers::layout(scratch, shape_, block_rows_);
    int64_t visible[kMostRows];
    for (int64_t t = begin; t < end; t += kLatentTokens) {
      const int64_t n = std::min<int64_t>(kLatentTokens, end - t);
      for (int64_t i = 0; i < block.rows(); ++i) visible[i] = a.visible(block.row_begin + i, t, n);
      kernels_.pack_tile(&shape_, &rows_, t, t + n, &b.tile);
      kernels_.attend(&shape_, block.rows(), &b.q, &b.tile, n, visible, &state);
    }
  }

  static constexpr int64_t kMostRows = 128;  // of a block

 private:
  LatentShape shape_;
  int64_t block_rows_;
  const LatentKernels& kernels_;
  const KernelMatrix& rows_;
};
static_assert(kSplitTokens % kLatentTokens == 0);  // only the last tile has fewer tokens

}  // namespace pensee
