#include "pensee/io/gguf_writer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/files.hpp"
#include "pensee/io/gguf.hpp"

using pensee::DType;
using pensee::GgufFile;
using pensee::GgufHeader;
using pensee::GgufWriter;
using pensee::Status;
using pensee_test::TempDir;

namespace {

// Four tensors of 6, 0, 5 and 64 bytes.
GgufHeader small_header(const char* source = "one") {
  GgufHeader header;
  header.set("general.source", source);
  REQUIRE(header.add_tensor("a", DType::kI8, {{2, 3}, 2}).ok());
  REQUIRE(header.add_tensor("none", DType::kI8, {{0}, 1}).ok());
  REQUIRE(header.add_tensor("b", DType::kI8, {{5}, 1}).ok());
  REQUIRE(header.add_tensor("c", DType::kF32, {{4, 4}, 2}).ok());
  return header;
}

std::vector<std::byte> counting(size_t n, int from) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(from + static_cast<int>(i));
  return bytes;
}

GgufWriter open_writer(const std::string& path, GgufHeader header = small_header()) {
  auto writer = GgufWriter::create(path, std::move(header));
  REQUIRE_MESSAGE(writer.ok(), writer.error().message);
  return std::move(writer).value();
}

// Writes what is missing, in pieces of `step` bytes, and finishes.
void write_rest(GgufWriter& writer, size_t step) {
  while (writer.tensors_done() < writer.header().tensors().size()) {
    const size_t i = writer.tensors_done();
    const auto bytes =
        counting(static_cast<size_t>(writer.header().tensors()[i].bytes), static_cast<int>(10 * i));
    for (size_t at = 0; at < bytes.size(); at += step) {
      REQUIRE(writer.write(std::span(bytes).subspan(at, std::min(step, bytes.size() - at))).ok());
    }
  }
  const auto finished = writer.finish();
  REQUIRE_MESSAGE(finished.ok(), finished.error().message);
}

void check_whole(const std::string& path) {
  const auto file = GgufFile::open(path);
  REQUIRE_MESSAGE(file.ok(), file.error().message);
  REQUIRE((*file)->tensors().size() == 4);
  for (const pensee::TensorView& view : (*file)->tensors()) {
    const int from = view.name == "a" ? 0 : view.name == "b" ? 20 : 30;
    const auto expected = counting(view.bytes, from);
    CHECK(std::vector<std::byte>(view.data, view.data + view.bytes) == expected);
  }
  CHECK(!std::filesystem::exists(GgufWriter::part_path(path)));
}

}  // namespace

TEST_CASE("a GGUF file appears when all of it is written") {
  const TempDir dir;
  for (const size_t step : {1U, 4U, 1000U}) {
    const std::string path = dir.file("m.gguf");
    std::filesystem::remove(path);
    GgufWriter writer = open_writer(path);
    CHECK(!std::filesystem::exists(path));
    CHECK(std::filesystem::exists(GgufWriter::part_path(path)));
    write_rest(writer, step);
    check_whole(path);
  }
}

TEST_CASE("a GGUF file that was stopped anywhere goes on, and is the same") {
  const TempDir dir;
  const std::string path = dir.file("m.gguf");
  const std::string part = GgufWriter::part_path(path);
  std::string whole;
  {
    GgufWriter writer = open_writer(path);
    write_rest(writer, 1000);
    whole = pensee_test::read_file(path);
  }
  const size_t header = small_header().encode().size();
  std::vector<size_t> lengths = {0, 20, header - 1};
  for (const size_t at : {0U, 32U, 64U, 128U}) {
    for (const size_t more : {0U, 1U, 31U}) lengths.push_back(header + at + more);
  }
  for (const size_t n : lengths) {
    if (n > whole.size()) continue;
    CAPTURE(n);
    std::filesystem::remove(path);
    dir.write("m.gguf.part", std::string_view(whole).substr(0, n));
    GgufWriter writer = open_writer(path);
    const size_t expected = n < header + 32 ? 0 : n < header + 64 ? 2 : n < header + 128 ? 3 : 4;
    CHECK(writer.tensors_done() == expected);
    write_rest(writer, 7);
    CHECK(pensee_test::read_file(path) == whole);
  }
}

TEST_CASE("a GGUF file larger than what is written at a time goes on where it was stopped") {
  const TempDir dir;
  const std::string path = dir.file("m.gguf");
  const std::string part = GgufWriter::part_path(path);
  const std::vector<int64_t> sizes = {(3 << 20) + 5, 7, 2 << 20, 6 << 20};
  const auto bytes_of = [&](size_t i) {
    return counting(static_cast<size_t>(sizes[i]), static_cast<int>(50 * i));
  };
  GgufHeader header;
  for (size_t i = 0; i < sizes.size(); ++i) {
    REQUIRE(header.add_tensor(std::to_string(i), DType::kI8, {{sizes[i]}, 1}).ok());
  }
  {
    GgufWriter writer = open_writer(path, header);
    for (size_t i = 0; i < 2; ++i) REQUIRE(writer.write(bytes_of(i)).ok());
    const auto begun = bytes_of(2);
    REQUIRE(writer.write(std::span(begun).first(1000)).ok());
    CHECK(writer.tensors_done() == 2);
    // Whole pieces of 2 MB are there, the others when the writer goes.
    CHECK(std::filesystem::file_size(part) == 2 << 20);
  }
  CHECK(std::filesystem::file_size(part) > (3 << 20) + 12 + 1000);
  GgufWriter writer = open_writer(path, header);
  CHECK(writer.tensors_done() == 2);
  for (size_t i = 2; i < sizes.size(); ++i) {
    const auto bytes = bytes_of(i);
    constexpr size_t kStep = 700'001;
    for (size_t at = 0; at < bytes.size(); at += kStep) {
      REQUIRE(writer.write(std::span(bytes).subspan(at, std::min(kStep, bytes.size() - at))).ok());
    }
  }
  REQUIRE(writer.finish().ok());
  const auto file = GgufFile::open(path);
  REQUIRE_MESSAGE(file.ok(), file.error().message);
  for (size_t i = 0; i < sizes.size(); ++i) {
    const pensee::TensorView& view = (*file)->tensors()[i];
    CHECK(std::ranges::equal(std::span(view.data, view.bytes), bytes_of(i)));
  }
}

TEST_CASE("what is left of another GGUF file is not taken") {
  const TempDir dir;
  const std::string path = dir.file("m.gguf");
  {
    GgufWriter writer = open_writer(path, small_header("two"));
    REQUIRE(writer.write(counting(6, 99)).ok());
    CHECK(writer.tensors_done() == 2);
  }
  GgufWriter writer = open_writer(path);
  CHECK(writer.tensors_done() == 0);
  write_rest(writer, 100);
  check_whole(path);
}

TEST_CASE("wrong use of a GGUF writer") {
  const TempDir dir;
  const std::string path = dir.file("m.gguf");
  CHECK(GgufWriter::create("", small_header()).error().status == Status::kInvalidArgument);
  const auto nowhere = GgufWriter::create(dir.file("none/m.gguf"), small_header());
  CHECK(nowhere.error().status == Status::kNotFound);
  CHECK(nowhere.error().message.find(dir.file("none/m.gguf.part: cannot create")) == 0);
  std::filesystem::create_directory(dir.file("d.gguf.part"));
  CHECK(GgufWriter::create(dir.file("d.gguf"), small_header()).error().status == Status::kIoError);

  GgufWriter writer = open_writer(path);
  const auto other = GgufWriter::create(path, small_header());
  CHECK(other.error().status == Status::kWrongState);
  CHECK(writer.write(counting(7, 0)).error().status == Status::kInvalidArgument);
  CHECK(writer.finish().error().message == path + ": expected the data of 4 tensors, found 0");
  CHECK(!std::filesystem::exists(path));
  write_rest(writer, 3);
  CHECK(writer.write(counting(1, 0)).error().status == Status::kInvalidArgument);
}
