#include "pensee/io/mapped_file.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include "io/files.hpp"

using pensee::MappedFile;
using pensee::Status;
using pensee_test::TempDir;

namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

TEST_CASE("the bytes of a file are there, and stay when the object moves") {
  const TempDir dir;
  auto opened = MappedFile::open(dir.write("a", "some bytes"));
  REQUIRE(opened.ok());
  MappedFile first = std::move(opened).value();
  const std::byte* place = first.bytes().data();
  CHECK(text_of(first) == "some bytes");
  CHECK(first.populate(0, first.bytes().size(), "a").ok());

  MappedFile second = std::move(first);
  CHECK(second.bytes().data() == place);
  CHECK(text_of(second) == "some bytes");

  auto other = MappedFile::open(dir.write("b", "other"));
  REQUIRE(other.ok());
  second = std::move(other).value();
  CHECK(text_of(second) == "other");
}

TEST_CASE("a file that was removed after opening is still readable") {
  const TempDir dir;
  const std::string path = dir.write("a", "kept");
  const auto opened = MappedFile::open(path);
  REQUIRE(opened.ok());
  std::filesystem::remove(path);
  CHECK(text_of(*opened) == "kept");
}

TEST_CASE("an empty file has no bytes") {
  const TempDir dir;
  const auto opened = MappedFile::open(dir.write("empty", ""));
  REQUIRE(opened.ok());
  CHECK(opened->bytes().empty());
  CHECK(opened->populate(0, 0, "empty").ok());
}

TEST_CASE("symbolic links are followed") {
  const TempDir dir;
  std::filesystem::create_symlink(dir.write("a", "target"), dir.file("link"));
  const auto opened = MappedFile::open(dir.file("link"));
  REQUIRE(opened.ok());
  CHECK(text_of(*opened) == "target");
}

TEST_CASE("a file beyond 4 GiB is mapped whole") {
  const TempDir dir;
  const std::string path = dir.write("big", "begin");
  constexpr uint64_t kSize = (uint64_t{4} << 30) + 12345;
  std::filesystem::resize_file(path, kSize);  // sparse: takes no room on the disk
  const auto opened = MappedFile::open(path);
  REQUIRE(opened.ok());
  REQUIRE(opened->bytes().size() == kSize);
  CHECK(opened->bytes().front() == std::byte{'b'});
  CHECK(opened->bytes().back() == std::byte{0});
}

TEST_CASE("what is not a regular file is refused, with its path") {
  const TempDir dir;
  const auto expect = [](const std::string& path, Status status, const char* words) {
    const auto opened = MappedFile::open(path);
    REQUIRE(!opened.ok());
    CHECK(opened.error().status == status);
    CHECK(opened.error().message.find(path) != std::string::npos);
    CHECK(opened.error().message.find(words) != std::string::npos);
  };
  expect(dir.path(), Status::kIoError, "a directory");
  expect(dir.file("missing"), Status::kNotFound, "No such file");
  expect(dir.write("plain", "x") + "/below", Status::kNotFound, "Not a directory");
  expect("/dev/null", Status::kIoError, "device");
  REQUIRE(::mkfifo(dir.file("pipe").c_str(), 0600) == 0);
  expect(dir.file("pipe"), Status::kIoError, "pipe");  // and is not waited for
}

TEST_CASE("paths that no file can have are refused") {
  for (const std::string& path : {std::string(), std::string("a\0b", 3)}) {
    const auto opened = MappedFile::open(path);
    REQUIRE(!opened.ok());
    CHECK(opened.error().status == Status::kInvalidArgument);
  }
}
