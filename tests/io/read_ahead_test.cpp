#include "pensee/io/read_ahead.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "io/files.hpp"

namespace pensee {
namespace {

constexpr size_t kPage = 4096;

// A checkpoint of one tensor of some more MiB than are read between two calls of the progress.
std::shared_ptr<const Checkpoint> large(const pensee_test::TempDir& dir) {
  constexpr size_t kBytes = size_t{130} << 20;
  const std::string header = R"({"a":{"dtype":"F32","shape":[)" + std::to_string(kBytes / 4) +
                             R"(],"data_offsets":[0,)" + std::to_string(kBytes) + "]}}";
  const std::string start = pensee_test::safetensors(header, 0);
  std::filesystem::resize_file(dir.write("model.safetensors", start), start.size() + kBytes);
  return Checkpoint::open(dir.path()).value();
}

// A byte of every page. Not seen by sanitizers, whose own memory would take faults.
__attribute__((no_sanitize("address", "thread", "undefined"))) int64_t touch(
    const volatile std::byte* data, size_t bytes) {
  int64_t sum = 0;
  for (size_t i = 0; i < bytes; i += kPage) sum += static_cast<int64_t>(data[i]);
  return sum;
}

int64_t faults() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

TEST_CASE("all pages are there afterwards, and the progress can end it") {
  const pensee_test::TempDir dir;
  const auto checkpoint = large(dir);
  const auto pool = ThreadPool::create(3).value();
  std::vector<double> seen;
  const auto until = [&](size_t calls) {
    return [&seen, calls](double fraction) {
      seen.push_back(fraction);
      return seen.size() < calls;
    };
  };
  const Result<void> cancelled = read_ahead(*checkpoint, *pool, until(2));
  REQUIRE(!cancelled.ok());
  CHECK(cancelled.error().status == Status::kCancelled);
  CHECK(seen.size() == 2);
  CHECK(seen[0] == 0);
  CHECK(seen[1] > 0.5);

  REQUIRE(read_ahead(*checkpoint, *pool, {}).ok());
  const TensorView a = checkpoint->require("a").value();
  const int64_t before = faults();
  CHECK(touch(a.data, a.bytes) == 0);
  CHECK(faults() - before < 16);  // of 33,000 pages
}

TEST_CASE("a part of a file that has gone is an error that names the file") {
  const pensee_test::TempDir dir;
  const std::string path = dir.write("a", std::string(8 * kPage, 'x'));
  const auto file = MappedFile::open(path).value();
  std::filesystem::resize_file(path, kPage);
  const Result<void> read = file.populate(4 * kPage, 4 * kPage, path);
  REQUIRE(!read.ok());
  CHECK(read.error().status == Status::kIoError);
  CHECK(read.error().message.find(path) != std::string::npos);
}

}  // namespace
}  // namespace pensee
