#include "pensee/base/result.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <set>
#include <string>

using pensee::Error;
using pensee::Result;
using pensee::Status;

namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return pensee::invalid_argument("expected an even number");
  return value / 2;
}

Result<void> expect_even(int value) {
  PENSEE_RETURN_IF_ERROR(half(value));
  return {};
}

Result<std::string> quarter_text(int value) {
  PENSEE_ASSIGN_OR_RETURN(const int once, half(value));
  PENSEE_ASSIGN_OR_RETURN(const int twice, half(once));
  return std::to_string(twice);
}

}  // namespace

TEST_CASE("a result holds a value or an error") {
  const Result<int> good = half(6);
  REQUIRE(good.ok());
  CHECK(static_cast<bool>(good));
  CHECK(*good == 3);

  const Result<int> bad = half(7);
  REQUIRE(!bad.ok());
  CHECK(!static_cast<bool>(bad));
  CHECK(bad.error().status == Status::kInvalidArgument);
  CHECK(bad.error().message == "expected an even number");
}

TEST_CASE("values that only move pass through") {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(5));
  REQUIRE(result.ok());
  CHECK(**result == 5);
  const std::unique_ptr<int> taken = std::move(result).value();
  CHECK(*taken == 5);
  CHECK(*result == nullptr);
}

TEST_CASE("members are reached by the arrow") {
  Result<std::string> result(std::string("pensee"));
  CHECK(result->size() == 6);
  result->push_back('!');
  CHECK(*result == "pensee!");
}

TEST_CASE("the macros return the first error and pass values on") {
  CHECK(expect_even(4).ok());
  CHECK(expect_even(5).error().status == Status::kInvalidArgument);
  CHECK(quarter_text(12).value() == "3");
  CHECK(!quarter_text(6).ok());
  CHECK(!quarter_text(3).ok());
}

TEST_CASE("a void result is good until told otherwise") {
  CHECK(Result<void>().ok());
  const Result<void> bad = Error{Status::kCancelled, "stopped"};
  REQUIRE(!bad.ok());
  CHECK(bad.error().message == "stopped");
}

TEST_CASE("every status has its own name and value") {
  std::set<std::string> names;
  std::set<int> values;
  int rows = 0;
#define PENSEE_X(enumerator, value, text)              \
  ++rows;                                              \
  values.insert(static_cast<int>(Status::enumerator)); \
  names.insert(pensee::status_name(Status::enumerator));
  PENSEE_STATUS_LIST(PENSEE_X)
#undef PENSEE_X
  CHECK(static_cast<int>(names.size()) == rows);
  CHECK(static_cast<int>(values.size()) == rows);
  CHECK(values.count(0) == 0);  // 0 stays free for "no error" in the C interface
  CHECK(pensee::status_name(Status::kContextFull) == std::string("context full"));
}

TEST_CASE("the helpers carry their status") {
  CHECK(pensee::corrupt_file("x").status == Status::kCorruptFile);
  CHECK(pensee::unsupported("x").status == Status::kUnsupported);
  CHECK(pensee::invalid_argument("x").status == Status::kInvalidArgument);
}
