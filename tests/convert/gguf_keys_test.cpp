#include "pensee/convert/gguf_keys.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <set>
#include <string>

#include "convert/pairs.hpp"
#include "io/files.hpp"
#include "pensee/io/gguf.hpp"
#include "pensee/model/config_gguf.hpp"
#include "pensee/model/read_config.hpp"

using pensee::Config;
using pensee::GgufFile;
using pensee::GgufHeader;

TEST_CASE(
    "a model's keys are those that the gguf package writes, and read back as the same model") {
  for (const pensee_test::Pair& pair : pensee_test::kPairs) {
    CAPTURE(pair.hf);
    const auto hf = pensee_test::open_hf(pair);
    const auto gguf = pensee_test::open_gguf(pair);
    const Config config = pensee::read_config(*hf).value();
    GgufHeader header;
    const auto set = pensee::set_architecture_keys(config, "config.json", pair.mtp, header);
    REQUIRE_MESSAGE(set.ok(), set.error().message);
    const std::string encoded = header.encode();
    const auto file = GgufFile::from_bytes(pensee_test::as_bytes(encoded), "new.gguf").value();

    const std::string prefix = std::string(pensee::gguf_architecture(config.family)) + ".";
    for (const pensee::GgufValue& value : gguf->gguf()->values()) {
      if (!value.key().starts_with(prefix)) continue;
      CAPTURE(value.key());
      const auto ours = file->metadata().find(value.key());
      REQUIRE(ours);
      CHECK(ours->type() == value.type());
      CHECK(ours->found() == value.found());
    }
    // With the other file's tensors, which tell the vocabulary's size.
    const auto again = pensee::config_from_gguf(file->metadata(), *gguf);
    REQUIRE_MESSAGE(again.ok(), again.error().message);
    const auto expected = config.fields();
    const auto found = again->fields();
    REQUIRE(found.size() == expected.size());
    const std::set<std::string> elsewhere = {"bos_token_id",
                                             "eos_token_id",
                                             "torch_dtype",
                                             "rope_scaling",
                                             "num_nextn_predict_layers",
                                             "routed_scaling_factor",
                                             "rms_norm_eps"};
    for (size_t i = 0; i < expected.size(); ++i) {
      CAPTURE(expected[i].first);
      CHECK(found[i].first == expected[i].first);
      if (!elsewhere.contains(expected[i].first)) CHECK(found[i].second == expected[i].second);
    }
    CHECK(static_cast<float>(again->rms_norm_eps) == static_cast<float>(config.rms_norm_eps));
    CHECK(static_cast<float>(again->routed_scaling_factor) ==
          static_cast<float>(config.routed_scaling_factor));
  }
}

TEST_CASE("YaRN that GGUF cannot tell is refused") {
  Config config =
      pensee::read_config(*pensee_test::open_checkpoint(PENSEE_TEST_DATA "/models/mla_yarn_f32"))
          .value();
  GgufHeader header;
  // This checkpoint has an mscale other than mscale_all_dim.
  const auto set = pensee::set_architecture_keys(config, "config.json", false, header);
  REQUIRE(!set.ok());
  CHECK(set.error().status == pensee::Status::kUnsupported);
  CHECK(set.error().message.find("config.json: rope_scaling: expected mscale and mscale_all_dim to "
                                 "be equal") == 0);
  config.rope_scaling->mscale = config.rope_scaling->mscale_all_dim;
  CHECK(pensee::set_architecture_keys(config, "config.json", false, header).ok());
}

TEST_CASE("YaRN's factors are written as what multiplies the formula") {
  Config config;
  config.family = pensee::ModelFamily::kQwen3;
  config.rope_scaling = pensee::RopeScaling{};
  config.rope_scaling->factor = 4.0;
  const auto written = [&]() -> std::optional<double> {
    GgufHeader header;
    REQUIRE(pensee::set_architecture_keys(config, "config.json", false, header).ok());
    const std::string encoded = header.encode();
    const auto file = GgufFile::from_bytes(pensee_test::as_bytes(encoded), "new.gguf").value();
    const auto value = file->metadata().find("qwen3.rope.scaling.attn_factor");
    if (!value) return std::nullopt;
    return value->as_double().value();
  };
  CHECK(!written());
  config.rope_scaling->attn_factor = 0.5;
  CHECK(written() == 0.5);
  config.rope_scaling->attention_factor = 1.25;
  CHECK(*written() == doctest::Approx(0.625 / pensee::yarn_mscale(4.0, 1.0)));
}
