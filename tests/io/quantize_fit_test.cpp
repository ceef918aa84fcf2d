#include "pensee/io/quantize_fit.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace pensee::quantize_detail;  // NOLINT: the test is of it

TEST_CASE("the nearest levels") {
  for (int i = -40; i <= 40; ++i) {
    const float x = 0.25F * static_cast<float>(i);
    CHECK(nearest_whole(x) == std::nearbyint(x));
    CHECK(Integers<-4, 3>::nearest(x) == std::nearbyint(std::fmax(-4.0F, std::fmin(x, 3.0F))));
  }
  for (int x = -130; x <= 130; ++x) {
    float nearest = 1000.0F;
    for (const int8_t value : pensee::blocks::kIQ4Values) {
      if (std::fabs(value - x) < std::fabs(nearest - static_cast<float>(x))) nearest = value;
    }
    CHECK(Iq4Levels::nearest(static_cast<float>(x)) == nearest);
  }
}

TEST_CASE("a scale that fits exactly is found") {
  const std::vector<float> levels = {-8, 7, 3, 0, -1, 5, -7, 2};
  for (const float scale : {0.125F, -3.0F, 1e-5F}) {
    std::vector<float> x = levels;
    for (float& v : x) v *= scale;
    const float found = fit_scale<Integers<-8, 7>>(x.data(), 8);
    CHECK(found == doctest::Approx(scale).epsilon(1e-6));
    CHECK(scale_error<Integers<-8, 7>>(x.data(), 8, scale) == 0.0F);
  }
  const std::vector<float> zeros(8);
  CHECK(fit_scale<Integers<-8, 7>>(zeros.data(), 8) == 0.0F);
}

TEST_CASE("numbers too small for levels count as zeros") {
  std::vector<float> x(16, 0.0F);
  for (const float peak : {1e-45F, 1.2e-38F, 9e-38F, 1e-35F, 9e-31F}) {
    x[5] = peak;
    x[9] = -peak;
    CHECK(fit_scale<Integers<-32, 31>>(x.data(), 16) == 0.0F);
  }
  x[5] = 1e-15F;
  CHECK(fit_scale<Integers<-32, 31>>(x.data(), 16) != 0.0F);
}

TEST_CASE("a scale and minimum that fit exactly are found") {
  const std::vector<float> q = {0, 15, 3, 7, 12, 1, 9, 4};
  for (const auto& [scale, min] : {std::pair{0.5F, -2.0F}, {0.5F, 4.0F}, {2.0F, -40.0F}}) {
    std::vector<float> x = q;
    for (float& v : x) v = v * scale + min;
    const ScaleMin found = fit_scale_min<15>(x.data(), 8, 1e30F);
    CHECK(found.scale == doctest::Approx(scale).epsilon(1e-5));
    CHECK(found.min == doctest::Approx(min).epsilon(1e-5));
    CHECK(scale_min_error<15>(x.data(), 8, {scale, min}) == 0.0F);
    // Where minimums are magnitudes, they cannot be above zero.
    const ScaleMin below = fit_scale_min<15>(x.data(), 8, 0.0F);
    CHECK(below.min <= 0.0F);
    const float range = 15.0F * scale + std::fmax(min, 0.0F);
    CHECK(scale_min_error<15>(x.data(), 8, below) <=
          scale_min_error<15>(x.data(), 8, {range / 15.0F, std::fmin(min, 0.0F)}));
  }
  const std::vector<float> same(8, 2.5F);
  CHECK(fit_scale_min<15>(same.data(), 8, 1e30F).min == 2.5F);
}
