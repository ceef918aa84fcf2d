#include "pensee/model/rope.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <complex>
#include <string>
#include <vector>

#include "golden.hpp"
#include "pensee/model/config_json.hpp"

namespace pensee {
namespace {

Config rope_config(const nlohmann::json& c) {
  Config config;
  config.qk_nope_head_dim = c.at("qk_nope_head_dim").get<int64_t>();
  config.qk_rope_head_dim = c.at("qk_rope_head_dim").get<int64_t>();
  config.rope_theta = c.at("rope_theta").get<double>();
  if (!c.at("rope_scaling").is_null()) {
    const auto& yarn = c.at("rope_scaling");
    config.rope_scaling = RopeScaling{};
    config.rope_scaling->factor = yarn.at("factor").get<double>();
    config.rope_scaling->beta_fast = yarn.at("beta_fast").get<double>();
    config.rope_scaling->beta_slow = yarn.at("beta_slow").get<double>();
    config.rope_scaling->mscale = yarn.value("mscale", 0.0);
    config.rope_scaling->mscale_all_dim = yarn.value("mscale_all_dim", 0.0);
    config.rope_scaling->original_max_position_embeddings =
        yarn.at("original_max_position_embeddings").get<int64_t>();
  }
  return config;
}

TEST_CASE("rotation speeds and factors equal transformers', with YaRN and without") {
  const auto file = golden::read_json(std::string(PENSEE_TEST_DATA) + "/models/parts/yarn.json");
  REQUIRE(file.at("cases").size() >= 4);
  for (const auto& c : file.at("cases")) {
    CAPTURE(c.at("name").get<std::string>());
    const Config config = rope_config(c);
    const RotaryTable table = RotaryTable::create(config);
    const auto inv_freq = c.at("inv_freq").get<std::vector<float>>();
    REQUIRE(table.inv_freq.size() == inv_freq.size());
    for (size_t i = 0; i < inv_freq.size(); ++i) {
      CHECK(table.inv_freq[i] == doctest::Approx(inv_freq[i]).epsilon(1e-6));
    }
    CHECK(table.attention_factor ==
          doctest::Approx(c.at("attention_factor").get<double>()).epsilon(1e-6));
    CHECK(softmax_scale(config) ==
          doctest::Approx(c.at("softmax_scale").get<double>()).epsilon(1e-6));
  }
}

TEST_CASE("so do those of the other families, of the sizes of their checkpoints") {
  const auto file = golden::read_json(std::string(PENSEE_TEST_DATA) + "/models/parts/angles.json");
  REQUIRE(file.at("cases").size() >= 6);
  int scaled_back = 0;
  for (const auto& c : file.at("cases")) {
    CAPTURE(c.at("name").get<std::string>());
    Config config;
    config.family = ModelFamily::kQwen3;
    config.head_dim = c.at("head_dim").get<int64_t>();
    config.rope_theta = c.at("rope_theta").get<double>();
    REQUIRE(config_detail::read_rope(JsonView(c, "config.json"), config).ok());
    const RotaryTable table = RotaryTable::create(config);
    const auto inv_freq = c.at("inv_freq").get<std::vector<float>>();
    REQUIRE(table.inv_freq.size() == inv_freq.size());
    for (size_t i = 0; i < inv_freq.size(); ++i) {
      CHECK(table.inv_freq[i] == doctest::Approx(inv_freq[i]).epsilon(1e-6));
    }
    double factor = c.at("attention_factor").get<double>();
    const auto& scaling = c.at("rope_scaling");
    if (!scaling.is_null() && scaling.contains("attn_factor")) {
      factor = 1.0;  // what vLLM and SGLang make of it
      ++scaled_back;
    }
    CHECK(table.attention_factor == doctest::Approx(factor).epsilon(1e-6));
  }
  CHECK(scaled_back == 1);
}

TEST_CASE("neighbouring numbers turn as one complex number") {
  RotaryTable table;
  table.inv_freq = {1.0F, 0.25F};
  table.attention_factor = 2.0F;
  std::vector<float> angles(4);
  table.angles(3, angles.data());
  std::vector<float> x{0.5F, -1.0F, 2.0F, 0.25F};
  const std::vector<float> before = x;
  table.rotate(angles.data(), x.data());
  for (size_t i = 0; i < 2; ++i) {
    const std::complex<float> turned = std::complex<float>(before[2 * i], before[2 * i + 1]) *
                                       std::polar(2.0F, 3.0F * table.inv_freq[i]);
    CHECK(x[2 * i] == doctest::Approx(turned.real()));
    CHECK(x[2 * i + 1] == doctest::Approx(turned.imag()));
  }
}

}  // namespace
}  // namespace pensee
