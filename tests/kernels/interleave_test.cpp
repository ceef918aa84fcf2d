// Interleaved rows: the order of their bytes, and that products do not depend on it.
#include "pensee/kernels/interleave.hpp"

#include <doctest/doctest.h>

#include <cstring>

#include "kernels/tables.hpp"
#include "pensee/base/arena.hpp"

namespace pensee::test {
namespace {

constexpr int64_t kManyRows = 48;

Matrix matrix_of(const RandomMatrix& random, int type, int64_t cols) {
  const KernelMatrix* w = random.view();
  return {w->data, nullptr, static_cast<DType>(type), kManyRows, cols, w->row_bytes};
}

// Byte `at` of a row's 256 columns, with what comes first in a tile first.
int64_t byte_in_file(DType dtype, int64_t at) {
  if (dtype_block_elements(dtype) == kTileColumns) return at;
  const int64_t codes = dtype_block_bytes(dtype) - 2;
  if (at < 16) return at / 2 * (codes + 2) + at % 2;
  return (at - 16) / codes * (codes + 2) + 2 + (at - 16) % codes;
}

}  // namespace

TEST_CASE("Interleaved rows have every word of a tile's rows side by side") {
  for (const int type : {int{KernelType::kQ8_0}, int{KernelType::kQ4_0}, int{KernelType::kQ4_K},
                         int{KernelType::kQ5_K}, int{KernelType::kQ6_K}}) {
    const auto dtype = static_cast<DType>(type);
    const int64_t cols = 3 * kTileColumns;
    const RandomMatrix random(type, {.rows = kManyRows, .cols = cols}, 7);
    const Matrix w = matrix_of(random, type, cols);
    std::vector<std::byte> out(static_cast<size_t>(kManyRows * w.row_bytes));
    interleave_rows(w, 0, kManyRows, out.data());
    const int64_t bytes = dtype_row_bytes(dtype, kTileColumns);
    bool equal = true;
    for (int64_t row = 0; row < kManyRows; ++row) {
      for (int64_t at = 0; at < w.row_bytes; ++at) {
        const int64_t in_tile = at % bytes;
        const int64_t word = in_tile / 4 * 4;
        const int64_t size = std::min<int64_t>(4, bytes - word);
        const int64_t tile = row / kTileRows * (w.row_bytes / bytes) + at / bytes;
        const int64_t to =
            tile * kTileRows * bytes + word * kTileRows + row % kTileRows * size + in_tile - word;
        const int64_t from = row * w.row_bytes + at / bytes * bytes + byte_in_file(dtype, in_tile);
        equal =
            equal && out[static_cast<size_t>(to)] == static_cast<const std::byte*>(w.data)[from];
      }
    }
    CHECK_MESSAGE(equal, type_name(type));
  }
}

TEST_CASE("Products of interleaved rows are the same to the bit") {
  for (const NamedTable& table : fast_tables()) {
    for (int type = 0; type < kKernelTypes; ++type) {
      const auto dot_tiles = table.table->dot_tiles_q8[type];
      const auto gemm_tiles = table.table->gemm_tiles_q8[type];
      REQUIRE((dot_tiles == nullptr) == (gemm_tiles == nullptr));
      if (dot_tiles == nullptr) continue;
      for (const bool alike : {false, true}) {
        const int64_t cols = 5 * kTileColumns;
        const RandomMatrix random(type, {.rows = kManyRows, .cols = cols, .alike = alike}, 3);
        const Matrix w = matrix_of(random, type, cols);
        REQUIRE(can_interleave(*table.table, w));
        std::vector<std::byte> tiles(static_cast<size_t>(kManyRows * w.row_bytes));
        interleave_rows(w, 0, kManyRows, tiles.data());
        KernelMatrix interleaved = *random.view();
        interleaved.data = tiles.data();
        for (const int64_t n : {1, 2, 3, 4, 7, 8, 9, 31, 70}) {
          const std::vector<float> x = random_floats(n * cols, 5);
          std::vector<Q8Chunk> chunks(static_cast<size_t>(n * ceil_div(cols, kQ8Columns)));
          for (int64_t i = 0; i < n; ++i) {
            table.table->quantize_q8(x.data() + i * cols, cols, chunks.data() + i, n);
          }
          Arena scratch = *Arena::create(kGemmQ8Scratch);
          void* room = scratch.take<char>(kGemmQ8Scratch);
          for (const int64_t begin : {int64_t{0}, kTileRows}) {
            const int64_t end = kManyRows;
            std::vector<float> expected(static_cast<size_t>(n * kManyRows), 12345.0F);
            std::vector<float> got = expected;
            const auto check = [&](const char* what) {
              CHECK_MESSAGE(
                  std::memcmp(expected.data(), got.data(), got.size() * sizeof(float)) == 0,
                  table.name, " ", type_name(type), " ", what, " n ", n, " from ", begin);
            };
            table.table->dot_rows_q8[type](random.view(), begin, end, chunks.data(), n, n,
                                           expected.data(), kManyRows);
            dot_tiles(&interleaved, begin, end, chunks.data(), n, n, got.data(), kManyRows);
            check("dot");
            table.table->gemm_q8[type](random.view(), begin, end, chunks.data(), n, n,
                                       expected.data(), kManyRows, room);
            gemm_tiles(&interleaved, begin, end, chunks.data(), n, n, got.data(), kManyRows, room);
            check("gemm");
          }
        }
      }
    }
  }
}

}  // namespace pensee::test
