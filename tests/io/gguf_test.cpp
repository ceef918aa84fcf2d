#include "pensee/io/gguf.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"
#include "pensee/base/hash.hpp"
#include "pensee/base/json.hpp"

using pensee::DType;
using pensee::GgufFile;
using pensee::GgufType;
using pensee::Status;
using pensee::TensorView;
using pensee_test::as_bytes;
using pensee_test::gguf;
using pensee_test::GgufParts;
using pensee_test::key;
using pensee_test::raw;
using pensee_test::TempDir;
using pensee_test::tensor;

namespace {

constexpr uint32_t kF32 = 0;
constexpr uint32_t kI8 = 24;

void expect_bad_gguf(const std::string& text, const std::string& words,
                     Status status = Status::kCorruptFile) {
  const std::vector<char> bytes(text.begin(), text.end());  // of just this size
  const auto file = GgufFile::from_bytes(std::as_bytes(std::span(bytes)), "m.gguf");
  CAPTURE(words);
  REQUIRE(!file.ok());
  CAPTURE(file.error().message);
  CHECK(file.error().status == status);
  CHECK(file.error().message.find("m.gguf: ") == 0);
  CHECK(file.error().message.find(words) != std::string::npos);
}

// A matrix of 3 rows and 2 columns, a vector and a scalar.
GgufParts good_parts() {
  return {{key("general.architecture", "llama")},
          {tensor("v", {5}, kI8, 32), tensor("m", {2, 3}, kF32, 64), tensor("s", {}, kI8, 0)},
          64 + 24};
}

}  // namespace

TEST_CASE("tensors of a GGUF file: shapes turned round, data in place, in order") {
  for (const uint32_t version : {2U, 3U}) {
    GgufParts parts = good_parts();
    parts.version = version;
    const std::string bytes = gguf(parts);
    const auto opened = GgufFile::from_bytes(as_bytes(bytes), "m.gguf");
    REQUIRE_MESSAGE(opened.ok(), opened.error().message);
    const GgufFile& file = **opened;
    CHECK(file.bytes() == bytes.size());
    CHECK(file.path() == "m.gguf");
    CHECK(file.metadata().at("general.architecture")->as_string().value() == "llama");
    REQUIRE(file.tensors().size() == 3);
    CHECK(file.tensors()[0].name == "s");
    CHECK(file.tensors()[0].shape.rank == 0);
    CHECK(file.tensors()[0].bytes == 1);
    CHECK(file.tensors()[1].name == "v");
    CHECK(file.tensors()[1].data[0] == std::byte{32});
    const TensorView& m = file.tensors()[2];
    CHECK(m.name == "m");
    CHECK(m.file == "m.gguf");
    CHECK(m.dtype == DType::kF32);
    CHECK(m.shape.to_string() == "(3, 2)");
    CHECK(m.bytes == 24);
    CHECK(m.data == as_bytes(bytes).data() + bytes.size() - 24);
    CHECK(file.mapped() == nullptr);
  }
}

TEST_CASE("a GGUF file on disk, one without tensors, another alignment") {
  const TempDir dir;
  const auto opened = GgufFile::open(dir.write("m.gguf", gguf(good_parts())));
  REQUIRE_MESSAGE(opened.ok(), opened.error().message);
  CHECK((*opened)->tensors().size() == 3);
  CHECK((*opened)->tensors()[2].file == dir.file("m.gguf"));
  REQUIRE((*opened)->mapped() != nullptr);
  CHECK((*opened)->mapped()->bytes().size() == (*opened)->bytes());
  CHECK(GgufFile::open(dir.file("missing")).error().status == Status::kNotFound);
  CHECK(GgufFile::open(dir.path()).error().status == Status::kIoError);
  CHECK(GgufFile::open(dir.write("e", "")).error().status == Status::kCorruptFile);

  // Without data, the padding may be missing.
  std::string empty = "GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) + raw(uint64_t{0});
  CHECK(GgufFile::from_bytes(as_bytes(empty), "m").value()->tensors().empty());

  GgufParts parts{
      {key("general.alignment", 8U)}, {tensor("a", {1}, kI8, 0), tensor("b", {1}, kI8, 8)}, 9, 8};
  const std::string bytes = gguf(parts);
  CHECK(GgufFile::from_bytes(as_bytes(bytes), "m").value()->tensors()[1].data[0] == std::byte{8});
}

TEST_CASE("what is not a GGUF file, or not one of ours") {
  expect_bad_gguf("", "magic: expected 4 bytes, found 0");
  expect_bad_gguf("GGU", "magic: expected 4 bytes, found 3");
  expect_bad_gguf("ggjt" + raw(uint32_t{3}), "begins with \"GGUF\", found \"ggjt\"");
  const auto with_version = [](uint32_t version) {
    GgufParts parts;
    parts.version = version;
    return gguf(parts);
  };
  expect_bad_gguf(with_version(1), "expected GGUF version 2 or 3, found 1", Status::kUnsupported);
  expect_bad_gguf(with_version(4), "found 4", Status::kUnsupported);
  expect_bad_gguf(with_version(0), "found 0", Status::kUnsupported);
  expect_bad_gguf(with_version(0x03000000), "found a big-endian one", Status::kUnsupported);
}

TEST_CASE("a GGUF file cut at any byte") {
  const std::string bytes = gguf(good_parts());
  for (size_t n = 0; n < bytes.size(); ++n) expect_bad_gguf(bytes.substr(0, n), "");
  CHECK(GgufFile::from_bytes(as_bytes(bytes), "m").ok());
}

TEST_CASE("GGUF counts that no file could hold") {
  for (const uint64_t huge :
       {uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} / 24}) {
    CAPTURE(huge);
    const std::string rest(100, '\0');
    expect_bad_gguf("GGUF" + raw(uint32_t{3}) + raw(huge) + raw(uint64_t{0}) + rest,
                    "tensor count: expected at most 4, as many as the file can hold, found");
    expect_bad_gguf("GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) + raw(huge) + rest,
                    "key count: expected at most 7");
    const auto one = [](const std::string& written, size_t data) {
      return gguf({{}, {written}, data});
    };
    expect_bad_gguf(one(raw(huge) + "name", 64), "tensor 0: name: expected");
    expect_bad_gguf(one(tensor("t", {1}, kI8, huge - huge % 32), 64),
                    "tensor t: offset: expected 1");
    if (huge >= uint64_t{1} << 41) {
      expect_bad_gguf(one(tensor("t", {huge}, kI8, 0), 64), "tensor t: expected a dimension up to");
      expect_bad_gguf(one(tensor("t", {0, huge}, kI8, 0), 64),
                      "tensor t: expected a dimension up to");
    } else {
      expect_bad_gguf(one(tensor("t", {huge}, kI8, 0), 64),
                      "tensor t: offset: expected " + std::to_string(huge) + " bytes");
      expect_bad_gguf(one(tensor("t", {huge, huge, huge}, kI8, 0), 64), "shape: too large");
      expect_bad_gguf(one(tensor("t", {huge, huge, huge, 0}, kI8, 0), 64), "shape: too large");
    }
  }
}

TEST_CASE("tensors of a GGUF file that are wrong") {
  const auto expect = [](const std::vector<std::string>& tensors, const std::string& words,
                         Status status = Status::kCorruptFile) {
    expect_bad_gguf(gguf({{}, tensors, 64}), words, status);
  };
  expect({tensor("", {1}, kI8, 0)}, "tensor 0: expected a name, found an empty one");
  expect({tensor("t", {1, 1, 1, 1, 1}, kI8, 0)}, "tensor t: expected at most 4 dimensions, found 5",
         Status::kUnsupported);
  expect({tensor("t", {1}, 4, 0)}, "tensor t: unknown tensor type 4", Status::kUnsupported);
  expect({tensor("t", {1}, 144, 0)}, "tensor t: type IQ4_KS (144) is one of ik_llama.cpp's own",
         Status::kUnsupported);
  expect({tensor("t", {1}, ~0U, 0)}, "unknown tensor type 4294967295", Status::kUnsupported);
  expect({tensor("t", {1}, kI8, 0), tensor("t", {1}, kI8, 32)}, "tensor t: written twice");
  expect({tensor("t", {1}, kI8, 16)}, "tensor t: offset: expected a multiple of 32, found 16");
  expect({tensor("t", {65}, kI8, 0)}, "tensor t: offset: expected 65 bytes from 0 on, found 64");
  expect({tensor("t", {33}, kI8, 32)}, "tensor t: offset: expected 33 bytes from 32 on, found 64");
  expect({tensor("t", {1}, kI8, 96)}, "tensor t: offset: expected 1 bytes from 96 on, found 64");
  expect({tensor("a", {33}, kI8, 0), tensor("b", {1}, kI8, 32)},
         "tensor b: offset: expected at least 33");
  expect({tensor("a", {1}, kI8, 0), tensor("b", {1}, kI8, 0)}, "(overlap)");
  // An empty tensor is in nobody's way, unless it lies within another.
  CHECK(GgufFile::from_bytes(
            as_bytes(gguf({{}, {tensor("a", {1}, kI8, 0), tensor("e", {0}, kI8, 0)}, 64})), "m")
            .ok());
  expect({tensor("a", {64}, kI8, 0), tensor("e", {0}, kI8, 32)}, "(overlap)");
}

TEST_CASE("rows of blocks that do not divide") {
  for (const auto& [type, elements, name] :
       {std::tuple{8U, 32U, "Q8_0"}, std::tuple{12U, 256U, "Q4_K"},
        std::tuple{39U, 32U, "MXFP4"}}) {
    for (const uint64_t row : {1U, elements - 1, elements + 1, elements + elements / 2}) {
      const std::string found = std::to_string(row) + " in (3, " + std::to_string(row) + ")";
      expect_bad_gguf(gguf({{}, {tensor("t", {row, 3}, type, 0)}, 64}),
                      "tensor t: expected rows of a multiple of " + std::to_string(elements) +
                          " numbers for " + name + ", found " + found);
    }
    expect_bad_gguf(gguf({{}, {tensor("t", {}, type, 0)}, 64}), "found 1 in ()");
  }
  expect_bad_gguf(gguf({{}, {tensor("t", {32, 3}, 8, 0)}, 34 * 3 - 1}),
                  "expected 102 bytes from 0 on");
  CHECK(GgufFile::from_bytes(as_bytes(gguf({{}, {tensor("t", {32, 3}, 8, 0)}, 34 * 3})), "m").ok());
}

TEST_CASE("a file of every type, as the gguf package writes and reads it") {
  const std::string folder = PENSEE_TEST_DATA "/gguf/";
  const auto text = pensee::MappedFile::open(folder + "expected.json").value();
  const std::string_view json(reinterpret_cast<const char*>(text.bytes().data()),
                              text.bytes().size());
  const auto document = pensee::parse_json(json, "expected.json");
  const pensee::Json& expected = *document;
  const auto opened = GgufFile::open(folder + "kinds.gguf");
  REQUIRE_MESSAGE(opened.ok(), opened.error().message);
  const GgufFile& file = **opened;
  const auto& entries = expected["kinds.gguf"];
  REQUIRE(file.tensors().size() == entries.size());
  std::set<DType> seen;
  for (size_t i = 0; i < entries.size(); ++i) {
    const TensorView& view = file.tensors()[i];
    CAPTURE(view.name);
    CHECK(view.name == entries[i]["name"].get<std::string>());
    CHECK(pensee::dtype_name(view.dtype) == entries[i]["type"].get<std::string>());
    const auto shape = view.shape.span();
    CHECK(std::vector<int64_t>(shape.begin(), shape.end()) ==
          entries[i]["shape"].get<std::vector<int64_t>>());
    CHECK(view.bytes == entries[i]["bytes"].get<size_t>());
    std::array<char, 17> hash{};
    std::snprintf(hash.data(), hash.size(), "%016llx",
                  static_cast<unsigned long long>(
                      pensee::Fnv1a64().add(std::span(view.data, view.bytes)).value()));
    CHECK(entries[i]["hash"].get<std::string>() == hash.data());
    seen.insert(view.dtype);
  }
#define PENSEE_X(type, number)                           \
  CHECK(seen.count(DType::type) == 1);                   \
  CHECK(pensee::dtype_from_gguf(number) == DType::type); \
  CHECK(pensee::gguf_from_dtype(DType::type) == uint32_t{number});
  PENSEE_GGUF_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
  CHECK(!pensee::gguf_from_dtype(DType::kF8E4M3));
}

TEST_CASE("keys of every type, as the gguf package writes them") {
  const auto file = GgufFile::open(PENSEE_TEST_DATA "/gguf/kinds.gguf").value();
  const auto at = [&](const char* name) {
    return file->metadata().at(std::string("kinds.") + name).value();
  };
  CHECK(file->metadata().at("general.architecture")->as_string().value() == "llama");
  CHECK(at("u8").as_int().value() == 255);
  CHECK(at("i8").as_int().value() == -128);
  CHECK(at("u16").as_int().value() == 65535);
  CHECK(at("i16").as_int().value() == -32768);
  CHECK(at("u32").as_int().value() == 4294967295);
  CHECK(at("i32").as_int().value() == INT32_MIN);
  CHECK(at("u64").as_int().value() == INT64_MAX);
  CHECK(at("i64").as_int().value() == INT64_MIN);
  CHECK(at("f32").as_double().value() == 0.25);
  CHECK(at("f64").as_double().value() == 0.1);
  CHECK(at("true").as_bool().value());
  CHECK(!at("false").as_bool().value());
  CHECK(at("string").as_string().value() == "Pensée 思 🤔");
  CHECK(at("ints").as_ints().value() == std::vector<int64_t>{3, -1, 2});
  CHECK(at("floats").as_floats().value() == std::vector<float>{0.5F, -1.5F});
  CHECK(at("strings").as_strings().value() ==
        std::vector<std::string_view>{"a", "Ġb", "<｜end▁of▁sentence｜>", "é"});
}

TEST_CASE("alignments of a GGUF file that are wrong") {
  const auto expect = [](const std::string& written, const std::string& words) {
    expect_bad_gguf(gguf({{written}, {}, 0}), "general.alignment: expected " + words);
  };
  expect(key("general.alignment", 0U), "an integer from 1 to 1048576, found 0");
  expect(key("general.alignment", 48U), "a power of two, found 48");
  expect(key("general.alignment", 1U << 21), "an integer from 1 to 1048576, found 2097152");
  expect(key("general.alignment", "32"), "an integer from 1 to 1048576, found \"32\"");
  expect(key("general.alignment", GgufType::kU64, raw(~uint64_t{0})), "an integer from 1");
}

TEST_CASE("random damage to a GGUF file never crashes, and what is accepted lies within it") {
  GgufParts parts = good_parts();
  parts.keys.push_back(pensee_test::array_key(
      "tokens", GgufType::kString, 2, pensee_test::raw_string("a") + pensee_test::raw_string("")));
  const std::string good = gguf(parts);
  std::mt19937 random(3);
  int accepted = 0;
  constexpr int kRounds = 4000;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<char> bytes(good.begin(), good.end());
    for (unsigned i = 0; i < 1 + random() % 3; ++i) {
      bytes[random() % bytes.size()] =
          static_cast<char>(random() % 4 == 0 ? random() : random() % 4);
    }
    const auto span = std::as_bytes(std::span(bytes));
    const auto file = GgufFile::from_bytes(span, "m.gguf");
    if (!file.ok()) {
      REQUIRE(!file.error().message.empty());
      continue;
    }
    ++accepted;
    for (const TensorView& view : (*file)->tensors()) {
      REQUIRE(view.data >= span.data());
      REQUIRE(view.data + view.bytes <= span.data() + span.size());
    }
    for (const pensee::GgufValue& value : (*file)->metadata().values()) {
      REQUIRE(!value.found().empty());
      if (const auto texts = value.as_strings()) REQUIRE(texts->size() == value.size());
    }
  }
  CHECK(accepted > 0);  // data and names may be anything
  CHECK(accepted < kRounds);
}
