#include "pensee/text/token_order.hpp"

#include <doctest/doctest.h>

#include <array>
#include <string_view>
#include <tuple>
#include <vector>

namespace pensee {
namespace {

TEST_CASE("tokens come in the order of their bytes, with what they share with the one before") {
  constexpr std::array<std::string_view, 8> kTokens = {"b",  "abc", "",  "\xFF",
                                                       "ab", "abd", "b", "a"};
  const TokenOrder order(8, [&](int32_t token) { return kTokens[static_cast<size_t>(token)]; });
  std::vector<std::tuple<std::string_view, int32_t, uint32_t>> found;
  for (const auto& [token, shared] : order.entries()) {
    found.emplace_back(kTokens[static_cast<size_t>(token)], token, shared);
  }
  const decltype(found) expected = {{"a", 7, 0}, {"ab", 4, 1}, {"abc", 1, 2}, {"abd", 5, 2},
                                    {"b", 0, 0}, {"b", 6, 1},  {"\xFF", 3, 0}};
  CHECK(found == expected);
  CHECK(TokenOrder(0, [](int32_t) { return std::string_view(); }).entries().empty());
}

}  // namespace
}  // namespace pensee
