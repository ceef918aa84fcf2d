// Products of activations and weight matrices: the one place where the engine spends its time.
#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstdint>
#include <span>

#include "pensee/kernels/onednn.hpp"
#include "pensee/model/gemm_as_attention.hpp"
#include "pensee/model/product.hpp"
#include "pensee/model/quantized_rows.hpp"

namespace pensee {

// Words of a row that PanelMatmul reads.
[[nodiscard]] constexpr int64_t panel_words(const KernelTable& kernels) noexcept {
  return PanelMatmul::kDepth / kernels.attention.pair;
}

// Floats of thread scratch that multiply() needs for matrices of at most `max_cols` columns and
// inputs of at most `max_n` rows: a panel of unpacked weights, what PanelMatmul reads and works in,
// and the results of two panels.
[[nodiscard]] constexpr int64_t multiply_scratch(const KernelTable& kernels, int64_t max_cols,
                                                 int64_t max_n) noexcept {
  constexpr int64_t kQ8Panel = kGemmQ8Scratch / int64_t{sizeof(float)};
  const int64_t panel_matmul = kernels.has_tiles == 0
                                   ? 0
                                   : PanelMatmul::kScratch / int64_t{sizeof(float)} +
                                         (kGemmPanel + max_n) * panel_words(kernels);
  return std::max({kGemmPanel * max_cols, kQ8Panel, attention_gemm_scratch(kernels, max_n)}) +
         panel_matmul + 2 * std::max(kGemmPanel * max_n, kVectorResults);
}

// Rows [begin, end) of a matrix, which a thread will read after what it works on.
struct LaterRows {
  const Matrix* w = nullptr;  // null: unknown
  int64_t begin = 0;
  int64_t end = 0;
};

// y (n, kGemmPanel) = x * W^T for the panel of W at row `begin`. FP8 weights are exact in bfloat16
// without their scales, which the inputs take. `panel` as in multiply_panel(). False if oneDNN has
// no memory.
inline bool multiply_in_tiles(const Compute& compute, const Product& p, const Matrix& matrix,
                              int64_t begin, float* y, float* panel) {
  const KernelTable& kernels = *compute.kernels;
  const auto type = static_cast<size_t>(matrix.dtype);
  const KernelMatrix scaled = kernel_matrix(matrix);
  KernelMatrix plain = scaled;
  plain.scales = nullptr;
  static_assert(kGemmPanel == kScaleBlock);
  const float* scales = scaled.scales == nullptr
                            ? nullptr
                            : scaled.scales + begin / kScaleBlock * scaled.scale_stride;
  const int64_t cols = matrix.cols;
  const int64_t words = panel_words(kernels);
  auto* w = reinterpret_cast<uint32_t*>(panel + kGemmPanel * cols);  // (kGemmPanel, words)
  uint32_t* x = w + kGemmPanel * words;                              // (p.n, words)
  uint32_t* scratch = x + p.n * words;
  const int64_t whole = p.n / PanelMatmul::kMinTokens * PanelMatmul::kMinTokens;
  kernels.unpack_rows[type](&plain, begin, begin + kGemmPanel, panel, cols);
  std::fill_n(y, whole * kGemmPanel, 0.0F);
  for (int64_t first = 0; first < cols; first += PanelMatmul::kDepth) {
    const int64_t count = std::min(PanelMatmul::kDepth, cols - first);
    if (count < PanelMatmul::kDepth) std::fill_n(w, (kGemmPanel + whole) * words, 0U);
    pack_inputs(kernels, panel + first, cols, kGemmPanel, count, nullptr, w, nullptr, words);
    pack_inputs(kernels, p.x + first, p.ldx, whole, count,
                scales == nullptr ? nullptr : scales + first / kScaleBlock, x, nullptr, words);
    for (int64_t i = 0; i < whole;) {
      const int64_t n = PanelMatmul::tokens_at_once(whole - i);
      if (!compute.panels->add(n, x + i * words, w, y + i * kGemmPanel, scratch)) return false;
      i += n;
    }
  }
  if (whole < p.n) {
    kernels.dot_rows[type](&scaled, begin, begin + kGemmPanel, p.x + whole * p.ldx, p.ldx,
                           p.n - whole, y + whole * kGemmPanel, kGemmPanel);
  }
  return true;
}

// Rows [begin, end) of W, by one thread: y (n, end - begin) and its distance between rows.
// `panel` is scratch, as multiply_scratch() says.
inline void multiply_panel(const Compute& compute, const Product& p, const Matrix& matrix,
                           const Q8Chunk* q8, int64_t begin, int64_t end, const LaterRows& later,
                           float* y, int64_t ldy, float* panel) {
  KernelMatrix w = kernel_matrix(matrix);
  if (later.w != nullptr) {
    w.next = static_cast<const char*>(later.w->data) + later.begin * later.w->row_bytes;
    w.next_bytes = (later.end - later.begin) * later.w->row_bytes;
  }
  const auto type = static_cast<size_t>(matrix.dtype);
  if (reads_q8(compute, p, matrix)) {
    const KernelTable& k = *compute.kernels;
    const GemmQ8Fn gemm = matrix.is_interleaved ? k.gemm_tiles_q8[type] : k.gemm_q8[type];
    const DotRowsQ8Fn dot = matrix.is_interleaved ? k.dot_tiles_q8[type] : k.dot_rows_q8[type];
    if (is_gemm(compute, p, matrix) && gemm != nullptr) {
      gemm(&w, begin, end, q8, p.n, p.n, y, ldy, panel);
    } else {
      dot(&w, begin, end, q8, p.n, p.n, y, ldy);
    }
    return;
  }
  if (!is_gemm(compute, p, matrix)) {
    compute.kernels->dot_rows[type](&w, begin, end, p.x, p.ldx, p.n, y, ldy);
    return;
  }
  if (is_gemm_as_attention(compute, p, matrix)) {
    multiply_as_attention(compute, p, matrix, begin, end, y, ldy, panel);
    return;
  }
  bool ok = true;
  if (end - begin == kGemmPanel && is_panel_matmul(compute, p, matrix)) {
    ok = multiply_in_tiles(compute, p, matrix, begin, y, panel);
  } else {
    compute.kernels->unpack_rows[type](&w, begin, end, panel, w.cols);
    ok = gemm_nt(p.n, end - begin, w.cols, p.x, p.ldx, panel, w.cols, y, ldy);
  }
  if (!ok) compute.failed->store(true, std::memory_order_relaxed);
}

// One task of a product: rows [begin, end) of its matrices, by one thread. A GEMM adds to its
// results once for every chunk of columns: they lie together until they are complete, apart from
// cache lines that other threads write.
inline void multiply_task(const Compute& compute, const Product& p, const Q8Chunk* q8,
                          int64_t begin, int64_t end, const LaterRows& later, int thread) {
  const int64_t rows = end - begin;
  float* panel = compute.thread_scratch(thread);
  float* first = panel + compute.scratch_size - 2 * rows * p.n;  // (n, rows)
  float* second = first + rows * p.n;                            // (n, rows)
  float* out = p.y == nullptr ? nullptr : p.y + begin;           // (n, rows)
  if (!is_gemm(compute, p, *p.w) && p.up == nullptr) {
    multiply_panel(compute, p, *p.w, q8, begin, end, later, out, p.ldy, panel);
    return;
  }
  if (p.up == nullptr) {
    multiply_panel(compute, p, *p.w, q8, begin, end, later, first, rows, panel);
  } else {
    multiply_panel(compute, p, *p.w, q8, begin, end, {p.up, begin, end}, first, rows, panel);
    multiply_panel(compute, p, *p.up, q8, begin, end, later, second, rows, panel);
  }
  for (int64_t i = 0; i < p.n; ++i) {
    float* result = first + i * rows;
    if (p.up == nullptr) {
      std::copy_n(result, rows, out + i * p.ldy);
    } else if (p.y_q8 == nullptr) {
      compute.kernels->silu_mul(result, second + i * rows, rows, out + i * p.ldy);
    } else {
      compute.kernels->silu_mul(result, second + i * rows, rows, result);
      quantize_results(compute, p, i, begin, end, result);
    }
  }
}

// Computes independent products, all their panels handed out to the threads at once. Each output
// number is summed by one task in an order that does not depend on the number of threads.
inline void multiply(const Compute& compute, std::span<const Product> products) {
  assert(static_cast<int64_t>(products.size()) <= compute.max_products);
  quantize_inputs(compute, products);
  const int threads = compute.pool->size();
  int64_t tasks = 0;
  int64_t work = 0;
  for (size_t i = 0; i < products.size(); ++i) {
    const Product& p = products[i];
    if (p.n > 0) tasks += ceil_div(p.w->rows, panel_rows(compute, p));
    work += p.n * p.w->rows * p.w->cols;
    compute.plan[i].task_end = tasks;
  }
  struct Task {
    size_t product;
    int64_t begin;  // rows
    int64_t end;
  };
  // Threads take numbers in turn, more or less: a thread's tasks lie side by side, for memory gives
  // most where reading goes on without a gap.
  const auto find = [&](int64_t number) {
    const int64_t share = tasks / threads;
    const int64_t thread = number % threads;
    number = thread * share + std::min(thread, tasks % threads) + number / threads;
    const PlannedProduct* first = compute.plan;
    const PlannedProduct* plan = std::upper_bound(
        first, first + products.size(), number,
        [](int64_t t, const PlannedProduct& planned) { return t < planned.task_end; });
    const auto i = static_cast<size_t>(plan - first);
    const Product& p = products[i];
    const int64_t rows = panel_rows(compute, p);
    const int64_t begin = (number - (i == 0 ? 0 : first[i - 1].task_end)) * rows;
    return Task{i, begin, std::min(begin + rows, p.w->rows)};
  };
  const auto run = [&](int64_t number, int thread) {
    const Task task = find(number);
    LaterRows later;
    if (number + threads < tasks) {
      const Task next = find(number + threads);
      later = {products[next.product].w, next.begin, next.end};
    }
    multiply_task(compute, products[task.product], compute.plan[task.product].q8, task.begin,
                  task.end, later, thread);
  };
  if (work < kSerialWork) {
    for (int64_t task = 0; task < tasks; ++task) run(task, 0);
  } else {
    compute.pool->parallel_for(tasks, run);
  }
  complete_results(compute, products);
}

}  // namespace pensee
