// Every table's kernels of 8-bit latents against attention in double over the same cached rows.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/tables.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee::test {
namespace {

// Memory at a multiple of 64 bytes, filled with what no kernel shall read before it has written.
template <class T>
class Aligned {
 public:
  explicit Aligned(int64_t n) : memory_(static_cast<size_t>(n) * sizeof(T) + 64, '\xee') {}
  T* data() {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    return reinterpret_cast<T*>(memory_.data() + (64 - address % 64) % 64);
  }

 private:
  std::vector<char> memory_;
};

// A cache of random rows, whose numbers are about as large as those of normalised latents, and
// queries.
struct Problem {
  Problem(const LatentShape& s, int64_t n_queries, int64_t n_tokens)
      : shape(s),
        m(n_queries),
        tokens(n_tokens),
        rows(KernelType::kQ8_0,
             {.rows = n_tokens + 1,
              .cols = s.key_size,
              .misaligned_by = 6,
              .row_padding = 10,
              .positive = true,
              .alike = true},
             3),
        x(random_floats(n_queries * s.key_size, 4)),
        visible(static_cast<size_t>(n_queries)) {
    for (int64_t r = 0; r <= tokens; ++r) {
      for (int64_t c = 0; c < shape.key_size; c += 32) {
        // The float16 numbers from 1/128 to 1/32.
        char& high = rows.element(KernelType::kQ8_0, r, c)[1];
        high = static_cast<char>((static_cast<uint8_t>(high) & 0x07) | 0x20);
      }
    }
    // All of them, or fewer: a causal mask.
    for (int64_t i = 0; i < m; ++i) {
      visible[static_cast<size_t>(i)] = std::max<int64_t>(0, tokens - (m - 1 - i) / 3 * 7);
    }
  }

  // The same of the first n tokens.
  Problem(const Problem& whole, int64_t n) : Problem(whole.shape, whole.m, n) {
    std::ranges::fill(visible, n);
    const auto bytes = static_cast<size_t>(dtype_row_bytes(DType::kQ8_0, shape.key_size));
    const KernelMatrix& from = *whole.rows.view();
    for (int64_t r = 0; r <= n; ++r) {
      const char* row = static_cast<const char*>(from.data) + r * from.row_bytes;
      std::memcpy(rows.element(KernelType::kQ8_0, r, 0), row, bytes);
    }
  }

  // Row 0 is another's.
  std::vector<float> values() const {
    std::vector<float> v(static_cast<size_t>(tokens * shape.key_size));
    reference_kernels().unpack_rows[KernelType::kQ8_0](rows.view(), 1, tokens + 1, v.data(),
                                                       shape.key_size);
    return v;
  }

  // Results (m, value_size); those of queries that see nothing are 0.
  std::vector<double> exact() const {
    const std::vector<float> cached = values();
    std::vector<double> out(static_cast<size_t>(m * shape.value_size), 0.0);
    for (int64_t i = 0; i < m; ++i) {
      double sum = 0.0;
      double* to = out.data() + i * shape.value_size;
      for (int64_t t = 0; t < visible[static_cast<size_t>(i)]; ++t) {
        const float* row = cached.data() + t * shape.key_size;
        double score = 0.0;
        for (int64_t c = 0; c < shape.key_size; ++c) {
          score += double{x[static_cast<size_t>(i * shape.key_size + c)]} * row[c];
        }
        const double weight = std::exp(kFactor * score);
        sum += weight;
        for (int64_t c = 0; c < shape.value_size; ++c) to[c] += weight * row[c];
      }
      for (int64_t c = 0; c < shape.value_size && sum > 0.0; ++c) to[c] /= sum;
    }
    return out;
  }

  std::vector<float> found(const LatentKernels& kernels) const {
    const int64_t key_groups = ceil_div(shape.key_size, shape.group);
    const int64_t value_groups = shape.value_size / shape.group;
    Aligned<int8_t> codes(m * shape.key_size);
    Aligned<float> scales(m * key_groups);
    Aligned<int32_t> offsets(m * key_groups);
    Aligned<uint8_t> keys(kLatentTokens * shape.key_size);
    Aligned<int8_t> packed(kLatentTokens * shape.value_size);
    Aligned<float> tile_scales(key_groups * kLatentTokens);
    Aligned<float> factors(value_groups * kLatentTokens);
    Aligned<float> largest(value_groups);
    const LatentQueries queries{codes.data(), scales.data(), offsets.data()};
    const LatentTile tile{keys.data(), packed.data(), tile_scales.data(), factors.data(),
                          largest.data()};
    std::vector<float> max(static_cast<size_t>(m), -std::numeric_limits<float>::infinity());
    std::vector<float> sum(static_cast<size_t>(m), 0.0F);
    const int64_t ld = ceil_div(shape.value_size, int64_t{kAttentionColumns}) * kAttentionColumns;
    std::vector<float> sums(static_cast<size_t>(m * ld), 0.0F);
    const AttentionState state{max.data(), sum.data(), sums.data(), ld};
    kernels.pack_queries(&shape, x.data(), m, kFactor, &queries);
    for (int64_t t = 0; t < tokens; t += kLatentTokens) {
      const int64_t n = std::min<int64_t>(kLatentTokens, tokens - t);
      std::vector<int64_t> seen;
      for (const int64_t v : visible) seen.push_back(std::clamp<int64_t>(v - t, 0, n));
      kernels.pack_tile(&shape, rows.view(), 1 + t, 1 + t + n, &tile);
      kernels.attend(&shape, m, &queries, &tile, n, seen.data(), &state);
    }
    std::vector<float> out;
    for (int64_t i = 0; i < m; ++i) {
      const float s = sum[static_cast<size_t>(i)];
      for (int64_t c = 0; c < shape.value_size; ++c) {
        out.push_back(sums[static_cast<size_t>(i * ld + c)] / (s == 0.0F ? 1.0F : s));
      }
    }
    return out;
  }

  static constexpr float kFactor = 0.11F;
  LatentShape shape;
  int64_t m;
  int64_t tokens;
  RandomMatrix rows;
  std::vector<float> x;
  std::vector<int64_t> visible;
};

constexpr LatentShape kShapes[] = {{576, 512, 128}, {96, 64, 64}, {160, 96, 32}, {1024, 1024, 128}};

std::vector<NamedTable> tables() {
  std::vector<NamedTable> all = fast_tables();
  std::erase_if(all, [](const NamedTable& t) { return t.table->latents.attend == nullptr; });
  return all;
}

double magnitude(const std::vector<double>& v) {
  double sum = 0.0;
  for (const double x : v) sum += x * x;
  return std::sqrt(sum);
}

TEST_CASE("attention over latents is within the rounding to eight bits") {
  for (const NamedTable& t : tables()) {
    CAPTURE(t.name);
    for (const LatentShape& shape : kShapes) {
      CAPTURE(shape.key_size);
      for (const int64_t m : {1, 2, 5, 8, 15, 37}) {
        for (const int64_t tokens : {1, 4, 31, 33, 128, 300}) {
          CAPTURE(m);
          CAPTURE(tokens);
          const Problem p(shape, m, tokens);
          const std::vector<double> expected = p.exact();
          const std::vector<float> found = p.found(t.table->latents);
          std::vector<double> error;
          for (size_t i = 0; i < expected.size(); ++i) error.push_back(found[i] - expected[i]);
          CHECK(magnitude(error) < 0.03 * magnitude(expected));
        }
      }
    }
  }
}

TEST_CASE("a number that is none spoils the queries that see it, and no others") {
  for (const NamedTable& t : tables()) {
    CAPTURE(t.name);
    Problem p(kShapes[0], 4, 50);
    p.visible = {50, 39, 40, 0};
    const std::vector<float> before = p.found(t.table->latents);
    for (const uint16_t bad : {uint16_t{0x7e00}, uint16_t{0x7c00}}) {  // NaN, infinity
      std::memcpy(p.rows.element(KernelType::kQ8_0, 1 + 39, 64), &bad, sizeof bad);
      const std::vector<float> after = p.found(t.table->latents);
      for (int64_t i = 0; i < p.m; ++i) {
        for (int64_t c = 0; c < p.shape.value_size; ++c) {
          const auto at = static_cast<size_t>(i * p.shape.value_size + c);
          if (i == 0 || i == 2) {
            // An infinite score may be a weight of 0.
            CHECK((bad == 0x7c00 || std::isnan(after[at])));
          } else {
            REQUIRE(same(after[at], before[at]));
          }
        }
      }
    }
    const Problem whole(kShapes[0], 4, 50);
    CHECK(!std::isnan(whole.found(t.table->latents)[0]));
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      Problem spoilt(kShapes[0], 4, 50);
      spoilt.x[0] = bad;
      const std::vector<float> found = spoilt.found(t.table->latents);
      CHECK(std::isnan(found[0]));
      CHECK(!std::isnan(found[static_cast<size_t>(spoilt.shape.value_size)]));
    }
  }
}

TEST_CASE("what a query does not see changes no bit of its result") {
  for (const NamedTable& t : tables()) {
    CAPTURE(t.name);
    for (const LatentShape& shape : kShapes) {
      for (const int64_t tokens : {2, 30, 129, 200}) {
        CAPTURE(tokens);
        Problem p(shape, 3, tokens);
        p.visible = {tokens - 1, tokens, tokens - 1};
        // Scales below and above all others: these may not be taken for the largest before them.
        for (const char high : {'\x1c', '\x30'}) {
          for (int64_t c = 0; c < shape.key_size; c += 32) {
            p.rows.element(KernelType::kQ8_0, tokens, c)[1] = high;
          }
          const std::vector<float> together = p.found(t.table->latents);
          const std::vector<float> before = Problem(p, tokens - 1).found(t.table->latents);
          const auto n = static_cast<size_t>(shape.value_size);
          for (size_t i = 0; i < 3 * n; ++i) {
            if (i < n || i >= 2 * n) REQUIRE(same(together[i], before[i]));
          }
        }
      }
    }
  }
}

TEST_CASE("weights far below the largest are not lost") {
  for (const NamedTable& t : tables()) {
    CAPTURE(t.name);
    constexpr int64_t kTokens = 128;
    Problem p(kShapes[1], 1, kTokens);
    // The first token is looked at the most, as in models, by more than eight bits can tell from
    // the others; it has no value to speak of.
    std::ranges::fill(p.x, 0.0F);
    p.x[64] = 1.0F;  // a part of the key that is no value
    for (int64_t r = 0; r < kTokens; ++r) {
      for (int64_t c = 0; c < 96; c += 32) {
        char* block = p.rows.element(KernelType::kQ8_0, 1 + r, c);
        const uint16_t one = 0x3c00;
        std::memcpy(block, &one, sizeof one);
        std::memset(block + 2, c == 64 || r == 0 ? 0 : 100, 32);
      }
    }
    p.rows.element(KernelType::kQ8_0, 1, 64)[2] = 63;  // e^6.93 = 1,022 times as much as another
    const std::vector<double> expected = p.exact();
    const std::vector<float> found = p.found(t.table->latents);
    CHECK(expected[0] > 10.0);
    for (size_t i = 0; i < expected.size(); ++i) {
      CHECK(found[i] == doctest::Approx(expected[i]).epsilon(0.01));
    }
  }
}

TEST_CASE("rows and queries of zeros give the mean of the values") {
  for (const NamedTable& t : tables()) {
    CAPTURE(t.name);
    Problem p(kShapes[1], 3, 20);
    std::ranges::fill(p.x, 0.0F);
    p.x[static_cast<size_t>(p.shape.key_size)] = 1e-38F;
    for (int64_t c = 0; c < p.shape.key_size; ++c) {
      std::memset(p.rows.element(KernelType::kQ8_0, 1 + 7, c / 32 * 32), 0, 34);
    }
    const std::vector<double> expected = p.exact();
    const std::vector<float> found = p.found(t.table->latents);
    for (size_t i = 0; i < expected.size(); ++i) {
      CHECK(found[i] == doctest::Approx(expected[i]).epsilon(0.01));
    }
  }
}

}  // namespace
}  // namespace pensee::test
