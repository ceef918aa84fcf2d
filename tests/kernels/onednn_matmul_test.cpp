#include "pensee/kernels/onednn_matmul.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "pensee/base/arena.hpp"
#include "pensee/base/dtype.hpp"

namespace pensee {
namespace {

constexpr int64_t kPanelRows = PanelMatmul::kRows;
constexpr int64_t kPanelDepth = PanelMatmul::kDepth;

// Small whole numbers, whose products and sums are exact in every type.
std::vector<float> whole_numbers(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> any(-3, 3);
  std::vector<float> numbers(static_cast<size_t>(n));
  for (float& x : numbers) x = static_cast<float>(any(random));
  return numbers;
}

TEST_CASE("a panel's products are added to what is there") {
  Arena arena = Arena::create(size_t{PanelMatmul::kScratch}).value();
  auto* scratch = arena.take<std::byte>(PanelMatmul::kScratch);
  const auto w = whole_numbers(kPanelRows * kPanelDepth, 1);
  for (const bool in_bfloat16 : {false, true}) {
    CAPTURE(in_bfloat16);
    const auto matmul = PanelMatmul::create(in_bfloat16).value();
    if (in_bfloat16 && matmul == nullptr) continue;  // oneDNN has it from AVX-512 on
    REQUIRE(matmul != nullptr);
    for (int64_t n = PanelMatmul::kMinTokens; n <= PanelMatmul::kMaxTokens; n *= 2) {
      CAPTURE(n);
      const auto x = whole_numbers(n * kPanelDepth, 2);
      std::vector<float> y(static_cast<size_t>(n * kPanelRows), 5.0F);
      if (in_bfloat16) {
        std::vector<uint16_t> x_bits;
        std::vector<uint16_t> w_bits;
        for (const float number : x) x_bits.push_back(f32_to_bf16(number));
        for (const float number : w) w_bits.push_back(f32_to_bf16(number));
        REQUIRE(matmul->add(n, x_bits.data(), w_bits.data(), y.data(), scratch));
      } else {
        REQUIRE(matmul->add(n, x.data(), w.data(), y.data(), scratch));
      }
      bool all_equal = true;
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t r = 0; r < kPanelRows; ++r) {
          float sum = 5.0F;
          for (int64_t c = 0; c < kPanelDepth; ++c) {
            sum += x[static_cast<size_t>(i * kPanelDepth + c)] *
                   w[static_cast<size_t>(r * kPanelDepth + c)];
          }
          all_equal = all_equal && y[static_cast<size_t>(i * kPanelRows + r)] == sum;
        }
      }
      CHECK(all_equal);
    }
  }
}

TEST_CASE("tokens are taken in the largest numbers there are") {
  CHECK(PanelMatmul::tokens_at_once(15) == 0);
  CHECK(PanelMatmul::tokens_at_once(16) == 16);
  CHECK(PanelMatmul::tokens_at_once(127) == 64);
  CHECK(PanelMatmul::tokens_at_once(128) == 128);
  CHECK(PanelMatmul::tokens_at_once(5000) == PanelMatmul::kMaxTokens);
}

}  // namespace
}  // namespace pensee
