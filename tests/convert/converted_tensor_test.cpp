#include "pensee/convert/converted_tensor.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <numeric>
#include <vector>

#include "pensee/kernels/reference.hpp"

using pensee::ConvertedTensor;
using pensee::DType;
using pensee::Matrix;

namespace {

// 0, 1, 2, ... in rows of `cols`.
Matrix counting(std::vector<float>& numbers, int64_t cols) {
  std::iota(numbers.begin(), numbers.end(), 0.0F);
  const auto rows = static_cast<int64_t>(numbers.size()) / cols;
  return {numbers.data(), nullptr, DType::kF32, rows, cols, cols * 4};
}

std::vector<float> read(const ConvertedTensor& tensor, int64_t begin, int64_t end) {
  std::vector<float> out(static_cast<size_t>((end - begin) * tensor.cols()));
  tensor.read(pensee::reference_kernels(), begin, end, out.data());
  return out;
}

}  // namespace

TEST_CASE("rows as they are, of one matrix and of several") {
  std::vector<float> numbers(12);
  const Matrix matrix = counting(numbers, 3);
  ConvertedTensor tensor = ConvertedTensor::whole("t", {{4, 3}, 2}, matrix);
  CHECK(tensor.rows() == 4);
  CHECK(read(tensor, 1, 3) == std::vector<float>{3, 4, 5, 6, 7, 8});
  CHECK(tensor.has_rows_of(DType::kF32, 0));
  CHECK(!tensor.has_rows_of(DType::kF16, 0));
  CHECK(tensor.stored_row(2) == reinterpret_cast<const std::byte*>(numbers.data() + 6));

  std::vector<float> others(12);
  tensor.parts.push_back(counting(others, 3));
  others[0] = 100;
  tensor.shape = {{2, 4, 3}, 3};
  CHECK(read(tensor, 3, 5) == std::vector<float>{9, 10, 11, 100, 1, 2});
  CHECK(tensor.stored_row(4) == reinterpret_cast<const std::byte*>(others.data()));
  CHECK(tensor.end_of_part(3) == 4);
  CHECK(tensor.end_of_part(4) == 8);
}

TEST_CASE("each part has a type of its own") {
  std::vector<float> numbers(4);
  ConvertedTensor tensor = ConvertedTensor::whole("t", {{2, 2, 2}, 3}, counting(numbers, 2));
  const std::vector<uint16_t> others = {0x3F80, 0x4000, 0xBF80, 0};  // 1, 2, -1, 0
  tensor.parts.push_back({others.data(), nullptr, DType::kBF16, 2, 2, 4});
  CHECK(read(tensor, 1, 4) == std::vector<float>{2, 3, 1, 2, -1, 0});
  CHECK(tensor.has_rows_of(DType::kF32, 1));
  CHECK(!tensor.has_rows_of(DType::kF32, 2));
  CHECK(tensor.has_rows_of(DType::kBF16, 2));
  // Numbers with scales beside them are not the stored ones.
  const float scale = 2;
  tensor.parts[1].scales = &scale;
  CHECK(!tensor.has_rows_of(DType::kBF16, 2));
}

TEST_CASE("halves of heads become pairs") {
  std::vector<float> numbers(8);
  ConvertedTensor tensor = ConvertedTensor::whole("t", {{8, 1}, 2}, counting(numbers, 1));
  tensor.head_rows = tensor.taken = 4;
  tensor.pairs = true;
  CHECK(read(tensor, 0, 8) == std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7});
  CHECK(tensor.has_rows_of(DType::kF32, 0));
}

TEST_CASE("a part of each head, as it is and transposed") {
  std::vector<float> numbers(2 * 3 * 2);  // 2 heads of 3 rows and 2 columns
  ConvertedTensor tensor = ConvertedTensor::whole("t", {{2, 1, 2}, 3}, counting(numbers, 2));
  tensor.head_rows = 3;
  tensor.first = 2;
  tensor.taken = 1;
  CHECK(read(tensor, 0, 2) == std::vector<float>{4, 5, 10, 11});

  tensor.shape = {{2, 2, 2}, 3};
  tensor.first = 0;
  tensor.taken = 2;
  tensor.transposed = true;
  CHECK(tensor.rows_of_head() == 2);
  CHECK(!tensor.has_rows_of(DType::kF32, 0));
  CHECK(tensor.end_of_part(1) == 4);
  CHECK(read(tensor, 0, 4) == std::vector<float>{0, 2, 1, 3, 6, 8, 7, 9});
  CHECK(read(tensor, 1, 3) == std::vector<float>{1, 3, 6, 8});
}
