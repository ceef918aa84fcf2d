#include "pensee/convert/quantize_file.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "convert/pairs.hpp"
#include "io/files.hpp"
#include "io/gguf_bytes.hpp"
#include "pensee/model/sequence.hpp"

using pensee::Checkpoint;
using pensee::DType;
using pensee::GgufWriter;
using pensee::QuantizeOptions;
using pensee::Status;
using pensee_test::TempDir;

namespace {

QuantizeOptions to(DType type) {
  QuantizeOptions options;
  options.types = pensee::TypeChoice(type);
  options.threads = 2;
  return options;
}

void quantize(const std::string& from, const std::string& path, const QuantizeOptions& options) {
  const auto done = pensee::quantize_file(*pensee_test::open_checkpoint(from), path, options);
  REQUIRE_MESSAGE(done.ok(), done.error().message);
  CHECK(done->bytes == std::filesystem::file_size(path));
  CHECK(!std::filesystem::exists(GgufWriter::part_path(path)));
}

// Logits of a prompt's last position.
std::vector<float> logits_of(const std::string& path) {
  auto checkpoint = pensee_test::open_checkpoint(path);
  auto config = pensee::read_config(*checkpoint);
  REQUIRE_MESSAGE(config.ok(), config.error().message);
  const auto vocab = static_cast<int32_t>(config->vocab_size);
  pensee::TransformerOptions options;
  options.kernels = &pensee::reference_kernels();
  options.threads = 1;
  const auto model = pensee::Transformer::load(std::move(checkpoint), std::move(*config), options);
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  pensee::SequenceOptions sequence_options;
  sequence_options.context_length = 16;
  auto sequence = pensee::Sequence::create(*model, sequence_options);
  REQUIRE_MESSAGE(sequence.ok(), sequence.error().message);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 12; ++i) ids.push_back(i * 7 % vocab);
  std::vector<float> logits;
  const auto read = sequence->prefill_with_logits(
      ids,
      [&](int64_t, int64_t, std::span<const float> row) { logits.assign(row.begin(), row.end()); });
  REQUIRE_MESSAGE(read.ok(), read.error().message);
  return logits;
}

// Kullback–Leibler divergence of b from a, in nats.
double divergence(const std::vector<float>& a, const std::vector<float>& b) {
  const auto log_sum = [](const std::vector<float>& x) {
    double sum = 0;
    for (const float v : x) sum += std::exp(static_cast<double>(v));
    return std::log(sum);
  };
  REQUIRE(a.size() == b.size());
  const double of_a = log_sum(a);
  const double of_b = log_sum(b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double p = static_cast<double>(a[i]) - of_a;
    sum += std::exp(p) * (p - (static_cast<double>(b[i]) - of_b));
  }
  return sum;
}

}  // namespace

TEST_CASE("a converted model computes what the original does, of every family") {
  const TempDir dir;
  for (const pensee_test::Pair& pair : pensee_test::kPairs) {
    CAPTURE(pair.hf);
    const std::string from = std::string(PENSEE_TEST_DATA "/models/") + pair.hf;
    const std::string path = dir.file("m.gguf");
    QuantizeOptions options = to(DType::kF32);
    options.mtp = pair.mtp;
    quantize(from, path, options);
    CHECK(divergence(logits_of(from), logits_of(path)) < 1e-9);
  }
}

TEST_CASE("FP8 becomes blocks, and blocks other blocks") {
  const TempDir dir;
  const std::string from = PENSEE_TINY_R1;
  const std::string q8 = dir.file("q8.gguf");
  quantize(from, q8, to(DType::kQ8_0));
  const std::vector<float> logits = logits_of(from);
  CHECK(divergence(logits, logits_of(q8)) < 1e-3);
  const std::string q4 = dir.file("q4.gguf");
  quantize(q8, q4, to(DType::kQ4_0));
  CHECK(divergence(logits, logits_of(q4)) < 0.3);
  CHECK(std::filesystem::file_size(q4) < std::filesystem::file_size(q8));
  const auto old_file = pensee_test::open_checkpoint(q8);
  const auto new_file = pensee_test::open_checkpoint(q4);
  CHECK(new_file->gguf()->at("general.file_type")->as_int().value() == 2);
  for (const pensee::GgufValue& value : old_file->gguf()->values()) {
    if (value.key() == "general.file_type" || value.key() == "pensee.source") continue;
    CHECK(new_file->gguf()->at(value.key())->found() == value.found());
  }
  for (const pensee::TensorView& tensor : new_file->tensors()) {
    CAPTURE(tensor.name);
    CHECK(tensor.dtype ==
          (tensor.shape.rank == 1 || tensor.name.find("ffn_gate_inp") != tensor.name.npos
               ? DType::kF32
           : tensor.name == "output.weight" ? DType::kQ8_0
                                            : DType::kQ4_0));
  }
}

TEST_CASE("a converted file, and one of that, advises what its source does") {
  const TempDir dir;
  const std::string first = dir.file("first.gguf");
  const std::string second = dir.file("second.gguf");
  quantize(PENSEE_TINY_R1, first, to(DType::kQ8_0));
  quantize(first, second, to(DType::kQ4_0));
  const auto source = pensee_test::open_checkpoint(PENSEE_TINY_R1);
  const auto advised = pensee::read_generation_config(*source).value().sampler.over({});
  CHECK(advised != pensee::SamplerOptions{});
  for (const std::string& path : {first, second}) {
    const auto file = pensee_test::open_checkpoint(path);
    CHECK(pensee::read_generation_config(*file).value().sampler.over({}) == advised);
  }
}

TEST_CASE("tensors that have the wished type are copied, and parts become one file") {
  const TempDir dir;
  const std::string from = PENSEE_TEST_DATA "/models/gguf/llama3_rope-00001-of-00002.gguf";
  const std::string path = dir.file("m.gguf");
  quantize(from, path, to(DType::kBF16));
  const auto old_file = pensee_test::open_checkpoint(from);
  const auto new_file = pensee_test::open_checkpoint(path);
  REQUIRE(new_file->tensors().size() == old_file->tensors().size());
  for (size_t i = 0; i < new_file->tensors().size(); ++i) {
    const pensee::TensorView& a = old_file->tensors()[i];
    const pensee::TensorView& b = new_file->tensors()[i];
    CHECK(a.name == b.name);
    CHECK(std::vector<std::byte>(a.data, a.data + a.bytes) ==
          std::vector<std::byte>(b.data, b.data + b.bytes));
  }
  CHECK(!new_file->gguf()->contains("split.count"));
}

TEST_CASE("experts of different types are copied or converted one by one") {
  const std::vector<float> numbers = {1, 2, 3, 4};
  const std::vector<uint16_t> others = {0x3F80, 0x4000, 0xBF80, 0};  // 1, 2, -1, 0
  const pensee::Matrix f32{numbers.data(), nullptr, DType::kF32, 2, 2, 8};
  const pensee::Matrix bf16{others.data(), nullptr, DType::kBF16, 2, 2, 4};
  const auto pool = pensee::ThreadPool::create(1).value();
  pensee::quantize_file_detail::RowEncoder encoder(*pool, pensee::reference_kernels());
  const auto encoded = [&](const std::vector<pensee::Matrix>& parts, DType dtype) {
    auto tensor = pensee::ConvertedTensor::whole("t", {{2, 2, 2}, 3}, parts[0]);
    tensor.parts = parts;
    const auto bytes = encoder.encode(tensor, dtype, 0);
    REQUIRE(bytes.ok());
    return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  };
  const auto raw = [](const auto& values) {
    return std::string(reinterpret_cast<const char*>(values.data()),
                       values.size() * sizeof(values[0]));
  };
  const std::vector<float> of_others = {1, 2, -1, 0};
  const std::vector<uint16_t> of_numbers = {0x3F80, 0x4000, 0x4040, 0x4080};
  CHECK(encoded({f32, bf16}, DType::kF32) == raw(numbers) + raw(of_others));
  CHECK(encoded({bf16, f32}, DType::kF32) == raw(of_others) + raw(numbers));
  CHECK(encoded({f32, bf16}, DType::kBF16) == raw(of_numbers) + raw(others));
  CHECK(encoded({bf16, f32}, DType::kBF16) == raw(others) + raw(of_numbers));
}

TEST_CASE("a stopped conversion goes on, and gives the same file") {
  const TempDir dir;
  const std::string from = PENSEE_TEST_DATA "/models/qwen3_moe_bf16";
  const std::string whole_path = dir.file("whole.gguf");
  quantize(from, whole_path, to(DType::kQ8_0));
  const std::string whole = pensee_test::read_file(whole_path);
  const std::string path = dir.file("m.gguf");
  QuantizeOptions options = to(DType::kQ8_0);
  size_t kept = 0;
  for (int stops = 0;; ++stops) {
    int calls = 0;
    options.progress = [&](double fraction) { return fraction == 1.0 || ++calls <= 3; };
    const auto done = pensee::quantize_file(*pensee_test::open_checkpoint(from), path, options);
    if (done) {
      CHECK(stops > 3);
      CHECK(done->tensors_kept > kept);
      break;
    }
    REQUIRE(done.error().status == Status::kCancelled);
    CHECK(!std::filesystem::exists(path));
    CHECK(std::filesystem::exists(GgufWriter::part_path(path)));
    kept = static_cast<size_t>(stops);
  }
  CHECK(pensee_test::read_file(path) == whole);
  // With other types it begins anew.
  options.progress = [](double fraction) { return fraction < 0.5; };
  CHECK(!pensee::quantize_file(*pensee_test::open_checkpoint(from), path, options).ok());
  const auto other =
      pensee::quantize_file(*pensee_test::open_checkpoint(from), path, to(DType::kF16));
  REQUIRE(other.ok());
  CHECK(other->tensors_kept == 0);
}

TEST_CASE("no file that is read is written to, under either name of the new one") {
  const TempDir dir;
  const std::string path = dir.file("m.gguf");
  const std::string part = GgufWriter::part_path(path);
  const auto refuse = [&](const std::string& from, const std::string& name) {
    const std::string before = pensee_test::read_file(name);
    const auto done =
        pensee::quantize_file(*pensee_test::open_checkpoint(from), path, to(DType::kF16));
    REQUIRE(!done.ok());
    CHECK(done.error().status == Status::kInvalidArgument);
    CHECK(done.error().message.find(name + ": expected another file than the one that is read") ==
          0);
    CHECK(pensee_test::read_file(name) == before);
  };
  const std::string source = PENSEE_TEST_DATA "/models/gguf/qwen2_tied.gguf";
  std::filesystem::copy_file(source, part);
  refuse(part, part);
  std::filesystem::rename(part, dir.file("other.gguf"));
  std::filesystem::create_hard_link(dir.file("other.gguf"), part);
  refuse(dir.file("other.gguf"), part);
  std::filesystem::remove(part);

  // The first part of a model, which has no tensors: by another name, since only parts have such.
  const auto numbered = [](int number) {
    return std::vector<std::string>{
        pensee_test::key("split.count", 2U),
        pensee_test::key("split.no", static_cast<uint32_t>(number)),
    };
  };
  const std::string first =
      dir.write("s-00001-of-00002.gguf", pensee_test::gguf({numbered(0), {}, 0}));
  dir.write("s-00002-of-00002.gguf",
            pensee_test::gguf({numbered(1), {pensee_test::tensor("t", {32}, 0, 0)}, 128}));
  std::filesystem::create_hard_link(first, path);
  refuse(first, path);
  std::filesystem::rename(path, part);
  refuse(first, part);
}

TEST_CASE("names of tensors that are not UTF-8 are refused: patterns could not be searched for") {
  const TempDir dir;
  const std::string from =
      dir.write("m.gguf", pensee_test::gguf({{}, {pensee_test::tensor("a\xFF", {1}, 0, 0)}, 32}));
  QuantizeOptions options = to(DType::kQ8_0);
  REQUIRE(options.types.add_override("a.=f16").ok());
  const auto done =
      pensee::quantize_file(*pensee_test::open_checkpoint(from), dir.file("out.gguf"), options);
  REQUIRE(!done.ok());
  CHECK(done.error().status == Status::kCorruptFile);
  CHECK(done.error().message == from + ": tensor a\uFFFD: name: not UTF-8");
}

TEST_CASE("what cannot be converted leaves no file") {
  const TempDir dir;
  const std::string path = dir.file("m.gguf");
  quantize(PENSEE_TEST_DATA "/models/qwen2_f32", path, to(DType::kF32));
  const auto itself =
      pensee::quantize_file(*pensee_test::open_checkpoint(path), path, to(DType::kF16));
  CHECK(itself.error().status == Status::kInvalidArgument);
  CHECK(itself.error().message.find("another file than the one that is read") != std::string::npos);

  // One number of one tensor is not finite, or too large.
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -HUGE_VALF, 1e6F}) {
    std::string bytes = pensee_test::read_file(path);
    {
      const auto checkpoint = pensee_test::open_checkpoint(path);
      const pensee::TensorView tensor = checkpoint->require("blk.0.attn_q.weight").value();
      const size_t at =
          bytes.find(std::string_view(reinterpret_cast<const char*>(tensor.data), 64));
      REQUIRE(at != std::string::npos);
      std::memcpy(bytes.data() + at + 12, &bad, sizeof bad);
    }
    const std::string broken = dir.write("broken.gguf", bytes);
    const std::string out = dir.file("out.gguf");
    const auto done =
        pensee::quantize_file(*pensee_test::open_checkpoint(broken), out, to(DType::kF16));
    REQUIRE(!done.ok());
    CHECK(done.error().status == Status::kCorruptFile);
    CHECK(done.error().message ==
          broken +
              ": tensor blk.0.attn_q.weight: row 0: expected finite numbers up to 65504 in "
              "magnitude for F16, found others");
    CHECK(!std::filesystem::exists(out));
    if (bad == 1e6F) quantize(broken, out, to(DType::kBF16));
  }
}
