#include "pensee/io/load_pieces.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <vector>

namespace pensee {
namespace {

TEST_CASE("every piece is done once, and the progress grows") {
  const auto pool = ThreadPool::create(3).value();
  std::vector<std::atomic<int>> done(100);
  std::vector<double> seen;
  const auto progress = [&](double fraction) {
    seen.push_back(fraction);
    return true;
  };
  const Result<void> result =
      load_pieces(100, "a file", *pool, progress, [&](int64_t i, int /*thread*/) -> Result<void> {
        ++done[static_cast<size_t>(i)];
        return {};
      });
  CHECK(result.ok());
  for (const std::atomic<int>& count : done) CHECK(count == 1);
  REQUIRE(seen.size() > 1);
  CHECK(seen[0] == 0);
  for (size_t i = 1; i < seen.size(); ++i) CHECK(seen[i] > seen[i - 1]);
  CHECK(seen.back() < 1);
}

TEST_CASE("a piece's error ends the loading and comes back") {
  const auto pool = ThreadPool::create(2).value();
  std::atomic<int64_t> begun{0};
  const Result<void> result =
      load_pieces(1000, "a file", *pool, {}, [&](int64_t i, int /*thread*/) -> Result<void> {
        ++begun;
        if (i == 5) return Error{Status::kIoError, "piece 5"};
        return {};
      });
  REQUIRE(!result.ok());
  CHECK(result.error().status == Status::kIoError);
  CHECK(result.error().message == "piece 5");
  CHECK(begun < 1000);
}

TEST_CASE("the progress cancels, with the source's name") {
  const auto pool = ThreadPool::create(2).value();
  const Result<void> result = load_pieces(
      10, "a file", *pool, [](double) { return false; },
      [](int64_t, int) -> Result<void> { return {}; });
  REQUIRE(!result.ok());
  CHECK(result.error().status == Status::kCancelled);
  CHECK(result.error().message == "a file: loading was cancelled");
}

}  // namespace
}  // namespace pensee
