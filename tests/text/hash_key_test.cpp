#include "pensee/text/hash_key.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <set>
#include <string>

using pensee::HashKey;

TEST_CASE("equal texts and numbers have equal hashes, and other ones with another key") {
  const int places[2] = {};
  const HashKey key(&places[0]);
  const HashKey other(&places[1]);
  CHECK(!HashKey().has_value());
  CHECK(key.has_value());
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 1000; ++i) {
    const std::string text = "token " + std::to_string(i);
    CHECK(key.hash(text) == key.hash(std::string(text)));
    CHECK(key.hash(text) != other.hash(text));
    CHECK(key.hash(i) == HashKey(&places[0]).hash(i));
    CHECK(key.hash(i) != other.hash(i));
    seen.insert(key.hash(text));
    seen.insert(key.hash(i));
  }
  CHECK(seen.size() == 2000);
  CHECK(key.hash("a") != key.hash(std::string("a\0", 2)));
}
