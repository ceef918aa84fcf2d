// Products of activations and weight matrices: the one place where the engine spends its time.
#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstdint>
#include <span>

#include "pensee/base/tensor_view.hpp"
#include "pensee/base/threads.hpp"
#include "pensee/kernels/onednn.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {

// What the layers need to compute: threads, kernels, and scratch memory for each thread.
struct Compute {
  ThreadPool* pool = nullptr;
  const KernelTable* kernels = nullptr;
  float* scratch = nullptr;      // (threads, scratch_size)
  int64_t scratch_size = 0;      // floats a thread
  int64_t* task_ends = nullptr;  // (max_products)
  int64_t max_products = 0;
  std::atomic<bool>* failed = nullptr;  // set when oneDNN runs out of memory

  [[nodiscard]] float* thread_scratch(int thread) const noexcept {
    return scratch + thread * scratch_size;
  }
};

[[nodiscard]] inline KernelMatrix kernel_matrix(const Matrix& w) noexcept {
  return {w.data, w.scales, w.row_bytes, ceil_div(w.cols, kScaleBlock), w.cols};
}

// y (n, w.rows) = x (n, w.cols) * W^T
struct Product {
  const Matrix* w = nullptr;
  const float* x = nullptr;  // (n, w.cols)
  int64_t ldx = 0;
  int64_t n = 0;
  float* y = nullptr;  // (n, w.rows)
  int64_t ldy = 0;
};

// From this many rows of x on, unpacking a panel of weights and calling a dense GEMM beats the
// matrix-vector kernels.
inline constexpr int64_t kGemmRows = 16;
// Weight rows in one task of each way. A panel of the widest matrices stays inside the L2 cache
// for the vector kernels; a GEMM wants wide panels.
inline constexpr int64_t kVectorPanel = 64;
inline constexpr int64_t kGemmPanel = 128;
// Below this many multiply-adds waking another thread costs more than it saves.
inline constexpr int64_t kSerialWork = int64_t{1} << 16;

[[nodiscard]] inline int64_t panel_rows(const Product& p) noexcept {
  return p.n >= kGemmRows ? kGemmPanel : kVectorPanel;
}

// Floats of thread scratch that multiply() needs for matrices of at most `max_cols` columns.
[[nodiscard]] constexpr int64_t multiply_scratch(int64_t max_cols) noexcept {
  return kGemmPanel * max_cols;
}

// Rows [begin, end) of W, by one thread.
inline void multiply_panel(const Compute& compute, const Product& p, int64_t begin, int64_t end,
                           int thread) {
  const KernelMatrix w = kernel_matrix(*p.w);
  const auto type = static_cast<size_t>(p.w->dtype);
  if (p.n < kGemmRows) {
    compute.kernels->dot_rows[type](&w, begin, end, p.x, p.ldx, p.n, p.y + begin, p.ldy);
    return;
  }
  float* panel = compute.thread_scratch(thread);  // (end - begin, cols)
  compute.kernels->unpack_rows[type](&w, begin, end, panel, w.cols);
  if (!gemm_nt(p.n, end - begin, w.cols, p.x, p.ldx, panel, w.cols, 0.0F, p.y + begin, p.ldy)) {
    compute.failed->store(true, std::memory_order_relaxed);
  }
}

// Computes independent products, all their panels handed out to the threads at once. Each output
// number is summed by one task in an order that does not depend on the number of threads.
inline void multiply(const Compute& compute, std::span<const Product> products) {
  assert(static_cast<int64_t>(products.size()) <= compute.max_products);
  int64_t tasks = 0;
  int64_t work = 0;
  for (size_t i = 0; i < products.size(); ++i) {
    const Product& p = products[i];
    if (p.n > 0) tasks += ceil_div(p.w->rows, panel_rows(p));
    work += p.n * p.w->rows * p.w->cols;
    compute.task_ends[i] = tasks;
  }
  const auto run = [&](int64_t task, int thread) {
    const int64_t* ends = compute.task_ends;
    const auto i = static_cast<size_t>(std::upper_bound(ends, ends + products.size(), task) - ends);
    const Product& p = products[i];
    const int64_t begin = (task - (i == 0 ? 0 : ends[i - 1])) * panel_rows(p);
    multiply_panel(compute, p, begin, std::min(begin + panel_rows(p), p.w->rows), thread);
  };
  if (work < kSerialWork) {
    for (int64_t task = 0; task < tasks; ++task) run(task, 0);
  } else {
    compute.pool->parallel_for(tasks, run);
  }
}

// f(row) for every row in [0, n), in parallel when a row's cost (in simple operations) is worth it.
template <class F>
void for_each_row(const Compute& compute, int64_t n, int64_t cost, F&& f) {
  if (n * cost < kSerialWork) {
    for (int64_t row = 0; row < n; ++row) f(row);
  } else {
    compute.pool->parallel_for(n, [&](int64_t row, int /*thread*/) { f(row); });
  }
}

}  // namespace pensee
