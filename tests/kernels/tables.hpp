// The tables under test and random matrices for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/random_blocks.hpp"
#include "pensee/kernels/dispatch.hpp"
#include "pensee/kernels/reference.hpp"

#if PENSEE_TEST_AVX512
namespace pensee::avx512 {
extern const KernelTable kTable;
extern const KernelTable kHalvedTable;
}  // namespace pensee::avx512
#endif
#if PENSEE_TEST_EMULATED_AVX512
namespace pensee::avx512_emulated {
extern const KernelTable kTable;
extern const KernelTable kHalvedTable;
}  // namespace pensee::avx512_emulated
#endif

namespace pensee::test {

struct NamedTable {
  std::string name;
  const KernelTable* table;
};

// Every table but the reference: those that this machine runs and the emulated one.
inline std::vector<NamedTable> fast_tables() {
  std::vector<NamedTable> tables;
  for (const KernelTable* table : compiled_kernels()) {
    if (table != &reference_kernels()) tables.push_back({table->name, table});
  }
#if PENSEE_TEST_EMULATED_AVX512
  tables.push_back({"avx512, emulated", &avx512_emulated::kTable});
#endif
  return tables;
}

// Those, and the tables that differ from one of them in dot_rows_q8 alone.
inline std::vector<NamedTable> dot_rows_q8_tables() {
  std::vector<NamedTable> tables = fast_tables();
#if PENSEE_TEST_AVX512
  const KernelTable* best = &best_kernels();
  if (best == &avx512::kTable) tables.push_back({"avx512, halved", &avx512::kHalvedTable});
  if (best == &avx512::kHalvedTable) tables.push_back({"avx512, whole", &avx512::kTable});
#endif
#if PENSEE_TEST_EMULATED_AVX512
  tables.push_back({"avx512, halved, emulated", &avx512_emulated::kHalvedTable});
#endif
  return tables;
}

inline constexpr int kElementTypes = 4;  // the types of single elements come first

inline bool is_block(int type) {
  return is_block_type(static_cast<DType>(type));
}
inline std::string type_name(int type) {
  return std::string(dtype_name(static_cast<DType>(type)));
}

struct MatrixShape {
  int64_t rows;
  int64_t cols;
  int64_t misaligned_by = 0;  // bytes, of row 0
  int64_t row_padding = 0;    // bytes after every row but the last
  bool scaled = false;        // FP8 only
  bool positive = false;      // the float16 numbers of blocks are not negative
  bool alike = false;         // nor are they far apart, as in models
};

// A matrix of `type` whose last byte is the last of its allocation, so that address sanitizers
// see every read beyond.
class RandomMatrix {
 public:
  RandomMatrix(int type, const MatrixShape& shape, uint32_t seed) : random_(seed) {
    const int64_t row_bytes = dtype_row_bytes(static_cast<DType>(type), shape.cols);
    const int64_t distance = row_bytes + shape.row_padding;
    const int64_t bytes = shape.misaligned_by + (shape.rows - 1) * distance + row_bytes;
    storage_.resize(static_cast<size_t>(bytes));
    view_ = {.data = storage_.data() + shape.misaligned_by,
             .scales = nullptr,
             .row_bytes = distance,
             .scale_stride = (shape.cols + 127) / 128,
             .cols = shape.cols};
    const int64_t elements = dtype_block_elements(static_cast<DType>(type));
    for (int64_t r = 0; r < shape.rows; ++r) {
      for (int64_t c = 0; c < shape.cols; c += elements) {
        put(type, r, c);
        for (const int high : float16_high_bytes(type)) {
          char& byte = element(type, r, c)[high];
          if (shape.alike) byte = static_cast<char>((static_cast<uint8_t>(byte) & 0x83) | 0x24);
          if (shape.positive) byte &= 0x7f;
        }
      }
    }
    if (!shape.scaled) return;
    std::uniform_real_distribution<float> scale(0.01F, 2.0F);
    const int64_t blocks = (shape.rows + 127) / 128 * view_.scale_stride;
    for (int64_t i = 0; i < blocks; ++i) scales_.push_back(scale(random_));
    view_.scales = scales_.data();
  }
  RandomMatrix(const RandomMatrix&) = delete;
  RandomMatrix& operator=(const RandomMatrix&) = delete;

  const KernelMatrix* view() const { return &view_; }
  char* element(int type, int64_t r, int64_t c) {
    char* first = storage_.data() + (static_cast<const char*>(view_.data) - storage_.data());
    return first + r * view_.row_bytes + dtype_row_bytes(static_cast<DType>(type), c);
  }

 private:
  // The element, or the block, that begins at column c.
  void put(int type, int64_t r, int64_t c) {
    const auto bits = static_cast<uint32_t>(random_());
    char* to = element(type, r, c);
    if (is_block(type)) {
      std::vector<uint8_t> block = random_block(type, bits);
      // The exponents of MXFP4's scales may be anything; here products shall stay finite.
      if (type == KernelType::kMXFP4) block[0] = static_cast<uint8_t>(112 + block[0] % 32);
      std::memcpy(to, block.data(), block.size());
    } else if (type == KernelType::kF32) {
      const float value = std::uniform_real_distribution<float>(-1.0F, 1.0F)(random_);
      std::memcpy(to, &value, sizeof value);
    } else if (type == KernelType::kF16) {  // magnitudes below 2, denormals among them
      const auto value = static_cast<uint16_t>(bits & 0xbfffU);
      std::memcpy(to, &value, sizeof value);
    } else if (type == KernelType::kBF16) {  // the exponents of magnitudes from 2^-15 to 2
      const auto value = static_cast<uint16_t>((bits & 0x87ffU) | 0x3800U);
      std::memcpy(to, &value, sizeof value);
    } else {  // every code but NaN
      auto value = static_cast<uint8_t>(bits);
      if ((value & 0x7fU) == 0x7fU) value ^= 1U;
      std::memcpy(to, &value, sizeof value);
    }
  }

  std::mt19937 random_;
  std::vector<char> storage_;
  std::vector<float> scales_;
  KernelMatrix view_{};
};

inline std::vector<float> random_floats(int64_t n, uint32_t seed, float limit = 1.0F) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-limit, limit);
  std::vector<float> result(static_cast<size_t>(n));
  for (float& v : result) v = value(random);
  return result;
}

// Equal bits, or both NaN.
inline bool same(float a, float b) {
  if (a != a || b != b) return a != a && b != b;
  return std::memcmp(&a, &b, sizeof a) == 0;
}

}  // namespace pensee::test
