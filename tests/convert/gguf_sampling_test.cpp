#include "pensee/convert/gguf_sampling.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "io/files.hpp"
#include "pensee/io/gguf.hpp"

using pensee::Checkpoint;
using pensee::GgufFile;
using pensee::GgufHeader;
using pensee::NamedBuffer;
using pensee_test::as_bytes;

TEST_CASE("settings are the same by way of GGUF, and none stay none") {
  const std::string weights = pensee_test::safetensors("{}", 0);
  for (const std::string json :
       {R"({"temperature": 0.7, "top_p": 0.8, "top_k": -1, "min_p": 0.05})",
        R"({"repetition_penalty": 1.05, "top_k": 20, "do_sample": false})", "{}"}) {
    CAPTURE(json);
    const std::vector<NamedBuffer> files = {{"model.safetensors", as_bytes(weights)},
                                            {"generation_config.json", as_bytes(json)}};
    const auto source = Checkpoint::open_buffers(files).value();
    GgufHeader header;
    REQUIRE(pensee::set_sampling_keys(*source, header).ok());
    const std::string encoded = header.encode();
    const NamedBuffer file{"new.gguf", as_bytes(encoded)};
    const auto written = Checkpoint::open_buffers({&file, 1}).value();
    const auto expected = pensee::read_generation_config(*source).value().sampler;
    const auto found = pensee::read_generation_config(*written).value().sampler;
#define PENSEE_X(name, key, gguf_key) CHECK(found.name == expected.name);
    PENSEE_SAMPLING_ADVICE(PENSEE_X)
#undef PENSEE_X
  }
}

TEST_CASE("a broken generation_config.json is not converted") {
  const std::string weights = pensee_test::safetensors("{}", 0);
  const std::string json = R"({"temperature": "hot"})";
  const std::vector<NamedBuffer> files = {{"model.safetensors", as_bytes(weights)},
                                          {"generation_config.json", as_bytes(json)}};
  GgufHeader header;
  const auto set = pensee::set_sampling_keys(*Checkpoint::open_buffers(files).value(), header);
  REQUIRE(!set.ok());
  CHECK(set.error().message.find("generation_config.json: temperature: expected") == 0);
}
