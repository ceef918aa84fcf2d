// The kernel table of an instruction set, from its kernels of each weight type. It has internal
// linkage.
#pragma once

#include <stdint.h>

#include "matrix-inl.hpp"
#include "pensee/kernels/table.hpp"
#include "q8-inl.hpp"
#include "quantize-inl.hpp"
#include "vector-inl.hpp"

namespace pensee {
namespace {

// What not every type has on every instruction set: those that have it hide these.
struct NoKernels {
  static constexpr DotRowsQ8Fn kDotQ8 = nullptr;
  static constexpr GemmQ8Fn kGemmQ8 = nullptr;
  static constexpr DotRowsQ8Fn kDotTiles = nullptr;
  static constexpr GemmQ8Fn kGemmTiles = nullptr;
};

// Of a block type, by its decoder; `Float` reads float32.
template <class S, class E, class Float>
struct BlockKernels : NoKernels {
  static constexpr DotRowsFn kDot = dot_block_rows<S, E, Float>;
  static constexpr AddRowsFn kAdd = add_block_rows<S, E, Float>;
  static constexpr UnpackRowsFn kUnpack = unpack_block_rows<S, E>;
  static constexpr DotRowsQ8Fn kDotQ8 = dot_rows_q8<S, E>;
};

// Of a type of single elements.
template <class S, class E>
struct ElementKernels : NoKernels {
  static constexpr DotRowsFn kDot = dot_rows<S, E>;
  static constexpr AddRowsFn kAdd = add_rows<S, E>;
  static constexpr UnpackRowsFn kUnpack = unpack_rows<S, E>;
};

template <class S, template <int> class Kernels>
constexpr KernelTable make_table(const char* name, const AttentionKernels& attention_f32,
                                 const AttentionKernels& attention, const LatentKernels& latents) {
  return {
      .name = name,
#define PENSEE_X(enumerator, bytes, elements, name) Kernels<KernelType::enumerator>::kDot,
      .dot_rows = {PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)},
#undef PENSEE_X
#define PENSEE_X(enumerator, bytes, elements, name) Kernels<KernelType::enumerator>::kAdd,
      .add_rows = {PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)},
#undef PENSEE_X
#define PENSEE_X(enumerator, bytes, elements, name) Kernels<KernelType::enumerator>::kUnpack,
      .unpack_rows = {PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)},
#undef PENSEE_X
#define PENSEE_X(enumerator, bytes, elements, name) Kernels<KernelType::enumerator>::kDotQ8,
      .dot_rows_q8 = {PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)},
#undef PENSEE_X
#define PENSEE_X(enumerator, bytes, elements, name) Kernels<KernelType::enumerator>::kGemmQ8,
      .gemm_q8 = {PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)},
#undef PENSEE_X
#define PENSEE_X(enumerator, bytes, elements, name) Kernels<KernelType::enumerator>::kDotTiles,
      .dot_tiles_q8 = {PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)},
#undef PENSEE_X
#define PENSEE_X(enumerator, bytes, elements, name) Kernels<KernelType::enumerator>::kGemmTiles,
      .gemm_tiles_q8 = {PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)},
#undef PENSEE_X
      .quantize_q8 = quantize_q8<S>,
      .quantize_q8_part = quantize_q8_part,
      .find_q8_levels = find_q8_levels,
      .rms_norm = rms_norm<S>,
      .silu_mul = silu_mul<S>,
      .block_max = block_max<S>,
      .block_sum_exp = block_sum_exp<S>,
      .attention_f32 = attention_f32,
      .attention = attention,
      .latents = latents,
      .has_tiles = 0,
      .gemm_as_attention = 0,
  };
}

}  // namespace
}  // namespace pensee
