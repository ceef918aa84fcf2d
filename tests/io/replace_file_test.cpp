#include "pensee/io/replace_file.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "io/files.hpp"
#include "pensee/io/mapped_file.hpp"

using pensee::MappedFile;
using pensee::NewFile;
using pensee::replace_file;
using pensee::Status;
using pensee_test::as_bytes;
using pensee_test::TempDir;

namespace {

std::string content(const std::string& path) {
  const auto file = MappedFile::open(path);
  REQUIRE_MESSAGE(file.ok(), file.error().message);
  return {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
}

size_t files_in(const TempDir& dir) {
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path())) ++n;
  return n;
}

}  // namespace

TEST_CASE("a file is written and replaced, and nothing else stays") {
  const TempDir dir;
  const std::string path = dir.file("x");
  CHECK(replace_file(path, as_bytes("first")).ok());
  CHECK(content(path) == "first");
  CHECK(replace_file(path, as_bytes("second, longer")).ok());
  CHECK(content(path) == "second, longer");
  CHECK(replace_file(path, {}).ok());
  CHECK(std::filesystem::file_size(path) == 0);
  CHECK(files_in(dir) == 1);
}

TEST_CASE("a file that is not whole has no name, or loses it") {
  const TempDir dir;
  const std::string path = dir.write("x", "old");
  { REQUIRE(NewFile::create(path, 100).ok()); }
  CHECK(files_in(dir) == 1);
  CHECK(content(path) == "old");
  const mode_t mask = ::umask(022);
  auto file = NewFile::create(path, 3, 0666);
  ::umask(mask);
  REQUIRE(file.ok());
  const bool had_name = files_in(dir) == 2;
  CHECK(file->write(0, as_bytes("new")).ok());
  CHECK(content(path) == "old");
  CHECK(file->commit().ok());
  CHECK(content(path) == "new");
  CHECK(files_in(dir) == 1);
  struct stat found {};
  REQUIRE(::stat(path.c_str(), &found) == 0);
  CHECK((found.st_mode & 0777) == (had_name ? 0600 : 0644));
}

TEST_CASE("a device or a pipe is not replaced") {
  const TempDir dir;
  const std::string path = dir.file("pipe");
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  const auto refused = replace_file(path, as_bytes("text"));
  REQUIRE(!refused.ok());
  CHECK(refused.error().status == Status::kInvalidArgument);
  CHECK(refused.error().message.starts_with(path));
  CHECK(std::filesystem::is_fifo(path));
  CHECK(files_in(dir) == 1);
}

TEST_CASE("where no file can be, the error names it and nothing stays") {
  const TempDir dir;
  const auto missing = replace_file(dir.file("no/x"), as_bytes("text"));
  REQUIRE(!missing.ok());
  CHECK(missing.error().status == Status::kNotFound);
  CHECK(missing.error().message.find(dir.file("no/x")) != std::string::npos);
  std::filesystem::create_directory(dir.file("sub"));
  dir.write("sub/full", "");
  CHECK(replace_file(dir.file("sub"), as_bytes("text")).error().status == Status::kIoError);
  CHECK(replace_file("", as_bytes("text")).error().status == Status::kInvalidArgument);
  CHECK(replace_file(std::string("a\0b", 3), {}).error().status == Status::kInvalidArgument);
  CHECK(files_in(dir) == 1);
}

TEST_CASE("a write that fails half way leaves the old file as it was") {
  const TempDir dir;
  const std::string path = dir.write("x", "old");
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const auto written = replace_file(path, as_bytes(std::string(5000, 'n')));
  REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
  std::signal(SIGXFSZ, handler);
  REQUIRE(!written.ok());
  CHECK(written.error().status == Status::kIoError);
  CHECK(content(path) == "old");
  CHECK(files_in(dir) == 1);
}
