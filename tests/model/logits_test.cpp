#include "pensee/model/logits.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>
#include <xtensor/xview.hpp>

#include "forward.hpp"
#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"

namespace pensee {
namespace {

TEST_CASE("every row belongs to its token") {
  const auto expected =
      golden::read_model(std::string(PENSEE_TEST_DATA) + "/models/plain_rope_f32");
  const auto model = load_transformer(expected.directory, best_kernels(), 1);
  const std::vector<int32_t> tokens = expected.tokens();
  const auto logits = logits_of(model, tokens, {.chunk = 7, .cache_type = kExact});
  REQUIRE_MESSAGE(logits.ok(), logits.error().message);
  REQUIRE(logits->shape(0) == tokens.size());
  REQUIRE(logits->shape(1) == static_cast<size_t>(expected.vocab_size()));
  for (size_t i = 0; i < tokens.size(); ++i) {
    CAPTURE(i);
    const auto row = xt::view(*logits, i, xt::all());
    const std::vector<float> values(row.begin(), row.end());
    CHECK(golden::max_difference(expected.logits.row(static_cast<int64_t>(i)), values) <= 1e-3F);
  }
}

TEST_CASE("texts that the model cannot take are refused") {
  const auto model =
      load_transformer(std::string(PENSEE_TEST_DATA) + "/models/dense_only_f32", best_kernels(), 1);
  const auto vocab = static_cast<int32_t>(model->config().vocab_size);
  const auto longest = static_cast<size_t>(model->config().max_position_embeddings);
  for (const std::vector<int32_t>& tokens :
       {std::vector<int32_t>{}, std::vector<int32_t>{0, vocab}, std::vector<int32_t>{-1},
        std::vector<int32_t>(longest + 1, 1)}) {
    CAPTURE(tokens.size());
    const auto logits = logits_of(model, tokens);
    REQUIRE_FALSE(logits.ok());
    CHECK(logits.error().status == Status::kInvalidArgument);
  }
}

}  // namespace
}  // namespace pensee
