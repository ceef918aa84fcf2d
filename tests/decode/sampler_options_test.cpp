#include "pensee/decode/sampler_options.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

namespace pensee {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST_CASE("options out of range are named") {
  const auto message = [](SamplerOptions options) {
    const auto checked = validate(options);
    REQUIRE(!checked.ok());
    CHECK(checked.error().status == Status::kInvalidArgument);
    return checked.error().message.substr(0, checked.error().message.find(':'));
  };
  const float nan = std::nanf("");
  CHECK(message({.temperature = -0.1F}) == "temperature");
  CHECK(message({.temperature = kInfinity}) == "temperature");
  CHECK(message({.temperature = nan}) == "temperature");
  CHECK(message({.top_k = -1}) == "top_k");
  CHECK(message({.top_p = 0}) == "top_p");
  CHECK(message({.top_p = 1.01F}) == "top_p");
  CHECK(message({.top_p = nan}) == "top_p");
  CHECK(message({.min_p = -0.1F}) == "min_p");
  CHECK(message({.min_p = 1.1F}) == "min_p");
  CHECK(message({.repetition_penalty = 0}) == "repetition_penalty");
  CHECK(message({.repetition_penalty = kInfinity}) == "repetition_penalty");
  CHECK(message({.presence_penalty = 2.1F}) == "presence_penalty");
  CHECK(message({.presence_penalty = nan}) == "presence_penalty");
  CHECK(message({.frequency_penalty = -2.1F}) == "frequency_penalty");
}

TEST_CASE("overrides replace what they set") {
  const SamplerOptions base{.temperature = 0.6F, .top_p = 0.95F, .seed = 3};
  CHECK(SamplerOverrides{}.over(base) == base);
  const SamplerOptions merged = SamplerOverrides{.temperature = 0.0F, .top_k = 7}.over(base);
  CHECK(merged == SamplerOptions{.temperature = 0, .top_k = 7, .top_p = 0.95F, .seed = 3});
}

}  // namespace
}  // namespace pensee
