// Every family against transformers: the checkpoints of tests/golden/models/index.json.
#include <doctest/doctest.h>

#include <set>
#include <string>

#include "forward.hpp"
#include "golden.hpp"

namespace pensee {
namespace {

TEST_CASE("every golden checkpoint gives the logits and greedy tokens of transformers") {
  std::set<std::string> model_types;
  for (const golden::IndexRow& row : golden::read_index(PENSEE_TEST_DATA "/models")) {
    CAPTURE(row.name);
    model_types.insert(row.model_type);
    const auto expected = golden::read_model(row.expected);
    for (const KernelTable* kernels : exact_kernels()) {
      CAPTURE(std::string(kernels->name));
      const auto model = load_transformer(row.checkpoint, *kernels, 2);
      CHECK(model->config().model_type == row.model_type);
      for (const int64_t chunk : {512, 5}) {
        const auto logits =
            prompt_logits(model, expected.tokens(), {.chunk = chunk, .cache_type = kExact});
        CHECK(mean_kl(expected, logits) <= kKlTolerance);
        // Against blocks, activations have eight bits.
        if (row.stored == "blocks") continue;
        CHECK(golden::max_difference(expected.logits.values, logits) <= kLogitTolerance);
      }
      check_greedy(model, expected);
    }
  }
  CHECK(model_types.size() == 6);
}

}  // namespace
}  // namespace pensee
