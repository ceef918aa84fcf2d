// What products of activations and weight matrices are made of, and how they are divided.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "pensee/base/tensor_view.hpp"
#include "pensee/base/threads.hpp"
#include "pensee/kernels/interleave.hpp"
#include "pensee/kernels/onednn_matmul.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {

// y (n, w.rows) = x (n, w.cols) * W^T; or, with a second matrix `up` of the same shape,
// silu(x * W^T) * (x * up^T).
struct Product {
  const Matrix* w = nullptr;
  const float* x = nullptr;  // (n, w.cols); with `rows`, (pass_rows, w.cols)
  int64_t ldx = 0;
  int64_t n = 0;
  float* y = nullptr;  // (n, w.rows)
  int64_t ldy = 0;
  const Matrix* up = nullptr;
  // Instead of x, and, with `up` and of matrices whose rows are a multiple of kQ8Group, of y.
  const Q8Chunk* x_q8 = nullptr;  // (q8_chunks(w.cols), n)
  Q8Chunk* y_q8 = nullptr;        // (q8_chunks(w.rows), n)
  // Of an expert's product: the tokens of the whole pass, at least n.
  int64_t pass_rows = 0;
  const int32_t* rows = nullptr;  // for block types: which rows of x are meant, (n), where not all
  bool in_float32 = false;        // oneDNN must not round x to bfloat16
};

// How one of several products is carried out.
struct PlannedProduct {
  int64_t task_end = 0;  // tasks of this product and of those before it
  // What matrices of block types read, (q8_chunks(w.cols), n), else null; and x quantised as it is,
  // (q8_chunks(w.cols), rows of x), of which that is a copy where rows are chosen.
  const Q8Chunk* q8 = nullptr;
  const Q8Chunk* x_q8 = nullptr;
};

// What the layers need to compute: threads, kernels, and scratch memory.
struct Compute {
  ThreadPool* pool = nullptr;
  const KernelTable* kernels = nullptr;
  float* scratch = nullptr;        // (threads, scratch_size)
  int64_t scratch_size = 0;        // floats a thread
  PlannedProduct* plan = nullptr;  // (max_products)
  int64_t max_products = 0;
  Q8Chunk* q8 = nullptr;                // (max_q8)
  int64_t max_q8 = 0;                   // chunks
  std::atomic<bool>* failed = nullptr;  // set when oneDNN runs out of memory
  const PanelMatmul* panels = nullptr;  // where it is the fastest for many rows
  // However many rows there are, each comes out as it would alone, to the bit: by the matrix-vector
  // kernels.
  bool as_alone = false;

  [[nodiscard]] float* thread_scratch(int thread) const noexcept {
    return scratch + thread * scratch_size;
  }
};

// Chunks that a quantised row of `cols` numbers takes.
[[nodiscard]] constexpr int64_t q8_chunks(int64_t cols) noexcept {
  return ceil_div(cols, kQ8Columns);
}

[[nodiscard]] inline KernelMatrix kernel_matrix(const Matrix& w) noexcept {
  return {w.data, w.scales, w.row_bytes, ceil_div(w.cols, kScaleBlock), w.cols};
}

// From this many rows of x on, unpacking a panel of weights and multiplying it by all of them beats
// the matrix-vector kernels.
inline constexpr int64_t kGemmRows = 16;
// The same for an expert's matrices of block types, in a pass over at least kGemmRows tokens:
// smaller passes have the results of the matrix-vector kernels.
inline constexpr int64_t kExpertGemmRows = 6;
// From so many on oneDNN's products of panels are used, where they are fast at all.
inline constexpr int64_t kPanelMatmulRows = 32;
// From so many on float32 is as fast as products of inputs in two parts.
inline constexpr int64_t kTwoPartRows = 128;
// Weight rows in one task of each way, multiples of kTileRows. A panel of the widest matrices stays
// inside the L2 cache for the vector kernels; a GEMM wants wide panels, and enough of them for its
// threads to end together.
inline constexpr int64_t kVectorPanel = 64;
inline constexpr int64_t kMinGemmPanel = 64;
inline constexpr int64_t kGemmPanel = PanelMatmul::kRows;
inline constexpr int64_t kExpertPanel = 512;
inline constexpr int64_t kTasksPerThread = 8;
// About what a task of the vector kernels reads of a matrix, and how many rows: memory gives most
// where reading goes on for long.
inline constexpr int64_t kVectorBytes = 512 * 1024;
inline constexpr int64_t kMaxVectorPanel = 512;
// Results of such a task that scratch memory has room for.
inline constexpr int64_t kVectorResults = kMaxVectorPanel * kGemmRows;
// Below this many multiply-adds waking another thread costs more than it saves.
inline constexpr int64_t kSerialWork = int64_t{1} << 16;
// A rough price of quantising one number, in multiply-adds.
inline constexpr int64_t kQuantizeCost = 2;
// Of finding the levels of a chunk, and numbers that are quantised with one scale.
inline constexpr int64_t kLevelsCost = 32;
inline constexpr int64_t kQ8Group = 32;

[[nodiscard]] inline bool is_gemm(const Compute& compute, const Product& p,
                                  const Matrix& w) noexcept {
  if (compute.as_alone) return false;
  const bool is_part = p.pass_rows >= kGemmRows && is_block_type(w.dtype);
  return p.n >= (is_part ? kExpertGemmRows : kGemmRows);
}

// Whether oneDNN multiplies panels of W, unpacked. Not what needs float32, and not where the rows
// of x lie elsewhere or are only there quantised.
[[nodiscard]] inline bool is_panel_matmul(const Compute& compute, const Product& p,
                                          const Matrix& w) noexcept {
  return compute.panels != nullptr && is_gemm(compute, p, w) && p.n >= kPanelMatmulRows &&
         p.x != nullptr && p.rows == nullptr && !p.in_float32 && w.dtype != DType::kF32 &&
         !w.is_interleaved;
}

// Whether the kernels of attention multiply W, whose numbers theirs represent.
[[nodiscard]] inline bool is_gemm_as_attention(const Compute& compute, const Product& p,
                                               const Matrix& w) noexcept {
  return compute.kernels->gemm_as_attention != 0 && is_gemm(compute, p, w) && p.n < kTwoPartRows &&
         (w.dtype == DType::kBF16 || w.dtype == DType::kF8E4M3) && !is_panel_matmul(compute, p, w);
}

// Whether W meets inputs that are quantised.
[[nodiscard]] inline bool reads_q8(const Compute& compute, const Product& p,
                                   const Matrix& w) noexcept {
  return is_block_type(w.dtype) && !is_panel_matmul(compute, p, w);
}

// Multiples of kQ8Group where results are quantised, and in a GEMM.
static_assert(kVectorPanel % kQ8Group == 0 && kMinGemmPanel % kQ8Group == 0 &&
              kGemmPanel % kQ8Group == 0 && kExpertPanel % kQ8Group == 0);
[[nodiscard]] inline int64_t panel_rows(const Compute& compute, const Product& p) noexcept {
  if (is_gemm(compute, p, *p.w)) {
    // Of other types unpacked weights have room for kGemmPanel rows; and oneDNN's results depend on
    // how many there are, which must not depend on the threads.
    const bool of_blocks =
        reads_q8(compute, p, *p.w) && (p.up == nullptr || reads_q8(compute, p, *p.up));
    if (!of_blocks) return kGemmPanel;
    // Of many experts: few tasks each, whose results have room for kGemmPanel rows of the pass.
    if (p.pass_rows > 0) {
      const int64_t room = kGemmPanel * p.pass_rows / p.n / kQ8Group * kQ8Group;
      return std::min(room, kExpertPanel);
    }
    const int64_t fair = p.w->rows / (kTasksPerThread * compute.pool->size()) / kQ8Group * kQ8Group;
    return std::clamp(fair, kMinGemmPanel, kGemmPanel);
  }
  // As many tasks for every thread. The results of one with two matrices lie in scratch memory.
  const int64_t unit = p.y_q8 != nullptr ? kQ8Group : kTileRows;
  const int64_t threads = compute.pool->size();
  const int64_t bytes = std::max<int64_t>(1, p.w->rows * p.w->row_bytes);
  const int64_t turns = ceil_div(bytes, kVectorBytes * threads);
  const int64_t fair = ceil_div(p.w->rows, turns * threads * unit) * unit;
  const int64_t room = kVectorResults / p.n / kQ8Group * kQ8Group;
  const int64_t most =
      p.up == nullptr ? kMaxVectorPanel : std::clamp(room, kGemmPanel, kMaxVectorPanel);
  return std::clamp(fair, kVectorPanel, most);
}

// f(row) for every row in [0, n), in parallel when a row's cost (in simple operations) is worth it.
// A thread takes neighbouring rows: what lies between two threads' rows travels from one to the
// other.
template <class F>
void for_each_row(const Compute& compute, int64_t n, int64_t cost, F&& f) {
  if (n * cost < kSerialWork) {
    for (int64_t row = 0; row < n; ++row) f(row);
    return;
  }
  const int64_t block = ceil_div(n, kTasksPerThread * compute.pool->size());
  compute.pool->parallel_for(ceil_div(n, block), [&](int64_t task, int /*thread*/) {
    const int64_t end = std::min(n, (task + 1) * block);
    for (int64_t row = task * block; row < end; ++row) f(row);
  });
}

}  // namespace pensee
