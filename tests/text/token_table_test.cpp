#include "pensee/text/token_table.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using pensee::TokenTable;

TEST_CASE("texts have the id that they were given first") {
  std::vector<std::string> texts = {"", std::string("a\0b", 3), "a"};
  for (int i = 0; i < 5000; ++i) texts.push_back("token " + std::to_string(i * i));
  for (const size_t room : {0U, 3U, 20000U}) {
    TokenTable table;
    CHECK(!table.contains("a"));
    table.reserve(room);
    CHECK(!table.contains("a"));
    for (size_t i = 0; i < texts.size(); ++i) {
      CHECK(table.insert(texts[i], static_cast<int32_t>(i)) == static_cast<int32_t>(i));
    }
    CHECK(table.size() == texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string copy = texts[i];
      CHECK(table.find(copy) == static_cast<int32_t>(i));
      CHECK(table.insert(copy, 7) == static_cast<int32_t>(i));
    }
    CHECK(table.size() == texts.size());
    CHECK(!table.contains("token"));
    CHECK(!table.contains("b"));
  }
}
