// Asks memory ahead for the rows of weights that come later. It has internal linkage.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

// Where reading goes on behind the rows that a kernel reads in the order of their addresses: past
// their end, at what its thread will probably read next.
class ReadOrder {
 public:
  ReadOrder(const KernelMatrix* w, int64_t row_end)
      : end_(static_cast<const char*>(w->data) + row_end * w->row_bytes),
        next_(w->next == nullptr ? end_ : static_cast<const char*>(w->next)) {}

  // What is read when an address is reached that may lie past the end.
  [[nodiscard]] const char* at(const char* address) const {
    return address < end_ ? address : next_ + (address - end_);
  }

 private:
  const char* end_;
  const char* next_;
};

// Rows that will be needed after those that a kernel works on. Memory gives them fastest in the
// order of their addresses, a few lines at a time between multiplications, so that memory and
// processor work at the same time; into the L2 cache, for they come later.
class Later {
 public:
  // At most `rows` rows from row `begin` on, or of what follows the last row; asked for over
  // `chunks` chunks of the rows before them, `asks` times in each.
  Later(const KernelMatrix* w, int64_t begin, int64_t row_end, int64_t rows, int64_t chunks,
        int64_t asks)
      : first_(static_cast<const char*>(w->next)), bytes_(w->next_bytes), chunks_(chunks) {
    if (begin < row_end) {
      first_ = static_cast<const char*>(w->data) + begin * w->row_bytes;
      bytes_ = (row_end - begin) * w->row_bytes;
    }
    if (bytes_ > rows * w->row_bytes) bytes_ = rows * w->row_bytes;
    next_ = first_;
    step_ = bytes_ / (chunks * asks) + 1;
  }

  void begin_chunk(int64_t c) { end_ = first_ + bytes_ * (c + 1) / chunks_; }

  [[gnu::always_inline]] void ask() {
    if (next_ >= end_) return;
    for (const char* stop = next_ + step_; next_ < stop; next_ += 64) {
      _mm_prefetch(next_, _MM_HINT_T1);
    }
  }

 private:
  const char* first_;
  int64_t bytes_;
  int64_t chunks_;
  int64_t step_;
  const char* next_;
  const char* end_ = nullptr;
};

}  // namespace
}  // namespace pensee
