#include "pensee/text/bpe.hpp"

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "text/golden.hpp"

namespace pensee {
namespace {

using Ids = std::vector<int32_t>;

std::array<int32_t, 256> bytes_as_ids() {
  std::array<int32_t, 256> ids{};
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

Ids encode(const Bpe& bpe, std::string_view text) {
  BpeScratch scratch;
  Ids ids;
  bpe.encode(text, scratch, ids);
  return ids;
}

// The definition: again and again, of all neighbours that may merge, the lowest rank and there the
// leftmost.
Ids merge_slowly(std::string_view text, const std::vector<Merge>& merges) {
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
  for (size_t i = 0; i < merges.size(); ++i) ranks[{merges[i].left, merges[i].right}] = i;
  Ids ids(text.begin(), text.end());
  while (true) {
    size_t best = merges.size();
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto rank = ranks.find({ids[i], ids[i + 1]});
      if (rank != ranks.end() && rank->second < best) {
        best = rank->second;
        at = i;
      }
    }
    if (best == merges.size()) return ids;
    ids[at] = merges[best].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST_CASE("the lowest rank merges first, then the leftmost") {
  const Bpe bpe(bytes_as_ids(),
                {{'b', 'c', 300}, {'a', 'b', 301}, {'a', 300, 302}, {'x', 'x', 303}});
  CHECK(encode(bpe, "abc") == Ids{302});
  CHECK(encode(bpe, "ab") == Ids{301});
  CHECK(encode(bpe, "abab") == Ids{301, 301});
  CHECK(encode(bpe, "xxx") == Ids{303, 'x'});
  CHECK(encode(bpe, "xxxx") == Ids{303, 303});
  CHECK(encode(bpe, "q") == Ids{'q'});
  CHECK(encode(bpe, "") == Ids{});
}

TEST_CASE("a pair listed twice keeps its last rank") {
  const Bpe bpe(bytes_as_ids(), {{'a', 'b', 300}, {'b', 'c', 301}, {'a', 'b', 300}});
  CHECK(encode(bpe, "abc") == Ids{'a', 301});
}

TEST_CASE("a word is found at once only if its merges lead to it") {
  Bpe bpe(bytes_as_ids(), {{'b', 'c', 300}, {'a', 'b', 301}, {301, 'c', 302}});
  TokenTable words;
  words.insert("bc", 300);
  words.insert("abc", 302);
  bpe.set_words(words, 303, false);
  for (int again = 0; again < 2; ++again) {
    CHECK(encode(bpe, "bc") == Ids{300});
    CHECK(encode(bpe, "abc") == Ids{'a', 300});  // 302 cannot be reached
  }
  bpe.set_words(words, 303, true);
  CHECK(encode(bpe, "abc") == Ids{302});
  CHECK(encode(bpe, "abcb") == Ids{'a', 300, 'b'});
}

TEST_CASE("pairs that are chosen to meet in one place of a table take no longer") {
  // For a hash without a key, the upper half of the product with this number: 0 for each of these.
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15U;
  uint64_t inverse = kMultiplier;  // modulo 2^64; each step doubles the bits that are right
  for (int i = 0; i < 6; ++i) inverse *= 2 - kMultiplier * inverse;
  std::vector<Merge> merges;
  for (uint64_t low = 0; merges.size() < 200'000; ++low) {
    const uint64_t pair = low * inverse;
    const auto left = static_cast<int32_t>(pair >> 32);
    const auto right = static_cast<int32_t>(pair & 0xFFFFFFFFU);
    if (left >= 0 && right >= 0) merges.push_back({left, right, 300});
  }
  const auto start = std::chrono::steady_clock::now();
  const Bpe bpe(bytes_as_ids(), std::move(merges));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  CHECK(seconds.count() < 2);  // one after the other, they would take some 10 s
  CHECK(encode(bpe, "ab") == Ids{'a', 'b'});
}

TEST_CASE("random merges give what the definition gives") {
  test::SplitMix64 random(5);
  for (int round = 0; round < 200; ++round) {
    // Tokens are strings over a, b, c; a merge joins two tokens that exist already.
    std::vector<std::string> tokens = {"a", "b", "c"};
    std::map<std::string, int32_t> ids = {{"a", 'a'}, {"b", 'b'}, {"c", 'c'}};
    std::vector<Merge> merges;
    for (int i = 0; i < 12; ++i) {
      const std::string left = tokens[random.below(tokens.size())];
      const std::string right = tokens[random.below(tokens.size())];
      const auto id = ids.emplace(left + right, 300 + i).first->second;
      merges.push_back({ids[left], ids[right], id});
      tokens.push_back(left + right);
    }
    const Bpe bpe(bytes_as_ids(), merges);
    for (int i = 0; i < 20; ++i) {
      std::string text;
      for (uint64_t n = random.below(30); n > 0; --n) {
        text.push_back(static_cast<char>('a' + random.below(3)));
      }
      CAPTURE(text);
      REQUIRE(encode(bpe, text) == merge_slowly(text, merges));
    }
  }
}

}  // namespace
}  // namespace pensee
