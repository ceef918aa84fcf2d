// Quantises what matrices of block types read, and results that such matrices read next.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <span>

#include "pensee/model/product.hpp"

namespace pensee {

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

// What follows from the scales of quantised results, and zeros beyond them.
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
    const bool is_read =
        reads_q8(compute, p, *p.w) || (p.up != nullptr && reads_q8(compute, p, *p.up));
    const Q8Chunk* q8 = p.x_q8;
    for (size_t k = 0; k < i && is_read && q8 == nullptr; ++k) {
      if (products[k].x == p.x) q8 = compute.plan[k].x_q8;
    }
    if (p.n > 0 && is_read && q8 == nullptr) {
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

}  // namespace pensee
