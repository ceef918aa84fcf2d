// A tensor to be written, and where its numbers come from.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "pensee/base/tensor_view.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {

// The rows of one tensor, taken from one matrix or from several of the same size, one below the
// other. Each is made of heads; a matrix without any is one head.
//
// Thread rule: immutable; any thread may read. The matrices' data must outlive it.
struct ConvertedTensor {
  std::string name;
  Shape shape;                // of the new tensor, row-major
  std::vector<Matrix> parts;  // all of the same rows and columns
  int64_t head_rows = 0;      // rows of a head in a part
  int64_t first = 0;          // the first of them that is taken, ...
  int64_t taken = 0;          // ... and how many are
  bool pairs = false;         // the halves of each head become pairs: rows 0, n/2, 1, n/2 + 1, ...
  bool transposed = false;    // each head's taken rows become columns

  // All rows of `matrix`, as a tensor of `shape`.
  static ConvertedTensor whole(std::string name, const Shape& shape, const Matrix& matrix) {
    ConvertedTensor tensor;
    tensor.name = std::move(name);
    tensor.shape = shape;
    tensor.parts = {matrix};
    tensor.head_rows = tensor.taken = matrix.rows;
    return tensor;
  }

  [[nodiscard]] int64_t cols() const noexcept { return shape.rank > 0 ? shape[shape.rank - 1] : 1; }
  [[nodiscard]] int64_t rows() const noexcept {
    int64_t rows = 1;
    for (int d = 0; d + 1 < shape.rank; ++d) rows *= shape[d];
    return rows;
  }
  // How many rows come from one head: reading whole heads costs least.
  [[nodiscard]] int64_t rows_of_head() const noexcept { return transposed ? parts[0].cols : taken; }
  // The end of the rows that come from the part that row r comes from.
  [[nodiscard]] int64_t end_of_part(int64_t r) const noexcept {
    const int64_t rows_of_part = rows() / static_cast<int64_t>(parts.size());
    return (r / rows_of_part + 1) * rows_of_part;
  }
  // Whether the rows from r to end_of_part(r) are rows of their part, so that they can be copied as
  // they are. Of experts, each may have another type.
  [[nodiscard]] bool has_rows_of(DType dtype, int64_t r) const noexcept {
    if (transposed) return false;
    const Matrix& part = *place_of(r).part;
    return part.dtype == dtype && part.scales == nullptr;
  }

  // Row r as it is stored. Precondition: !transposed.
  [[nodiscard]] const std::byte* stored_row(int64_t r) const noexcept {
    const Place place = place_of(r);
    return static_cast<const std::byte*>(place.part->data) + place.row * place.part->row_bytes;
  }

  // Rows [begin, end) as float32: out (end - begin, cols()).
  void read(const KernelTable& kernels, int64_t begin, int64_t end, float* out) const {
    if (transposed) return read_transposed(kernels, begin, end, out);
    for (int64_t r = begin; r < end; ++r) {
      const Place place = place_of(r);
      unpack(kernels, *place.part, place.row, place.row + 1, out + (r - begin) * cols());
    }
  }

 private:
  struct Place {
    const Matrix* part;
    int64_t row;
  };

  [[nodiscard]] Place place_of(int64_t r) const noexcept {
    const int64_t heads = parts[0].rows / head_rows;
    const int64_t head = r / taken;
    const int64_t i = r % taken;
    const int64_t within = pairs ? i % 2 * (taken / 2) + i / 2 : i;
    return {&parts[static_cast<size_t>(head / heads)], head % heads * head_rows + first + within};
  }

  static void unpack(const KernelTable& kernels, const Matrix& m, int64_t begin, int64_t end,
                     float* out) {
    const KernelMatrix matrix{m.data, m.scales, m.row_bytes, ceil_div(m.cols, kScaleBlock), m.cols};
    kernels.unpack_rows[static_cast<int>(m.dtype)](&matrix, begin, end, out, m.cols);
  }

  void read_transposed(const KernelTable& kernels, int64_t begin, int64_t end, float* out) const {
    const Matrix& m = parts[0];
    std::vector<float> head(static_cast<size_t>(taken * m.cols));
    for (int64_t r = begin; r < end;) {
      const int64_t h = r / m.cols;
      const int64_t stop = std::min(end, (h + 1) * m.cols);
      unpack(kernels, m, h * head_rows + first, h * head_rows + first + taken, head.data());
      for (; r < stop; ++r) {
        const int64_t column = r % m.cols;
        for (int64_t i = 0; i < taken; ++i) {
          *out++ = head[static_cast<size_t>(i * m.cols + column)];
        }
      }
    }
  }
};

}  // namespace pensee
