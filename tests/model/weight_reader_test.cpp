#include "pensee/model/weight_reader.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "golden.hpp"
#include "io/files.hpp"
#include "io/gguf_bytes.hpp"
#include "pensee/model/read_config.hpp"

namespace pensee {
namespace {

// A copy of an FP8 golden checkpoint that a test can break.
class BreakableCheckpoint {
 public:
  BreakableCheckpoint() {
    const std::string source = std::string(PENSEE_TEST_DATA) + "/models/mla_yarn_fp8/";
    config_text_ = golden::read_file(source + "config.json");
    const std::string bytes = golden::read_file(source + "model.safetensors");
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof(length));
    header = nlohmann::json::parse(bytes.substr(8, length));
    data = bytes.substr(8 + length);
  }

  // Offset of a tensor's first byte in `data`.
  [[nodiscard]] size_t begin(const std::string& tensor) const {
    return header.at(tensor).at("data_offsets").at(0).get<size_t>();
  }

  // The message of loading what the test has made of it; empty when it loads.
  [[nodiscard]] std::string load() const {
    const std::string text = header.dump();
    std::string bytes(8, '\0');
    const uint64_t length = text.size();
    std::memcpy(bytes.data(), &length, sizeof(length));
    const pensee_test::TempDir directory;
    directory.write("model.safetensors", bytes + text + data);
    auto checkpoint = Checkpoint::open(directory.path());
    if (!checkpoint) return checkpoint.error().message;
    auto config = Config::from_json(config_text_, "config.json");
    REQUIRE(config.ok());
    auto weights = Weights::load(**checkpoint, *config, {});
    return weights ? "" : weights.error().message;
  }

  nlohmann::json header;
  std::string data;

 private:
  std::string config_text_;
};

void check_names(const std::string& message, std::initializer_list<const char*> parts) {
  CAPTURE(message);
  for (const char* part : parts) CHECK(message.find(part) != std::string::npos);
}

const char* const kProjection = "model.layers.0.self_attn.kv_b_proj.weight";
const char* const kScales = "model.layers.0.self_attn.kv_b_proj.weight_scale_inv";

TEST_CASE("an unbroken copy loads") {
  CHECK(BreakableCheckpoint().load().empty());
}

TEST_CASE("scales that are not finite are refused") {
  for (const float value : {NAN, INFINITY, -INFINITY}) {
    BreakableCheckpoint file;
    std::memcpy(file.data.data() + file.begin(kScales), &value, sizeof(value));
    check_names(file.load(), {"model.safetensors", kScales, "finite", "scale 0"});
  }
}

TEST_CASE("a norm that is not finite is refused") {
  BreakableCheckpoint file;
  const uint16_t nan = 0x7fc0;
  REQUIRE(file.header.at("model.norm.weight").at("dtype") == "BF16");
  std::memcpy(file.data.data() + file.begin("model.norm.weight") + 4, &nan, sizeof(nan));
  check_names(file.load(), {"model.safetensors", "model.norm.weight", "finite", "element 2"});
}

TEST_CASE("an FP8 matrix without scales is refused") {
  BreakableCheckpoint file;
  file.header["model.layers.0.unused"] = file.header.at(kScales);
  file.header.erase(kScales);
  check_names(file.load(), {kScales});
}

TEST_CASE("scales of another shape or type are refused") {
  BreakableCheckpoint transposed;
  auto& shape = transposed.header.at(kScales).at("shape");
  shape = {1, shape[0].get<int64_t>() * shape[1].get<int64_t>(), 1};
  check_names(transposed.load(), {kScales, "expected shape"});

  BreakableCheckpoint integers;
  integers.header.at(kScales).at("dtype") = "I32";
  check_names(integers.load(), {kScales, "expected dtype", "I32"});
}

TEST_CASE("scales may be of 16 bits") {
  BreakableCheckpoint file;
  auto& entry = file.header.at(kScales);
  const size_t begin = file.begin(kScales);
  const size_t end = entry.at("data_offsets").at(1).get<size_t>();
  const size_t middle = begin + (end - begin) / 2;
  for (size_t i = begin; i < middle; i += sizeof(uint16_t)) {
    const uint16_t one = 0x3f80;
    std::memcpy(file.data.data() + i, &one, sizeof(one));
  }
  entry.at("dtype") = "BF16";
  entry.at("data_offsets") = {begin, middle};
  file.header["unused"] = {
      {"dtype", "U8"}, {"shape", {end - middle}}, {"data_offsets", {middle, end}}};
  CHECK(file.load().empty());
  const uint16_t infinity = 0x7f80;
  std::memcpy(file.data.data() + begin, &infinity, sizeof(infinity));
  check_names(file.load(), {kScales, "finite", "scale 0"});
}

// The message of loading a llama of one layer from a GGUF file, with one more tensor.
std::string load_with(const std::string& extra) {
  using pensee_test::key;
  pensee_test::GgufParts parts;
  parts.keys = {
      key("general.architecture", "llama"),
      key("llama.block_count", 1U),
      key("llama.context_length", 16U),
      key("llama.embedding_length", 8U),
      key("llama.feed_forward_length", 8U),
      key("llama.attention.head_count", 1U),
      key("llama.attention.layer_norm_rms_epsilon", GgufType::kF32, pensee_test::raw(1e-5F))};
  uint64_t offset = 0;
  for (const std::string& name :
       {std::string("output_norm.weight"), std::string("blk.0.attn_norm.weight"),
        std::string("blk.0.ffn_norm.weight"), extra}) {
    if (name.empty()) continue;
    const bool is_rope = name == "rope_freqs.weight";
    const uint64_t size = is_rope ? 4 : 8;
    if (is_rope) offset = 128;  // whose bytes are negative numbers
    parts.tensors.push_back(pensee_test::tensor(name, {size}, 0, offset));
    offset += 32;
  }
  for (const char* name :
       {"token_embd", "blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v", "blk.0.attn_output",
        "blk.0.ffn_gate", "blk.0.ffn_up", "blk.0.ffn_down"}) {
    parts.tensors.push_back(pensee_test::tensor(std::string(name) + ".weight", {8, 8}, 0, offset));
    offset += 256;
  }
  parts.data_bytes = offset;
  const pensee_test::TempDir directory;
  directory.write("m.gguf", pensee_test::gguf(parts));
  const auto checkpoint = Checkpoint::open(directory.file("m.gguf"));
  REQUIRE_MESSAGE(checkpoint.ok(), checkpoint.error().message);
  const auto config = read_config(**checkpoint);
  REQUIRE_MESSAGE(config.ok(), config.error().message);
  const auto weights = Weights::load(**checkpoint, *config, {});
  return weights ? "" : weights.error().message;
}

TEST_CASE("a GGUF file whose layers have biases that nothing would add is refused") {
  CHECK(load_with("").empty());
  CHECK(load_with("blk.1.attn_q.bias").empty());  // no layer of the model
  CHECK(load_with("other.bias").empty());
  check_names(load_with("output.bias"), {"m.gguf", "output.bias", "architecture"});
  check_names(load_with("blk.0.attn_q.bias"), {"m.gguf", "blk.0.attn_q.bias", "architecture"});
  check_names(load_with("output\x1b[2J\n.bias"), {"tensor output?[2J?.bias: a bias"});
  CHECK(load_with("output" + std::string(5000, 'x') + ".bias").size() < 500);
}

TEST_CASE("divisors of rotary speeds that are not above zero are refused") {
  check_names(load_with("rope_freqs.weight"),
              {"m.gguf", "rope_freqs.weight", "expected values above 0, found element 0 is -"});
}

TEST_CASE("matrices of all heads may lie in two dimensions or in three") {
  const auto load = [](const std::vector<uint64_t>& dims, Matrix& out) {
    const std::string file =
        pensee_test::gguf({{pensee_test::key("general.architecture", "llama")},
                           {pensee_test::tensor("token_embd.weight", dims, 0, 0)},
                           96});
    const std::vector<NamedBuffer> buffers = {{"m.gguf", pensee_test::as_bytes(file)}};
    const auto checkpoint = Checkpoint::open_buffers(buffers).value();
    Weights weights;
    return WeightReader(*checkpoint, weights).stack("model.embed_tokens.weight", 2, 3, 4, out);
  };
  for (const std::vector<uint64_t>& dims : {std::vector<uint64_t>{4, 3, 2}, {4, 6}}) {
    Matrix found;
    const auto loaded = load(dims, found);
    REQUIRE_MESSAGE(loaded.ok(), loaded.error().message);
    CHECK(found.rows == 6);
    CHECK(found.cols == 4);
  }
  Matrix none;
  check_names(load({6, 4}, none).error().message, {"expected shape (2, 3, 4), found (4, 6)"});
}

TEST_CASE("gates and ups of all experts may lie in one tensor") {
  using pensee_test::tensor;
  constexpr uint64_t kHidden = 8;
  constexpr uint64_t kSize = 4;
  constexpr uint64_t kExperts = 3;
  const auto load = [&](uint64_t rows_each, MoeWeights& out) {
    const std::string file = pensee_test::gguf(
        {{pensee_test::key("general.architecture", "llama")},
         {tensor("blk.0.ffn_gate_inp.weight", {kHidden, kExperts}, 0, 0),
          tensor("blk.0.ffn_gate_up_exps.weight", {kHidden, rows_each, kExperts}, 0, 96),
          tensor("blk.0.ffn_down_exps.weight", {kSize, kHidden, kExperts}, 0, 96 + 768)},
         96 + 768 + 384});
    const std::vector<NamedBuffer> buffers = {{"m.gguf", pensee_test::as_bytes(file)}};
    const auto checkpoint = Checkpoint::open_buffers(buffers).value();
    Config config;
    config.hidden_size = kHidden;
    config.moe_intermediate_size = kSize;
    config.n_routed_experts = kExperts;
    config.topk_method = TopkMethod::kGreedy;
    config.n_shared_experts = 0;
    Weights weights;
    WeightReader reader(*checkpoint, weights);
    reader.enter_layer(0);
    const auto loaded = reader.moe(config, out);
    const TensorView* both = checkpoint->find("blk.0.ffn_gate_up_exps.weight");
    for (size_t e = 0; e < kExperts && loaded.ok(); ++e) {
      const FfnWeights& expert = out.experts[e];
      const auto* first = reinterpret_cast<const float*>(both->data) + e * 2 * kSize * kHidden;
      CHECK(expert.gate_proj.data == first);
      CHECK(expert.up_proj.data == first + kSize * kHidden);
      CHECK(expert.gate_proj.rows == kSize);
      CHECK(expert.up_proj.rows == kSize);
    }
    return loaded;
  };
  MoeWeights out;
  const auto loaded = load(2 * kSize, out);
  CHECK_MESSAGE(loaded.ok(), loaded.error().message);
  check_names(load(kSize, out).error().message,
              {"ffn_gate_up_exps", "expected shape (3, 8, 8), found (3, 4, 8)"});
}

TEST_CASE("the layer of multi-token prediction is there if its weights are") {
  const std::string models = PENSEE_TEST_DATA "/models/";
  const auto has = [&](const std::string& name, int64_t promised) {
    const auto checkpoint = Checkpoint::open(models + name).value();
    Config config = read_config(*checkpoint).value();
    config.num_nextn_predict_layers = promised;
    return has_mtp_layer(*checkpoint, config);
  };
  CHECK(has("v3_mtp_bf16", 1));
  CHECK(has("gguf/v3_nextn.gguf", 1));
  CHECK_FALSE(has("v3_mtp_bf16", 0));
  CHECK_FALSE(has("gguf/v3_merged_kv_b.gguf", 1));
}

TEST_CASE("matrices of another shape or type are refused") {
  BreakableCheckpoint transposed;
  auto& shape = transposed.header.at(kProjection).at("shape");
  std::swap(shape[0], shape[1]);
  check_names(transposed.load(), {kProjection, "expected shape", "found"});

  BreakableCheckpoint bytes;
  bytes.header.at(kProjection).at("dtype") = "U8";
  check_names(bytes.load(), {kProjection, "expected dtype", "U8"});
}

}  // namespace
}  // namespace pensee
