#include "pensee/decode/speculative.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

namespace pensee {
namespace {

using Tokens = std::vector<int32_t>;

Tokens guess(PromptLookup& lookup, const Tokens& tokens, int64_t room = 8) {
  const auto guesses = lookup.guess(tokens, room);
  return {guesses.begin(), guesses.end()};
}

// What is guessed after `tokens` when every probability is enough.
Tokens guess_after(const Tokens& tokens, int64_t room = 8) {
  PromptLookup lookup(0);
  lookup.restart(tokens);
  return guess(lookup, tokens, room);
}

// A lookup that has followed `tokens` one after the other.
PromptLookup followed(const Tokens& tokens, double worth) {
  PromptLookup lookup(worth);
  for (size_t n = 1; n <= tokens.size(); ++n) lookup.follow(std::span(tokens).first(n));
  return lookup;
}

Tokens repeated(const Tokens& tokens, int times) {
  Tokens all;
  for (int i = 0; i < times; ++i) all.insert(all.end(), tokens.begin(), tokens.end());
  return all;
}

TEST_CASE("the guess is what followed the same tokens before") {
  CHECK(guess_after({1, 2, 3, 4, 5, 1, 2}, 3) == Tokens{3, 4, 5});
  CHECK(guess_after({1, 2, 3, 4, 5, 1, 2}, 1) == Tokens{3});
  CHECK(guess_after({1, 2, 3, 4, 5, 1, 2}, 0).empty());
  // One token that agrees is chance.
  CHECK(guess_after({1, 2, 3, 4, 5, 9, 2}).empty());
  CHECK(guess_after({}).empty());
  CHECK(guess_after({1}).empty());
  CHECK(guess_after({1, 1}).empty());
}

TEST_CASE("the longest match counts, and of those the latest") {
  CHECK(guess_after({1, 2, 3, 4, 0, 2, 3, 5, 0, 1, 2, 3}, 1) == Tokens{4});
  CHECK(guess_after({1, 2, 4, 0, 1, 2, 5, 0, 1, 2}, 1) == Tokens{5});
  // 16 tokens are as good as 17.
  Tokens far = {50};
  Tokens near;
  for (int32_t i = 0; i < 16; ++i) near.push_back(i);
  far.insert(far.end(), near.begin(), near.end());
  Tokens tokens = far;
  tokens.push_back(60);
  tokens.insert(tokens.end(), near.begin(), near.end());
  tokens.push_back(61);
  tokens.insert(tokens.end(), far.begin(), far.end());
  CHECK(guess_after(tokens, 1) == Tokens{61});
}

TEST_CASE("a text with a period is guessed beyond its end") {
  CHECK(guess_after({7, 8, 9, 7, 8, 9, 7, 8}) == Tokens{9, 7, 8, 9, 7, 8, 9, 7});
  CHECK(guess_after({4, 4, 4}) == Tokens{4, 4, 4, 4, 4, 4, 4, 4});
}

TEST_CASE("following token by token finds what a search finds") {
  // Words that return in changing order, from a fixed rule.
  Tokens tokens;
  uint32_t state = 1;
  PromptLookup following(0);
  for (int i = 0; i < 400; ++i) {
    state = state * 1664525 + 1013904223;
    tokens.push_back(static_cast<int32_t>((state >> 24) % 3));
    following.follow(tokens);
    CHECK(guess(following, tokens) == guess_after(tokens));
  }
}

TEST_CASE(
    "guesses are handed out once they have proved probable, more of them the longer it lasts") {
  const Tokens word = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const Tokens once = repeated(word, 1);
  PromptLookup lookup = followed(once, 0.75);
  CHECK(guess(lookup, once).empty());
  Tokens tokens = once;
  size_t longest = 0;
  for (int i = 0; i < 8; ++i) {
    for (const int32_t token : word) {
      const Tokens guesses = guess(lookup, tokens);
      if (!guesses.empty()) CHECK(guesses.front() == token);
      CHECK(guesses.size() <= longest + 1);
      longest = std::max(longest, guesses.size());
      tokens.push_back(token);
      lookup.follow(tokens);
    }
  }
  CHECK(longest == 8);
}

TEST_CASE("guesses that fail are not handed out, whatever the length of the match") {
  // Pairs that return, and are followed by something else every time.
  Tokens tokens;
  PromptLookup lookup(0.5);
  size_t handed_out = 0;
  for (int32_t i = 0; i < 200; ++i) {
    for (const int32_t token : {1, 2, 100 + i}) {
      handed_out += guess(lookup, tokens).size();
      tokens.push_back(token);
      lookup.follow(tokens);
    }
  }
  CHECK(handed_out <= 1);
}

TEST_CASE("a rate forgets slowly what is long ago") {
  HitRate rate;
  CHECK(rate.value() == 0.5);
  rate.add(true);
  CHECK(rate.value() == doctest::Approx(2.0 / 3));
  for (int i = 0; i < 1000; ++i) rate.add(true);
  CHECK(rate.value() > 0.96);
  for (int i = 0; i < 100; ++i) rate.add(false);
  CHECK(rate.value() < 0.2);
}

TEST_CASE("guesses that cost something rest after a trial that failed, longer each time") {
  CostlyGuesses guesses(0.5);
  std::vector<int64_t> rests;
  int64_t rest = 0;
  int64_t made = 0;
  for (int pass = 0; pass < 20000; ++pass) {
    if (!guesses.is_due()) {
      ++rest;
      continue;
    }
    if (rest > 0) rests.push_back(std::exchange(rest, 0));
    ++made;
    CHECK(guesses.make(7).front() == 7);
    guesses.settle(8);
  }
  CHECK(made < 160);
  REQUIRE(rests.size() >= 3);
  for (size_t i = 1; i < rests.size(); ++i) CHECK(rests[i] >= rests[i - 1]);
}

TEST_CASE("guesses that come true go on, and only what they were about counts") {
  CostlyGuesses guesses(0.75);
  for (int pass = 0; pass < 1000; ++pass) {
    REQUIRE(guesses.is_due());
    guesses.make(pass);
    guesses.settle(pass % 10 == 9 ? -2 : pass);
    guesses.settle(-3);  // a token that nobody guessed
  }
}

TEST_CASE("names") {
  CHECK(std::string(name_of(Speculation::kOff)) == "off");
  CHECK(std::string(name_of(Speculation::kPromptLookup)) == "prompt_lookup");
  CHECK(std::string(name_of(Speculation::kMtp)) == "mtp");
  CHECK(std::string(name_of(Speculation::kAuto)) == "auto");
}

}  // namespace
}  // namespace pensee
