#include "pensee/model/transformer.hpp"

#include <doctest/doctest.h>

#include <string>

#include "pensee/io/checkpoint.hpp"
#include "pensee/model/read_config.hpp"

namespace pensee {
namespace {

TEST_CASE("a load can be cancelled, and a missing or misshapen tensor is named") {
  const std::string directory = std::string(PENSEE_TEST_DATA) + "/models/mla_yarn_f32";
  auto checkpoint = Checkpoint::open(directory);
  REQUIRE(checkpoint.ok());
  auto config = read_config(**checkpoint);
  REQUIRE(config.ok());
  auto cancelled =
      Transformer::load(*checkpoint, *config, {.progress = [](double) { return false; }});
  REQUIRE(!cancelled.ok());
  CHECK(cancelled.error().status == Status::kCancelled);

  Config more_layers = *config;
  more_layers.n_layers += 7;
  auto missing = Transformer::load(*checkpoint, more_layers, {});
  REQUIRE(!missing.ok());
  CHECK(missing.error().status == Status::kNotFound);
  CHECK(missing.error().message.find("model.layers.") != std::string::npos);

  Config wider = *config;
  wider.vocab_size += 1;
  auto misshapen = Transformer::load(*checkpoint, wider, {});
  REQUIRE(!misshapen.ok());
  CHECK(misshapen.error().status == Status::kCorruptFile);
  for (const char* part : {"model.safetensors", "model.embed_tokens.weight", "expected shape"}) {
    CAPTURE(part);
    CHECK(misshapen.error().message.find(part) != std::string::npos);
  }
}

}  // namespace
}  // namespace pensee
