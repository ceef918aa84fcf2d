#include "pensee/base/log.hpp"

#include <doctest/doctest.h>

#include <string>

namespace pensee {
namespace {

TEST_CASE("levels have their lasting values and names") {
  CHECK(static_cast<int>(LogLevel::kDebug) == 0);
  CHECK(static_cast<int>(LogLevel::kInfo) == 1);
  CHECK(static_cast<int>(LogLevel::kWarning) == 2);
  CHECK(name_of(LogLevel::kDebug) == std::string("debug"));
  CHECK(name_of(LogLevel::kInfo) == std::string("info"));
  CHECK(name_of(LogLevel::kWarning) == std::string("warning"));
  CHECK(name_of(static_cast<LogLevel>(9)) == std::string("unknown"));
}

}  // namespace
}  // namespace pensee
