// Checkpoint over GGUF files; checkpoint_test.cpp has the rest.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"
#include "pensee/io/checkpoint.hpp"

using pensee::Checkpoint;
using pensee::GgufType;
using pensee::Status;
using pensee_test::as_bytes;
using pensee_test::gguf;
using pensee_test::key;
using pensee_test::raw;
using pensee_test::TempDir;
using pensee_test::tensor;

namespace {

const std::string kGolden = PENSEE_TEST_DATA "/gguf/";

// Part `number` of `count`, from 1 on, with one byte tensor of that name.
std::string part(uint16_t number, uint16_t count, int32_t total, const std::string& name) {
  return gguf({{key("split.no", GgufType::kU16, raw(static_cast<uint16_t>(number - 1))),
                key("split.count", GgufType::kU16, raw(count)),
                key("split.tensors.count", GgufType::kI32, raw(total))},
               {tensor(name, {1}, 24, 0)},
               1});
}

std::string single(const std::string& name) {
  return gguf({{key("general.architecture", "llama")}, {tensor(name, {1}, 24, 0)}, 1});
}

void expect_bad_parts(const std::string& path, Status status, const std::string& words) {
  const auto opened = Checkpoint::open(path);
  CAPTURE(words);
  REQUIRE(!opened.ok());
  CAPTURE(opened.error().message);
  CHECK(opened.error().status == status);
  CHECK(opened.error().message.find(words) != std::string::npos);
}

}  // namespace

TEST_CASE("parts that the gguf package wrote are one checkpoint") {
  std::vector<double> fractions;
  const auto opened = Checkpoint::open(kGolden + "parts-00001-of-00003.gguf", [&](double fraction) {
    fractions.push_back(fraction);
    return true;
  });
  REQUIRE_MESSAGE(opened.ok(), opened.error().message);
  const Checkpoint& checkpoint = **opened;
  CHECK(fractions == std::vector<double>{0, 1.0 / 3, 2.0 / 3, 1});
  REQUIRE(checkpoint.tensors().size() == 5);
  CHECK(checkpoint.find("t0")->file == kGolden + "parts-00001-of-00003.gguf");
  CHECK(checkpoint.find("t4")->file == kGolden + "parts-00003-of-00003.gguf");
  CHECK(checkpoint.find("t4")->shape.to_string() == "(2, 3)");
  REQUIRE(checkpoint.gguf() != nullptr);
  CHECK(checkpoint.gguf()->at("kinds.string")->as_string().value() == "Pensée 思 🤔");
  size_t bytes = 0;
  for (const char* i : {"1", "2", "3"}) {
    bytes += std::filesystem::file_size(kGolden + "parts-0000" + i + "-of-00003.gguf");
  }
  CHECK(checkpoint.bytes() == bytes);
  std::vector<std::string> mapped;
  checkpoint.for_each_mapped([&](const pensee::MappedFile& file, const std::string& path) {
    CHECK(file.bytes().size() == std::filesystem::file_size(path));
    mapped.push_back(path);
  });
  CHECK(mapped == std::vector<std::string>{kGolden + "parts-00001-of-00003.gguf",
                                           kGolden + "parts-00002-of-00003.gguf",
                                           kGolden + "parts-00003-of-00003.gguf"});
}

TEST_CASE("a GGUF checkpoint by its file, its directory, or from memory") {
  const TempDir dir;
  dir.write("one.gguf", single("a"));
  dir.write("notes.txt", "a text");
  for (const std::string& path : {dir.file("one.gguf"), dir.path()}) {
    const auto opened = Checkpoint::open(path);
    REQUIRE_MESSAGE(opened.ok(), opened.error().message);
    CHECK((*opened)->find("a") != nullptr);
    CHECK((*opened)->directory() == dir.path());
    CHECK((*opened)->gguf()->contains("general.architecture"));
    CHECK((*opened)->read_text("notes.txt").value() == "a text");
  }
  // By its first bytes: a cache's names tell nothing.
  CHECK(Checkpoint::open(dir.write("sha256-1234", single("b"))).value()->find("b") != nullptr);
  // Safetensors go before GGUF in a directory.
  const std::string other = pensee_test::safetensors("{}", 0);
  dir.write("model.safetensors", other);
  CHECK(Checkpoint::open(dir.path()).value()->gguf() == nullptr);

  const std::string first = part(1, 2, 2, "a");
  const std::string second = part(2, 2, 2, "b");
  std::vector<pensee::NamedBuffer> files = {{"x-00002-of-00002.gguf", as_bytes(second)},
                                            {"x-00001-of-00002.gguf", as_bytes(first)},
                                            {"config.json", as_bytes("{}")}};
  const auto opened = Checkpoint::open_buffers(files);
  REQUIRE_MESSAGE(opened.ok(), opened.error().message);
  CHECK((*opened)->tensors().size() == 2);
  CHECK((*opened)->find("b")->file == "x-00002-of-00002.gguf");
  CHECK((*opened)->gguf() != nullptr);
  files.erase(files.begin());
  CHECK(Checkpoint::open_buffers(files).error().message ==
        "buffers: expected 2 parts, found all but 1: x-00002-of-00002.gguf");
}

TEST_CASE("parts that are missing, strange or double") {
  const TempDir dir;
  const std::string first = dir.write("x-00001-of-00003.gguf", part(1, 3, 3, "a"));
  expect_bad_parts(
      first, Status::kNotFound,
      "expected 3 parts, found all but 2: x-00002-of-00003.gguf, x-00003-of-00003.gguf");
  expect_bad_parts(dir.path(), Status::kNotFound, "x-00002-of-00003.gguf");
  dir.write("x-00002-of-00003.gguf", part(2, 3, 3, "b"));
  const std::string third = dir.write("x-00003-of-00003.gguf", part(3, 3, 3, "c"));
  CHECK(Checkpoint::open(first).value()->tensors().size() == 3);
  CHECK(Checkpoint::open(dir.path()).value()->tensors().size() == 3);
  expect_bad_parts(third, Status::kInvalidArgument,
                   "expected the first part, x-00001-of-00003.gguf");

  dir.write("x-00003-of-00003.gguf", part(2, 3, 3, "c"));
  expect_bad_parts(first, Status::kCorruptFile, third + ": expected part 3 of 3");
  dir.write("x-00003-of-00003.gguf", part(3, 4, 3, "c"));
  expect_bad_parts(first, Status::kCorruptFile, "found part 3 of 4");
  dir.write("x-00003-of-00003.gguf", single("c"));
  expect_bad_parts(first, Status::kCorruptFile, "found part 1 of 1");
  dir.write("x-00003-of-00003.gguf", part(3, 3, 3, "a"));
  expect_bad_parts(first, Status::kCorruptFile, "tensor a is in two files: ");
  dir.write("x-00003-of-00003.gguf", part(3, 3, 3, "c"));
  dir.write("x-00001-of-00003.gguf", part(1, 3, 4, "a"));
  expect_bad_parts(first, Status::kCorruptFile,
                   "split.tensors.count: expected 4 tensors in all parts, found 3");
  // A part under another name is not half a model.
  expect_bad_parts(dir.write("whole.gguf", part(1, 3, 3, "a")), Status::kCorruptFile,
                   "expected part 1 of 1, as its name says, found part 1 of 3");

  std::filesystem::remove(first);
  std::filesystem::remove(dir.file("whole.gguf"));
  expect_bad_parts(dir.path(), Status::kNotFound, "x-00001-of-00003.gguf");
}

TEST_CASE("thousands of missing parts are not all named") {
  const TempDir dir;
  const std::string first = dir.write("x-00001-of-65535.gguf", part(1, 65535, 3, "a"));
  const auto opened = Checkpoint::open(first);
  REQUIRE(!opened.ok());
  CHECK(opened.error().message.find("found all but 65534: x-00002") != std::string::npos);
  CHECK(opened.error().message.size() < 600);
}

TEST_CASE("two GGUF models in one directory") {
  const TempDir dir;
  dir.write("a.gguf", single("a"));
  dir.write("b.gguf", single("b"));
  expect_bad_parts(dir.path(), Status::kInvalidArgument,
                   "expected one model, found a.gguf and b.gguf; name the one to open");
}

TEST_CASE("opening parts can be cancelled between any two") {
  for (int stop_after = 1; stop_after <= 4; ++stop_after) {
    int calls = 0;
    const auto opened = Checkpoint::open(kGolden + "parts-00001-of-00003.gguf",
                                         [&](double) { return ++calls < stop_after; });
    CHECK(opened.error().status == Status::kCancelled);
    CHECK(calls == stop_after);
  }
}

TEST_CASE("a damaged .gguf file is told as one") {
  const TempDir dir;
  expect_bad_parts(dir.write("x.gguf", "no such thing"), Status::kCorruptFile,
                   "expected a GGUF file, which begins with \"GGUF\"");
  expect_bad_parts(dir.file("gone.gguf"), Status::kNotFound, dir.file("gone.gguf"));
}
