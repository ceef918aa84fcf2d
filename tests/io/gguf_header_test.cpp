#include "pensee/io/gguf_header.hpp"

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.hpp"
#include "pensee/io/gguf.hpp"
#include "pensee/io/mapped_file.hpp"

using pensee::DType;
using pensee::GgufFile;
using pensee::GgufHeader;
using pensee::Shape;
using pensee::Status;
using pensee_test::as_bytes;

namespace {

// What make_gguf_file_golden.py has the gguf package write, key by key.
void set_every_kind(GgufHeader& header) {
  header.set("general.architecture", "llama");
  header.set("kinds.u8", uint8_t{255});
  header.set("kinds.i8", int8_t{-128});
  header.set("kinds.u16", uint16_t{65535});
  header.set("kinds.i16", int16_t{-32768});
  header.set("kinds.u32", ~uint32_t{0});
  header.set("kinds.i32", INT32_MIN);
  header.set("kinds.u64", static_cast<uint64_t>(INT64_MAX));
  header.set("kinds.i64", INT64_MIN);
  header.set("kinds.f32", 0.25F);
  header.set("kinds.f64", 0.1);
  header.set("kinds.true", true);
  header.set("kinds.false", false);
  header.set("kinds.string", "Pensée 思 🤔");
  const std::array<int32_t, 3> ints = {3, -1, 2};
  header.set("kinds.ints", std::span<const int32_t>(ints));
  const std::array<float, 2> floats = {0.5F, -1.5F};
  header.set("kinds.floats", std::span<const float>(floats));
  const std::array<std::string_view, 4> texts = {"a", "Ġb", "<｜end▁of▁sentence｜>", "é"};
  header.set_strings("kinds.strings", std::span<const std::string_view>(texts));
}

}  // namespace

TEST_CASE("a GGUF header is written as the gguf package writes it, byte for byte") {
  const std::string path = PENSEE_TEST_DATA "/gguf/kinds.gguf";
  const auto file = GgufFile::open(path).value();
  GgufHeader header;
  set_every_kind(header);
  for (const pensee::TensorView& view : file->tensors()) {
    const auto added = header.add_tensor(std::string(view.name), view.dtype, view.shape);
    REQUIRE_MESSAGE(added.ok(), added.error().message);
  }
  const std::string encoded = header.encode();
  const auto whole = pensee::MappedFile::open(path).value();
  REQUIRE(encoded.size() + header.data_bytes() == whole.bytes().size());
  CHECK(std::string_view(reinterpret_cast<const char*>(whole.bytes().data()), encoded.size()) ==
        encoded);
  for (size_t i = 0; i < header.tensors().size(); ++i) {
    CHECK(header.tensors()[i].bytes == file->tensors()[i].bytes);
    CHECK(file->tensors()[i].data == file->tensors()[0].data + header.tensors()[i].offset);
  }
}

TEST_CASE("values of another GGUF file are taken over, and set anew") {
  const auto file = GgufFile::open(PENSEE_TEST_DATA "/gguf/kinds.gguf").value();
  GgufHeader header;
  for (const pensee::GgufValue& value : file->metadata().values()) header.set(value);
  header.set("kinds.u8", uint32_t{7});
  const std::string encoded = header.encode();
  const auto copy = GgufFile::from_bytes(as_bytes(encoded), "copy");
  REQUIRE_MESSAGE(copy.ok(), copy.error().message);
  REQUIRE((*copy)->metadata().values().size() == file->metadata().values().size());
  for (const pensee::GgufValue& value : (*copy)->metadata().values()) {
    CAPTURE(value.key());
    const pensee::GgufValue old = file->metadata().at(value.key()).value();
    if (value.key() == "kinds.u8") {
      CHECK(value.found() == "7");
      CHECK(value.type() == pensee::GgufType::kU32);
      continue;
    }
    CHECK(value.found() == old.found());
    CHECK(value.type() == old.type());
    CHECK(std::string(reinterpret_cast<const char*>(value.bytes().data()), value.bytes().size()) ==
          std::string(reinterpret_cast<const char*>(old.bytes().data()), old.bytes().size()));
  }
}

TEST_CASE("keys, however many, keep their order, and one set anew its place") {
  const auto key = [](uint32_t i) { return "key." + std::to_string(1000000 + i); };
  constexpr uint32_t kKeys = 200000;
  const auto begin = std::chrono::steady_clock::now();
  GgufHeader header;
  for (const uint32_t round : {0U, 1U}) {
    for (uint32_t i = 0; i < kKeys; ++i) header.set(key(i), i + round);
  }
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
  const std::string encoded = header.encode();
  const auto file = GgufFile::from_bytes(as_bytes(encoded), "many");
  REQUIRE_MESSAGE(file.ok(), file.error().message);
  CHECK((*file)->metadata().values().size() == kKeys);
  CHECK((*file)->metadata().at(key(7)).value().found() == "8");
  CHECK(encoded.find(key(0)) < encoded.find(key(1)));
  CHECK(encoded.find(key(1)) < encoded.find(key(kKeys - 1)));
}

TEST_CASE("tensors that a GGUF header cannot have") {
  GgufHeader header;
  CHECK(header.add_tensor("a", DType::kQ8_0, {{3, 64}, 2}).ok());
  const auto expect = [&](const char* name, DType dtype, const Shape& shape, const char* words,
                          Status status = Status::kInvalidArgument) {
    const auto added = header.add_tensor(name, dtype, shape);
    REQUIRE(!added.ok());
    CAPTURE(added.error().message);
    CHECK(added.error().status == status);
    CHECK(added.error().message.find(words) != std::string::npos);
  };
  expect("a", DType::kF32, {{3}, 1}, "tensor a: expected a new name");
  expect("", DType::kF32, {{3}, 1}, "expected a new name");
  expect("b", DType::kF8E4M3, {{3}, 1}, "a type that GGUF files can hold, found F8_E4M3");
  expect("b", DType::kQ8_0, {{3, 48}, 2}, "a multiple of 32 numbers for Q8_0, found (3, 48)");
  expect("b", DType::kF32, {{1LL << 40, 1LL << 40}, 2}, "too large", Status::kUnsupported);
  expect("b", DType::kF32, {{1LL << 40, 1LL << 20}, 2}, "too large", Status::kUnsupported);
  CHECK(header.tensors().size() == 1);
  CHECK(header.data_bytes() == 224);  // 3 * 2 * 34, padded
}
