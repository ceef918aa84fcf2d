#include "pensee/model/interleaved_weights.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "pensee/io/gguf_header.hpp"
#include "pensee/io/gguf_writer.hpp"
#include "pensee/io/quantize.hpp"
#include "pensee/kernels/dispatch.hpp"
#include "pensee/model/read_config.hpp"
#include "pensee/model/sequence.hpp"
#include "pensee/model/transformer.hpp"

namespace pensee::interleaved_test {
namespace {

using pensee_test::TempDir;

constexpr int64_t kHidden = 256;
constexpr int64_t kVocab = 64;

// A model of latent attention with a dense layer and one of eight experts, whose matrices have rows
// that may be interleaved but for the keys and values of its heads.
std::string write_model(const TempDir& dir, const std::string& name, DType type, uint32_t seed) {
  GgufHeader h;
  h.set("general.architecture", "deepseek2");
  h.set("tokenizer.ggml.model", "no_vocab");
  const std::pair<const char*, uint32_t> keys[] = {{"block_count", 2},
                                                   {"context_length", 256},
                                                   {"embedding_length", kHidden},
                                                   {"feed_forward_length", 512},
                                                   {"attention.head_count", 4},
                                                   {"attention.q_lora_rank", 256},
                                                   {"attention.kv_lora_rank", 256},
                                                   {"attention.key_length", 96},
                                                   {"attention.value_length", 64},
                                                   {"rope.dimension_count", 32},
                                                   {"leading_dense_block_count", 1},
                                                   {"expert_gating_func", 2},
                                                   {"expert_count", 8},
                                                   {"expert_used_count", 2},
                                                   {"expert_shared_count", 1},
                                                   {"expert_feed_forward_length", 256}};
  for (const auto& [key, value] : keys) h.set("deepseek2." + std::string(key), value);
  h.set("deepseek2.attention.layer_norm_rms_epsilon", 1e-6F);
  h.set("deepseek2.rope.freq_base", 10000.0F);
  h.set("deepseek2.expert_weights_norm", true);
  const auto add = [&](const std::string& tensor, DType dtype,
                       std::initializer_list<int64_t> dims) {
    Shape shape;
    for (const int64_t dim : dims) shape.dims[static_cast<size_t>(shape.rank++)] = dim;
    REQUIRE(h.add_tensor(tensor, dtype, shape).ok());
  };
  add("token_embd.weight", type, {kVocab, kHidden});
  add("output.weight", type, {kVocab, kHidden});
  add("output_norm.weight", DType::kF32, {kHidden});
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    add(layer + "attn_norm.weight", DType::kF32, {kHidden});
    add(layer + "ffn_norm.weight", DType::kF32, {kHidden});
    add(layer + "attn_q_a.weight", type, {256, kHidden});
    add(layer + "attn_q_a_norm.weight", DType::kF32, {256});
    add(layer + "attn_q_b.weight", type, {4 * 96, 256});
    add(layer + "attn_kv_a_mqa.weight", type, {256 + 32, kHidden});
    add(layer + "attn_kv_a_norm.weight", DType::kF32, {256});
    add(layer + "attn_kv_b.weight", type, {4 * 128, 256});
    add(layer + "attn_output.weight", type, {kHidden, 256});
  }
  add("blk.0.ffn_gate.weight", type, {512, kHidden});
  add("blk.0.ffn_up.weight", type, {512, kHidden});
  add("blk.0.ffn_down.weight", type, {kHidden, 512});
  add("blk.1.ffn_gate_inp.weight", DType::kF32, {8, kHidden});
  add("blk.1.exp_probs_b.bias", DType::kF32, {8});
  add("blk.1.ffn_gate_exps.weight", type, {8, 256, kHidden});
  add("blk.1.ffn_up_exps.weight", type, {8, 256, kHidden});
  add("blk.1.ffn_down_exps.weight", type, {8, kHidden, 256});
  add("blk.1.ffn_gate_shexp.weight", type, {256, kHidden});
  add("blk.1.ffn_up_shexp.weight", type, {256, kHidden});
  add("blk.1.ffn_down_shexp.weight", type, {kHidden, 256});

  auto writer = GgufWriter::create(dir.file(name), std::move(h));
  REQUIRE(writer.ok());
  std::mt19937 random(seed);
  for (const GgufHeader::Tensor& tensor : writer->header().tensors()) {
    std::normal_distribution<float> normal(tensor.name.ends_with("norm.weight") ? 1.0F : 0.0F,
                                           0.1F);
    std::vector<std::byte> bytes(tensor.bytes);
    const int64_t cols = tensor.shape[tensor.shape.rank - 1];
    const auto row_bytes = static_cast<size_t>(dtype_row_bytes(tensor.dtype, cols));
    std::vector<float> row(static_cast<size_t>(cols));
    for (size_t at = 0; at < bytes.size(); at += row_bytes) {
      for (float& x : row) x = normal(random);
      quantize_row(tensor.dtype, row.data(), cols, bytes.data() + at);
    }
    REQUIRE(writer->write(bytes).ok());
  }
  REQUIRE(writer->finish().ok());
  return dir.file(name);
}

Result<std::shared_ptr<const Transformer>> load(const std::string& path,
                                                const TransformerOptions& options) {
  auto checkpoint = Checkpoint::open(path);
  REQUIRE_MESSAGE(checkpoint.ok(), checkpoint.error().message);
  auto config = read_config(**checkpoint);
  REQUIRE_MESSAGE(config.ok(), config.error().message);
  return Transformer::load(std::move(*checkpoint), std::move(*config), options);
}

TransformerOptions options_of(const std::string& directory) {
  TransformerOptions options;
  options.kernels = &best_kernels();
  options.threads = 2;
  options.repack_dir = directory;
  return options;
}

// Logits of all tokens of prompts that take every way through the products.
std::vector<float> logits_of(const std::string& path, const TransformerOptions& options) {
  const auto model = load(path, options);
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  CHECK(
      ((*model)->interleaved() != nullptr) ==
      (!options.repack_dir.empty() && options.kernels->dot_tiles_q8[KernelType::kQ8_0] != nullptr));
  std::vector<float> logits;
  for (const int64_t n : {1, 2, 5, 20, 100}) {
    auto sequence = Sequence::create(*model, {});
    REQUIRE(sequence.ok());
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(i * 29 % kVocab));
    const auto read =
        sequence->prefill_with_logits(ids, [&](int64_t, int64_t, std::span<const float> rows) {
          logits.insert(logits.end(), rows.begin(), rows.end());
        });
    REQUIRE(read.ok());
  }
  return logits;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<std::string> files_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().string());
  }
  return names;
}

bool has_tiles() {
  return best_kernels().dot_tiles_q8[KernelType::kQ8_0] != nullptr;
}

}  // namespace

TEST_CASE("interleaved weights change no bit, are made once and found again") {
  const TempDir dir;
  const std::string copies = dir.file("some/copies");
  size_t count = 0;
  for (const DType type : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ6_K}) {
    CAPTURE(dtype_name(type));
    const std::string path = write_model(dir, "model.gguf", type, static_cast<uint32_t>(type));
    const std::vector<float> expected = logits_of(path, options_of(""));
    CHECK(same_bits(logits_of(path, options_of(copies)), expected));
    if (!has_tiles()) {
      CHECK(!std::filesystem::exists(copies));
      continue;
    }
    CHECK(files_in(copies).size() == ++count);
    // The second load makes nothing: it works where nothing can be made.
    std::string unwritten = dir.file("found");
    std::filesystem::rename(copies, unwritten);
    std::filesystem::permissions(
        unwritten, std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
    const auto before = files_in(unwritten);
    TransformerOptions found = options_of(unwritten);
    found.read_ahead = true;
    found.progress = [](double) { return true; };
    CHECK(same_bits(logits_of(path, found), expected));
    CHECK(files_in(unwritten) == before);
    std::filesystem::permissions(unwritten, std::filesystem::perms::owner_all);
    std::filesystem::rename(unwritten, copies);
  }
}

TEST_CASE("a damaged copy of weights is made anew, and another model gets its own") {
  if (!has_tiles()) return;
  const TempDir dir;
  const std::string copies = dir.file("copies");
  const std::string path = write_model(dir, "a.gguf", DType::kQ4_K, 1);
  const std::vector<float> expected = logits_of(path, options_of(copies));
  const std::string copy = files_in(copies).front();
  const std::string whole = pensee_test::read_file(copy);
  for (const std::string& damaged :
       {std::string(), whole.substr(0, 10), whole.substr(0, whole.size() - 1), whole + "x",
        "X" + whole.substr(1), whole.substr(0, 9) + "\x7f" + whole.substr(10)}) {
    dir.write("copies/" + std::filesystem::path(copy).filename().string(), damaged);
    CHECK(same_bits(logits_of(path, options_of(copies)), expected));
    CHECK(pensee_test::read_file(copy) == whole);
  }
  CHECK(!same_bits(logits_of(write_model(dir, "b.gguf", DType::kQ4_K, 2), options_of(copies)),
                   expected));
  CHECK(files_in(copies).size() == 2);
  // A file that was written anew gets a new one, even if it looks the same.
  std::filesystem::last_write_time(
      path, std::filesystem::last_write_time(path) + std::chrono::seconds(1));
  CHECK(same_bits(logits_of(path, options_of(copies)), expected));
  CHECK(files_in(copies).size() == 3);
}

TEST_CASE("what keeps weights from being interleaved is told, and leaves nothing") {
  if (!has_tiles()) return;
  const TempDir dir;
  const std::string path = write_model(dir, "model.gguf", DType::kQ8_0, 3);
  const std::string file = dir.write("file", "text");
  const auto refused = load(path, options_of(file + "/copies"));
  REQUIRE(!refused.ok());
  CHECK(refused.error().message.find(file) != std::string::npos);

  size_t calls = 0;
  TransformerOptions cancelled = options_of(dir.file("elsewhere"));
  cancelled.progress = [&](double /*done*/) {
    ++calls;
    return true;
  };
  REQUIRE(load(path, cancelled).ok());
  // The first call comes before the matrices are known, the last one while they are written.
  cancelled.repack_dir = dir.file("copies");
  for (const size_t last : {size_t{1}, calls}) {
    calls = 0;
    cancelled.progress = [&](double /*done*/) { return ++calls != last; };
    const auto model = load(path, cancelled);
    REQUIRE(!model.ok());
    CHECK(model.error().status == Status::kCancelled);
    CHECK((!std::filesystem::exists(dir.file("copies")) || files_in(dir.file("copies")).empty()));
  }
  std::vector<double> seen;
  TransformerOptions both = options_of(dir.file("copies"));
  both.read_ahead = true;
  both.progress = [&](double done) {
    seen.push_back(done);
    return true;
  };
  REQUIRE(load(path, both).ok());
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  CHECK(seen.back() <= 1.0);
  CHECK(seen.back() >= 0.5);
}

}  // namespace pensee::interleaved_test
