#include "pensee/io/gguf_metadata.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"

using pensee::GgufMetadata;
using pensee::GgufType;
using pensee::Status;
using pensee_test::array_key;
using pensee_test::as_bytes;
using pensee_test::key;
using pensee_test::raw;
using pensee_test::raw_string;
using pensee_test::raw_type;

namespace {

const std::string kMetadataFile = "m.gguf";

pensee::Result<GgufMetadata> read_metadata(const std::vector<char>& bytes, size_t count) {
  pensee::gguf_detail::Reader reader(std::as_bytes(std::span(bytes)), kMetadataFile);
  return GgufMetadata::read(reader, count);
}

void expect_bad_metadata(const std::string& text, size_t count, const std::string& words,
                         Status status = Status::kCorruptFile) {
  const std::vector<char> bytes(text.begin(), text.end());  // of just this size
  const auto metadata = read_metadata(bytes, count);
  REQUIRE(!metadata.ok());
  CHECK(metadata.error().status == status);
  CAPTURE(metadata.error().message);
  CHECK(metadata.error().message.find(kMetadataFile + ": ") == 0);
  CHECK(metadata.error().message.find(words) != std::string::npos);
}

}  // namespace

TEST_CASE("GGUF keys are found, in whatever order they were written") {
  const std::string text = key("b", 2U) + key("c", "three") + key("a", 1U);
  const std::vector<char> bytes(text.begin(), text.end());
  const auto metadata = read_metadata(bytes, 3);
  REQUIRE_MESSAGE(metadata.ok(), metadata.error().message);
  CHECK(metadata->values().size() == 3);
  CHECK(metadata->values()[0].key() == "a");
  CHECK(metadata->find("b")->as_int().value() == 2);
  CHECK(metadata->at("c")->as_string().value() == "three");
  CHECK(metadata->contains("a"));
  CHECK(!metadata->contains(""));
  CHECK(!metadata->contains("aa"));
  const auto missing = metadata->at("general.architecture");
  CHECK(missing.error().status == Status::kCorruptFile);
  CHECK(missing.error().message == "m.gguf: general.architecture: missing");
}

TEST_CASE("GGUF metadata that ends too early, at every byte") {
  const std::string text = key("a", 1U) + key("b", "text") +
                           array_key("c", GgufType::kString, 2, raw_string("x") + raw_string("")) +
                           array_key("d", GgufType::kI16, 3, std::string(6, '\1'));
  for (size_t n = 0; n < text.size(); ++n) expect_bad_metadata(text.substr(0, n), 4, "expected");
  const std::vector<char> whole(text.begin(), text.end());
  CHECK(read_metadata(whole, 4).ok());
}

TEST_CASE("GGUF counts and lengths that no file could hold") {
  for (const uint64_t huge : {uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 61,
                              uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    CAPTURE(huge);
    expect_bad_metadata(raw(huge) + "key", 1, "key 0: expected");
    expect_bad_metadata(key("a", GgufType::kString, raw(huge) + "text"), 1, "a: expected");
    for (const GgufType type : {GgufType::kU8, GgufType::kF64, GgufType::kString}) {
      expect_bad_metadata(array_key("a", type, huge, std::string(16, '\0')), 1,
                          "a: expected at most " + std::string(type == GgufType::kU8 ? "16" : "2"));
    }
    expect_bad_metadata(array_key("a", GgufType::kString, 1, raw(huge)), 1, "a: expected");
  }
  expect_bad_metadata(array_key("a", GgufType::kI32, 3, std::string(11, '\0')), 1,
                      "a: expected at most 2, as many as the file can hold, found 3");
}

TEST_CASE("GGUF metadata that is wrong in itself") {
  expect_bad_metadata(key("a", 1U) + key("b", 1U) + key("a", 2U), 3, "a: written twice");
  expect_bad_metadata(key("", 1U), 1, "key 0: expected a name, found an empty one");
  expect_bad_metadata(raw_string("a") + raw(uint32_t{13}) + raw(uint64_t{0}), 1,
                      "a: expected a value type below 13, found 13");
  expect_bad_metadata(raw_string("a") + raw(~uint32_t{0}), 1, "found 4294967295");
  expect_bad_metadata(key("a", GgufType::kArray, raw(uint32_t{99}) + raw(uint64_t{0})), 1,
                      "found 99");
  expect_bad_metadata(key("a", GgufType::kBool, "\2"), 1, "a: expected a bool of 0 or 1, found 2");
  expect_bad_metadata(array_key("a", GgufType::kBool, 2, "\1\3"), 1, "found 3");
  expect_bad_metadata(
      array_key("a", GgufType::kArray, 1, raw_type(GgufType::kU8) + raw(uint64_t{0})), 1,
      "a: expected numbers or strings, found arrays in an array", Status::kUnsupported);
}
