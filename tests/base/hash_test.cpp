#include "pensee/base/hash.hpp"

#include <doctest/doctest.h>

#include <string>

namespace pensee {
namespace {

uint64_t hash(std::string_view text) {
  return Fnv1a64().add(text).value();
}

TEST_CASE("FNV-1a gives its published values") {
  CHECK(hash("") == 0xcbf29ce484222325);
  CHECK(hash("a") == 0xaf63dc4c8601ec8c);
  CHECK(hash("foobar") == 0x85944171f73967e8);
}

TEST_CASE("parts add up to the whole") {
  CHECK(Fnv1a64().add("foo").add("bar").value() == hash("foobar"));
  CHECK(Fnv1a64().add(uint64_t{0x0102030405060708}).value() ==
        hash(std::string("\x08\x07\x06\x05\x04\x03\x02\x01")));
  CHECK(Fnv1a64().add(uint64_t{0}).value() == hash(std::string(8, '\0')));
}

TEST_CASE("every bit counts, at the start and at the end") {
  const std::string text(100, 'x');
  for (const size_t at : {0U, 50U, 99U}) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string other = text;
      other[at] = static_cast<char>(other[at] ^ (1 << bit));
      CHECK(hash(other) != hash(text));
    }
  }
}

}  // namespace
}  // namespace pensee
