// Products of activations and weight matrices: the one place where the engine spends its time.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cstdint>
#include <span>

#include "pensee/base/tensor_view.hpp"
#include "pensee/base/threads.hpp"
#include "pensee/kernels/interleave.hpp"
#include "pensee/kernels/onednn.hpp"
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
// Weight rows in one task of each way, multiples of kTileRows. A panel of the widest matrices stays
// inside the L2 cache for the vector kernels; a GEMM wants wide panels, and enough of them for its
// threads to end together.
inline constexpr int64_t kVectorPanel = 64;
inline constexpr int64_t kMinGemmPanel = 64;
inline constexpr int64_t kGemmPanel = 128;
inline constexpr int64_t kExpertPanel = 512;
inline constexpr int64_t kTasksPerThread = 8;
// Short rows go together in tasks of about as many bytes: what a kernel asks for ahead at the end
// of a task is another thread's.
inline constexpr int64_t kVectorBytes = 256 * 1024;
inline constexpr int64_t kMaxVectorPanel = 256;
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

// Multiples of kQ8Group where results are quantised, and in a GEMM.
static_assert(kVectorPanel % kQ8Group == 0 && kMinGemmPanel % kQ8Group == 0 &&
              kGemmPanel % kQ8Group == 0 && kExpertPanel % kQ8Group == 0);
[[nodiscard]] inline int64_t panel_rows(const Compute& compute, const Product& p) noexcept {
  if (is_gemm(compute, p, *p.w)) {
    // Of many experts: few tasks each, whose results have room for kGemmPanel rows of the pass. Not
    // of other types, whose unpacked weights have room for kGemmPanel rows.
    const bool of_blocks =
        is_block_type(p.w->dtype) && (p.up == nullptr || is_block_type(p.up->dtype));
    if (p.pass_rows > 0 && of_blocks) {
      const int64_t room = kGemmPanel * p.pass_rows / p.n / kQ8Group * kQ8Group;
      return std::min(room, kExpertPanel);
    }
    const int64_t fair = p.w->rows / (kTasksPerThread * compute.pool->size()) / kQ8Group * kQ8Group;
    return std::clamp(fair, kMinGemmPanel, kGemmPanel);
  }
  // The second result of a task has room for kGemmPanel rows.
  const int64_t most = p.up != nullptr ? kGemmPanel : kMaxVectorPanel;
  const int64_t unit = p.y_q8 != nullptr ? kQ8Group : kTileRows;
  const int64_t fair = kVectorBytes / std::max<int64_t>(1, p.w->row_bytes) / unit * unit;
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

// Floats of thread scratch that multiply() needs for matrices of at most `max_cols` columns and
// inputs of at most `max_n` rows: a panel of unpacked weights, and the results of two panels.
[[nodiscard]] constexpr int64_t multiply_scratch(int64_t max_cols, int64_t max_n) noexcept {
  constexpr int64_t kQ8Panel = kGemmQ8Scratch / int64_t{sizeof(float)};
  return std::max(kGemmPanel * max_cols, kQ8Panel) + 2 * kGemmPanel * max_n;
}

// Rows [begin, end) of a matrix, which a thread will read after what it works on.
struct LaterRows {
  const Matrix* w = nullptr;  // null: unknown
  int64_t begin = 0;
  int64_t end = 0;
};

// Rows [begin, end) of W, by one thread: y (n, end - begin) and its distance between rows.
// `panel` is scratch: (kGemmPanel, w.cols), and kGemmQ8Scratch bytes for block types.
inline void multiply_panel(const Compute& compute, const Product& p, const Matrix& matrix,
                           const Q8Chunk* q8, int64_t begin, int64_t end, const LaterRows& later,
                           float* y, int64_t ldy, float* panel) {
  KernelMatrix w = kernel_matrix(matrix);
  if (later.w != nullptr) {
    w.next = static_cast<const char*>(later.w->data) + later.begin * later.w->row_bytes;
    w.next_bytes = (later.end - later.begin) * later.w->row_bytes;
  }
  const auto type = static_cast<size_t>(matrix.dtype);
  if (is_block_type(matrix.dtype)) {
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
  compute.kernels->unpack_rows[type](&w, begin, end, panel, w.cols);
  if (!gemm_nt(p.n, end - begin, w.cols, p.x, p.ldx, panel, w.cols, y, ldy)) {
    compute.failed->store(true, std::memory_order_relaxed);
  }
}

// Results [begin, end) of input i, (end - begin), quantised.
inline void quantize_results(const Compute& compute, const Product& p, int64_t i, int64_t begin,
                             int64_t end, const float* results) {
  assert(begin % kQ8Group == 0);
  for (int64_t r = begin; r < end;) {
    const int64_t chunk = r / kQ8Columns;
    const int64_t stop = std::min(end, (chunk + 1) * kQ8Columns);
    compute.kernels->quantize_q8_part(results + (r - begin), r % kQ8Columns, stop - r,
                                      p.y_q8 + chunk * p.n + i);
    r = stop;
  }
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

// The levels of quantised results, and zeros beyond them.
inline void complete_results(const Compute& compute, std::span<const Product> products) {
  int64_t most = 0;  // chunks of a result
  int64_t all = 0;
  for (const Product& p : products) {
    if (p.y_q8 == nullptr) continue;
    most = std::max(most, q8_chunks(p.w->rows));
    all += p.n * q8_chunks(p.w->rows);
  }
  const auto complete = [&](int64_t number) {
    const Product& p = products[static_cast<size_t>(number / most)];
    const int64_t c = number % most;
    if (p.y_q8 == nullptr || c >= q8_chunks(p.w->rows)) return;
    Q8Chunk* chunks = p.y_q8 + c * p.n;
    const int64_t count = std::min<int64_t>(kQ8Columns, p.w->rows - c * kQ8Columns);
    constexpr std::array<float, kQ8Columns> kZeros{};
    for (int64_t i = 0; i < p.n && count < kQ8Columns; ++i) {
      compute.kernels->quantize_q8_part(kZeros.data(), count, kQ8Columns - count, chunks + i);
    }
    compute.kernels->find_q8_levels(chunks, p.n);
  };
  const int64_t numbers = static_cast<int64_t>(products.size()) * most;
  if (numbers > 0) for_each_row(compute, numbers, ceil_div(all * kLevelsCost, numbers), complete);
}

// Copies the chosen rows of quantised inputs to `out`, so that those of a product lie together.
inline void choose_rows(const Compute& compute, std::span<const Product> products, Q8Chunk* out) {
  int64_t work = 0;
  for (size_t i = 0; i < products.size(); ++i) {
    const Product& p = products[i];
    if (p.rows == nullptr || compute.plan[i].x_q8 == nullptr) continue;
    compute.plan[i].q8 = out;
    out += p.n * q8_chunks(p.w->cols);
    assert(out <= compute.q8 + compute.max_q8);
    work += p.n * p.w->cols;
  }
  const auto copy = [&](int64_t number, int /*thread*/) {
    const Product& p = products[static_cast<size_t>(number)];
    const PlannedProduct& plan = compute.plan[number];
    if (plan.q8 == plan.x_q8) return;
    auto* to = const_cast<Q8Chunk*>(plan.q8);
    for (int64_t c = 0; c < q8_chunks(p.w->cols); ++c) {
      for (int64_t i = 0; i < p.n; ++i) to[c * p.n + i] = plan.x_q8[c * p.pass_rows + p.rows[i]];
    }
  };
  const auto count = static_cast<int64_t>(products.size());
  if (work < kSerialWork) {
    for (int64_t number = 0; number < count; ++number) copy(number, 0);
  } else {
    compute.pool->parallel_for(count, copy);
  }
}

// Quantises the inputs that matrices of block types read, each once: products with the same x are
// taken to have the same number of rows of it. Fills the plans' q8.
inline void quantize_inputs(const Compute& compute, std::span<const Product> products) {
  Q8Chunk* next = compute.q8;
  bool chooses = false;
  for (size_t i = 0; i < products.size(); ++i) {
    const Product& p = products[i];
    const bool reads_q8 =
        is_block_type(p.w->dtype) || (p.up != nullptr && is_block_type(p.up->dtype));
    const Q8Chunk* q8 = p.x_q8;
    for (size_t k = 0; k < i && reads_q8 && q8 == nullptr; ++k) {
      if (products[k].x == p.x) q8 = compute.plan[k].x_q8;
    }
    if (p.n > 0 && reads_q8 && q8 == nullptr) {
      const int64_t n = p.rows == nullptr ? p.n : p.pass_rows;
      Q8Chunk* rows = next;
      next += n * q8_chunks(p.w->cols);
      assert(next <= compute.q8 + compute.max_q8);
      q8 = rows;
      for_each_row(compute, n, p.w->cols * kQuantizeCost, [&](int64_t r) {
        compute.kernels->quantize_q8(p.x + r * p.ldx, p.w->cols, rows + r, n);
      });
    }
    compute.plan[i].q8 = q8;
    compute.plan[i].x_q8 = q8;
    chooses = chooses || (q8 != nullptr && p.rows != nullptr);
  }
  if (chooses) choose_rows(compute, products, next);
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
  const auto find = [&](int64_t number) {
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
    if (number + threads < tasks) {  // threads take turns, more or less
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
