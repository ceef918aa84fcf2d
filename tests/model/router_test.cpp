#include "pensee/model/router.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "golden.hpp"

namespace pensee {
namespace {

Config router_config(const nlohmann::json& c) {
  Config config;
  const auto method = c.value("topk_method", std::string("noaux_tc"));
  for (const TopkMethod known :
       {TopkMethod::kNoauxTc, TopkMethod::kGreedy, TopkMethod::kGroupLimitedGreedy}) {
    if (method == config_detail::name_of(known)) config.topk_method = known;
  }
  config.n_routed_experts = c.at("n_routed_experts").get<int64_t>();
  config.n_group = c.at("n_group").get<int64_t>();
  config.topk_group = c.at("topk_group").get<int64_t>();
  config.num_experts_per_tok = c.at("num_experts_per_tok").get<int64_t>();
  config.norm_topk_prob = c.at("norm_topk_prob").get<bool>();
  config.routed_scaling_factor = c.at("routed_scaling_factor").get<double>();
  return config;
}

struct Routed {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Routed route(const Config& config, const std::vector<float>& bias, std::vector<float> logits) {
  std::vector<float> choice(logits.size());
  std::vector<float> groups(static_cast<size_t>(config.n_group));
  Routed out;
  out.experts.resize(static_cast<size_t>(config.num_experts_per_tok));
  out.weights.resize(out.experts.size());
  route_token(config, bias.data(), logits.data(), {choice.data(), groups.data()},
              out.experts.data(), out.weights.data());
  return out;
}

// The cases of a file of tests/golden/models/parts. Without a bias in it, none is given.
void check_cases(const std::string& name, size_t least_cases) {
  const auto file = golden::read_json(std::string(PENSEE_TEST_DATA) + "/models/parts/" + name);
  REQUIRE(file.at("cases").size() >= least_cases);
  for (const auto& c : file.at("cases")) {
    const Config config = router_config(c);
    const auto n_experts = static_cast<size_t>(config.n_routed_experts);
    const auto hidden = c.at("hidden_size").get<size_t>();
    const auto weight = c.at("weight").get<std::vector<float>>();  // (n_routed_experts, hidden)
    const auto bias = c.value("e_score_correction_bias", std::vector<float>(n_experts, 0.0F));
    const auto x = c.at("x").get<std::vector<float>>();  // (tokens, hidden)
    const auto experts = c.at("experts").get<std::vector<int32_t>>();
    const auto weights = c.at("weights").get<std::vector<float>>();
    const auto k = static_cast<size_t>(config.num_experts_per_tok);
    for (size_t token = 0; token < c.at("tokens").get<size_t>(); ++token) {
      std::vector<float> logits(n_experts, 0.0F);
      for (size_t e = 0; e < n_experts; ++e) {
        for (size_t d = 0; d < hidden; ++d) {
          logits[e] += x[token * hidden + d] * weight[e * hidden + d];
        }
      }
      const Routed found = route(config, bias, logits);
      std::map<int32_t, float> by_expert;  // the golden lists experts in ascending order
      for (size_t i = 0; i < k; ++i) by_expert[found.experts[i]] = found.weights[i];
      REQUIRE(by_expert.size() == k);
      size_t i = token * k;
      for (const auto& [expert, value] : by_expert) {
        CHECK(expert == experts[i]);
        CHECK(value == doctest::Approx(weights[i]).epsilon(1e-5));
        ++i;
      }
    }
  }
}

TEST_CASE("experts and weights equal transformers', of sigmoids and of the softmax") {
  check_cases("router.json", 3);
  check_cases("softmax_router.json", 4);
}

TEST_CASE("broken logits choose different experts inside the table") {
  Config config;
  config.n_routed_experts = 8;
  config.n_group = 4;
  config.topk_group = 2;
  config.num_experts_per_tok = 4;
  const std::vector<float> bias(8, 0.0F);
  for (const float value : {NAN, INFINITY, -INFINITY}) {
    for (const size_t whole : {0U, 2U, 5U, 8U}) {
      std::vector<float> logits(9, value);
      logits[whole] = 1.0F;
      logits.resize(8);
      const Routed found = route(config, bias, logits);
      const std::set<int32_t> experts(found.experts.begin(), found.experts.end());
      CHECK(experts.size() == 4);
      CHECK(*experts.begin() >= 0);
      CHECK(*experts.rbegin() < 8);
    }
  }
}

TEST_CASE("of equal scores the first are taken, so that routing is deterministic") {
  Config config;
  config.n_routed_experts = 8;
  config.n_group = 4;
  config.topk_group = 2;
  config.num_experts_per_tok = 3;
  config.norm_topk_prob = true;
  config.routed_scaling_factor = 3.0;
  const Routed found = route(config, std::vector<float>(8, 0.0F), std::vector<float>(8, 0.5F));
  CHECK(found.experts == std::vector<int32_t>{0, 1, 2});
  for (const float weight : found.weights) CHECK(weight == doctest::Approx(1.0F));
}

}  // namespace
}  // namespace pensee
