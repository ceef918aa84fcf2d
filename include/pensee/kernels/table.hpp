/* The kernel table: plain function pointers, one set for each instruction set.
 *
 * Files compiled with their own instruction-set flags include this header, the intrinsics,
 * <stdint.h> and headers of plain data, and nothing else, so that no inline function of the library
 * is ever compiled with flags that the machine may lack.
 */
#pragma once

#include <stdint.h>

#include "pensee/base/weight_types.hpp"

namespace pensee {

/* A weight matrix as a kernel sees it. Row r, column c of a matrix with scales has the value
 * element(r, c) * scales[(r / 128) * scale_stride + c / 128]. Only FP8 matrices have scales;
 * without them (null) the value is the element. Of the block types a row holds cols / elements a
 * block whole blocks. */
struct KernelMatrix {
  const void* data;     /* row 0; any alignment */
  const float* scales;  /* (ceil(rows/128), scale_stride) or null */
  int64_t row_bytes;    /* distance between rows, bytes */
  int64_t scale_stride; /* floats between rows of blocks */
  int64_t cols;
  /* What the calling thread will probably read after the rows of this call, for kernels to ask of
   * memory ahead; null if unknown. */
  const void* next = nullptr;
  int64_t next_bytes = 0;
};

/* y[i * ldy + (r - row_begin)] = sum over c of x[i * ldx + c] * W[r, c]
 * for r in [row_begin, row_end) and i in [0, n). n >= 1. Every (i, r) is summed in an order that
 * depends on cols alone, so a result never depends on n, on the partition or on the thread. */
typedef void (*DotRowsFn)(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const float* x,
                          int64_t ldx, int64_t n, float* y, int64_t ldy);

/* y[i * ldy + c] += sum over r in [row_begin, row_end) of a[i * lda + (r - row_begin)] * W[r, c]
 * for i in [0, n) and c in [0, cols): the product with the transpose. Rows are added in order. */
typedef void (*AddRowsFn)(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const float* a,
                          int64_t lda, int64_t n, float* y, int64_t ldy);

/* out[(r - row_begin) * ldo + c] = W[r, c]: rows as float32. */
typedef void (*UnpackRowsFn)(const KernelMatrix* w, int64_t row_begin, int64_t row_end, float* out,
                             int64_t ldo);

/* The weight types: KernelType::kF32 and so on, numbered as in DType. */
struct KernelType {
  enum : int {
#define PENSEE_X(enumerator, bytes, elements, name) enumerator,
    PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)
#undef PENSEE_X
        kCount
  };
};
enum : int { kKernelTypes = KernelType::kCount };

/* 256 numbers of a row of activations, quantised to eight bits: number c is about
 * codes[c] * scales[c / 32]. A row of `cols` numbers is ceil(cols / 256) chunks; what is beyond
 * `cols` in the last one is zero. Quantised once, a row serves every matrix that reads it. */
enum : int { kQ8Columns = 256 };
struct alignas(64) Q8Chunk {
  int8_t codes[256]; /* in [-127, 127] */
  float scales[8];
  int16_t sums_32[8];      /* of 32 codes each */
  int16_t sums_16[16];     /* of 16 codes each */
  float scaled_sums_32[8]; /* sums_32[g] * scales[g] */
  /* For kernels that apply scales in integers: scales[g] is about scale_levels[g] * scale_unit, the
   * largest kQ8ScaleLevels; sums times their scale are about levels times kQ8SumUnit * scale_unit.
   * All levels are zero where the unit is zero or not finite. */
  int16_t scale_levels[8];
  int16_t sum_levels_32[8];
  int16_t sum_levels_16[16];
  float scale_unit;
};
enum : int { kQ8ScaleLevels = 4095, kQ8SumUnit = 1024 };

/* Quantises a row, chunk c to out[c * ldo]: of every 32 numbers the largest magnitude becomes 127,
 * magnitudes below 1e-30 count as zero, and one that is not finite makes the scale NaN. */
typedef void (*QuantizeQ8Fn)(const float* x, int64_t cols, Q8Chunk* out, int64_t ldo);

/* The same in two steps, for numbers that come in parts. Numbers [first, first + count) of a chunk,
 * both multiples of 32: all but the scaled sums and the levels. */
typedef void (*QuantizeQ8PartFn)(const float* x, int64_t first, int64_t count, Q8Chunk* chunk);
/* Then those of n chunks. */
typedef void (*FindQ8LevelsFn)(Q8Chunk* chunks, int64_t n);

/* y[i * ldy + (r - row_begin)] = W[r, :] . (input i), for r in [row_begin, row_end) and i in [0,
 * n); chunk c of input i is x[c * ldx + i]: inputs that are read together lie together. n >= 1,
 * cols > 0. Products of codes are summed exactly; the rest as DotRowsFn says: a result depends
 * neither on n nor on the partition. */
typedef void (*DotRowsQ8Fn)(const KernelMatrix* w, int64_t row_begin, int64_t row_end,
                            const struct Q8Chunk* x, int64_t ldx, int64_t n, float* y, int64_t ldy);

/* The same for many inputs: faster, and its sums are added in another order, which depends on cols
 * alone as well. `scratch` has kGemmQ8Scratch bytes at a multiple of 64. */
enum : int { kGemmQ8Scratch = 8 * 5376 };
typedef void (*GemmQ8Fn)(const KernelMatrix* w, int64_t row_begin, int64_t row_end,
                         const struct Q8Chunk* x, int64_t ldx, int64_t n, float* y, int64_t ldy,
                         void* scratch);

/* How a key-value cache holds numbers: bfloat16, float32, or Q8_0 blocks of 32 (the last of a row
 * filled up with zeros). */
struct CacheStorage {
  enum : int { kBF16, kF32, kQ8, kCount };
};

/* What attention is made of: products of small matrices that stay in the caches, in float32, or in
 * bfloat16 with sums in float32. The operands are packed into words of 32 bits, which hold `pair`
 * numbers that lie side by side along k:
 *   left (m, k):   rows of words(k) = ceil(k / pair) words, ld words apart
 *   right (k, n):  words(k) rows of n words, ld words apart; n is rounded up to a multiple of
 *                  kAttentionColumns
 * What rounding up adds is zero. Operands begin at multiples of 64 bytes. */
enum : int { kAttentionColumns = 64 };

/* right = rows [row_begin, row_end) of W, or their transpose. */
typedef void (*PackRightFn)(const KernelMatrix* w, int64_t row_begin, int64_t row_end,
                            uint32_t* right, int64_t ld);

/* What the queries of a block have seen up to some token: of each, the largest score, and the sum
 * of exp(score - max), alone and times the values. */
struct AttentionState {
  float* max; /* (m) */
  float* sum; /* (m) */
  float* out; /* (m, ld) */
  int64_t ld; /* floats; a multiple of kAttentionColumns */
};

/* A product with rows [row_begin, row_end) of W as they lie. */
typedef void (*InPlaceFn)(int64_t m, const uint32_t* left, int64_t ldl, const KernelMatrix* w,
                          int64_t row_begin, int64_t row_end, float* c, int64_t ldc);

struct AttentionKernels {
  int64_t pair; /* 1: float32; 2: bfloat16 */

  /* left[i, c] = factor * x[i * ldx + c] */
  void (*pack_left)(const float* x, int64_t ldx, int64_t m, int64_t k, float factor, uint32_t* left,
                    int64_t ld);
  /* rest[i, c] = factor * x[i * ldx + c] - left[i, c], which rounding to bfloat16 left over: with
   * it products are as exact as in float32, nearly. Null for float32. */
  void (*pack_left_rest)(const float* x, int64_t ldx, int64_t m, int64_t k, float factor,
                         const uint32_t* left, uint32_t* rest, int64_t ld);
  /* Indexed by CacheStorage. k = w->cols, n = rows: right[c, r - row_begin] = W[r, c]. */
  PackRightFn pack_transposed[CacheStorage::kCount];
  /* k = rows, n = w->cols: right[r - row_begin, c] = W[r, c]. */
  PackRightFn pack_right[CacheStorage::kCount];

  /* c[i * ldc + j] = (add ? c[i * ldc + j] : 0) + sum of left[i, l] * right[l, j] for j in [0, n),
   * n a multiple of kAttentionColumns. Every number is summed in an order that depends on k alone.
   */
  void (*multiply)(int64_t m, int64_t n, int64_t k, const uint32_t* left, int64_t ldl,
                   const uint32_t* right, int64_t ldr, float* c, int64_t ldc, int add);

  /* What packing and multiplying gives, to the bit, without packing: faster for few rows of the
   * left operand. The rows of W and its columns are multiples of kAttentionColumns. Indexed by
   * CacheStorage; null where there are none. */
  InPlaceFn score_rows[CacheStorage::kCount]; /* c = left * transposed rows */
  InPlaceFn add_values[CacheStorage::kCount]; /* c += left * rows */

  /* Takes in n more scores of each of m queries (Milakov and Gimelshein, arXiv:1805.02867): brings
   * `state` to the new maximum, and left[i, j] = exp(scores[i * lds + j] - max[i]), to be
   * multiplied by the values and added to state->out. Query i sees only the first visible[i] of
   * them, the rest count as minus infinity; one that sees none stays as it is. n is a multiple of
   * kAttentionColumns. */
  void (*soften)(int64_t m, int64_t n, const float* scores, int64_t lds, const int64_t* visible,
                 const struct AttentionState* state, uint32_t* left, int64_t ld);
};

enum : int { kLatentTokens = 128, kLatentNumbers = 1024, kLatentGroups = 8 };

/* Attention over an 8-bit cache whose rows are key and value in one (multi-head latent attention):
 * a row of Q8_0 is the key, its first value_size numbers are the value. Queries, keys, values and
 * weights meet in numbers of eight bits, with a scale for every `group` of them; weights may have
 * two digits of eight. */
struct LatentShape {
  int64_t key_size;   /* a multiple of 32, at most kLatentNumbers */
  int64_t value_size; /* a multiple of group, at most kLatentGroups of them */
  int64_t group;      /* 32, 64 or 128; the key's last group may have fewer */
};

struct LatentQueries {
  int8_t* codes;    /* (m, key_size) */
  float* scales;    /* (m, groups of the key) */
  int32_t* offsets; /* (m, groups of the key): what keys without a sign add, negative */
};
/* Up to kLatentTokens tokens. Memory is at multiples of 64 bytes. */
struct LatentTile {
  uint8_t* keys;  /* (kLatentTokens, key_size), in panels of 32 tokens */
  int8_t* values; /* (kLatentTokens, value_size), in panels of 32 columns */
  float* scales;  /* (groups of the key, kLatentTokens) */
  float* factors; /* (groups of the value, kLatentTokens): 255 * scales / the largest of them */
  float* largest; /* (groups of the value): that scale / 255 */
};

struct LatentKernels {
  /* Of factor * x (m, key_size). */
  void (*pack_queries)(const struct LatentShape* shape, const float* x, int64_t m, float factor,
                       const struct LatentQueries* out);
  /* Of rows [row_begin, row_end) of W. */
  void (*pack_tile)(const struct LatentShape* shape, const KernelMatrix* w, int64_t row_begin,
                    int64_t row_end, const struct LatentTile* out);
  /* Takes a tile, packed of so many tokens, into the states of m queries, of which query i sees
   * only visible[i], and whose result depends on no others; one that sees none stays as it is. */
  void (*attend)(const struct LatentShape* shape, int64_t m, const struct LatentQueries* queries,
                 const struct LatentTile* tile, int64_t tokens, const int64_t* visible,
                 const struct AttentionState* state);
};

/* For a sampler, whose vocabulary comes in blocks. */
enum : int { kLogitBlock = 256 };

struct KernelTable {
  const char* name; /* "reference", "avx2", "avxvnni", "avx512", "amx" */

  /* Indexed by KernelType. */
  DotRowsFn dot_rows[kKernelTypes];
  AddRowsFn add_rows[kKernelTypes];
  UnpackRowsFn unpack_rows[kKernelTypes];
  /* Null for the types of single elements, which meet activations in float32. */
  DotRowsQ8Fn dot_rows_q8[kKernelTypes];
  /* Null where dot_rows_q8 is as fast. */
  GemmQ8Fn gemm_q8[kKernelTypes];
  /* The same of interleaved rows; null where there are none. */
  DotRowsQ8Fn dot_tiles_q8[kKernelTypes];
  GemmQ8Fn gemm_tiles_q8[kKernelTypes];

  QuantizeQ8Fn quantize_q8;
  QuantizeQ8PartFn quantize_q8_part;
  FindQ8LevelsFn find_q8_levels;

  /* y[i] = weight[i] * x[i] / sqrt(mean(x^2) + eps); y may be x. */
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* y);
  /* y[i] = silu(gate[i]) * up[i], silu(v) = v / (1 + exp(-v)); y may be gate or up. */
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* y);

  /* Of every kLogitBlock numbers of x (n), the last ones maybe fewer: the largest, of which a NaN
   * is none (-infinity if there is no other), and the sum of exp((x[i] - max) * scale). */
  void (*block_max)(const float* x, int64_t n, float* out);
  void (*block_sum_exp)(const float* x, int64_t n, float max, float scale, float* out);

  /* For a float32 cache, and for the others: as exact as they are. */
  struct AttentionKernels attention_f32;
  struct AttentionKernels attention;
  /* Null where there are none. */
  struct LatentKernels latents;

  /* 1 where the processor multiplies tiles of numbers such as `attention` has (AMX): oneDNN's
   * products of panels are the fastest then. */
  int has_tiles;
  /* 1 where products of some inputs and weights that bfloat16 represents (BF16, FP8) are fastest
   * by the kernels of `attention`, the inputs in two parts. */
  int gemm_as_attention;
};

} /* namespace pensee */
