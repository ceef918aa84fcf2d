#include "pensee/model/causal_softmax.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "pensee/kernels/reference.hpp"

TEST_CASE("a token's weights add to one over itself and what came before, and are 0 after it") {
  constexpr int64_t kBegin = 2;
  constexpr int64_t kTokens = 3;
  constexpr int64_t kSeen = kBegin + kTokens;
  std::vector<float> scores(kTokens * kSeen, 1.0F);
  scores[0] = 3.0F;  // of the first token, for position 0
  pensee::causal_softmax(pensee::reference_kernels(), 0.5F, scores.data(), kBegin, kTokens);
  const float e = std::exp(1.0F);  // 0.5 * (3 - 1)
  CHECK(scores[0] == doctest::Approx(e / (e + 2.0F)));
  CHECK(scores[1] == doctest::Approx(1.0F / (e + 2.0F)));
  for (int64_t i = 0; i < kTokens; ++i) {
    float sum = 0.0F;
    for (int64_t t = 0; t < kSeen; ++t) {
      const float weight = scores[static_cast<size_t>(i * kSeen + t)];
      if (t > kBegin + i) CHECK(weight == 0.0F);
      sum += weight;
    }
    CHECK(sum == doctest::Approx(1.0F));
  }
}
