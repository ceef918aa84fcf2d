// Interleaved rows: a second order of the same bytes, which kernels read with less work.
//
// 16 rows lie together, as tiles of 256 columns, one after the other. A tile has the first word of
// 32 bits of every row, then the second word of every row, and so on; what is left of less than a
// word, of every row, is last. Before that, of types with blocks of 32 columns, a row's eight
// float16 scales are put in front of its codes.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "pensee/base/dtype.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {

inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kTileColumns = kQ8Columns;

// Whether these kernels have use for the matrix's rows interleaved.
[[nodiscard]] inline bool can_interleave(const KernelTable& kernels, const Matrix& w) noexcept {
  return is_weight_type(w.dtype) && kernels.dot_tiles_q8[static_cast<size_t>(w.dtype)] != nullptr &&
         w.rows % kTileRows == 0 && w.cols % kTileColumns == 0 &&
         w.row_bytes == dtype_row_bytes(w.dtype, w.cols);
}

// Rows [begin, end) of a matrix that can_interleave(), to `out`: as many bytes as they have. Both
// are multiples of kTileRows.
inline void interleave_rows(const Matrix& w, int64_t begin, int64_t end, std::byte* out) {
  constexpr int64_t kMostBytes = 272;  // of 256 columns: Q8_0
  constexpr int64_t kScaleBytes = 2;
  const int64_t blocks = kTileColumns / dtype_block_elements(w.dtype);
  const int64_t block_bytes = dtype_block_bytes(w.dtype);
  const int64_t bytes = blocks * block_bytes;
  assert(bytes <= kMostBytes);
  std::array<std::array<std::byte, kMostBytes>, kTileRows> tile;
  const auto copy_word = [&](int64_t at, int64_t size) {
    for (const auto& row : tile) {
      std::memcpy(out, row.data() + at, static_cast<size_t>(size));
      out += size;
    }
  };
  for (int64_t first = begin; first < end; first += kTileRows) {
    for (int64_t c = 0; c < w.cols / kTileColumns; ++c) {
      for (int64_t r = 0; r < kTileRows; ++r) {
        const auto* from =
            static_cast<const std::byte*>(w.data) + (first + r) * w.row_bytes + c * bytes;
        std::byte* to = tile[static_cast<size_t>(r)].data();
        if (blocks == 1) {
          std::memcpy(to, from, static_cast<size_t>(bytes));
          continue;
        }
        for (int64_t b = 0; b < blocks; ++b, from += block_bytes) {
          constexpr auto kScale = static_cast<size_t>(kScaleBytes);
          std::memcpy(to + kScaleBytes * b, from, kScale);
          std::memcpy(to + kScaleBytes * blocks + b * (block_bytes - kScaleBytes),
                      from + kScaleBytes, static_cast<size_t>(block_bytes) - kScale);
        }
      }
      int64_t at = 0;
      for (; at + 4 <= bytes; at += 4) copy_word(at, 4);
      if (at < bytes) copy_word(at, bytes - at);
    }
  }
}

}  // namespace pensee
