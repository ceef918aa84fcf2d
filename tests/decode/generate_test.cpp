#include "pensee/decode/generate.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "pensee/kernels/dispatch.hpp"
#include "pensee/model/sequence.hpp"

namespace pensee {
namespace {

static_assert(TokenSequence<Sequence>);

constexpr int32_t kVocab = 16;
constexpr int64_t kCapacity = 12;

// The token that a context makes most probable: depends on every token and its place.
int32_t next_of(std::span<const int32_t> context) {
  uint32_t hash = 17;
  for (const int32_t token : context) hash = hash * 31 + static_cast<uint32_t>(token) + 1;
  return static_cast<int32_t>((hash >> 3) % kVocab);
}

// A sequence that remembers what it was fed, and counts.
struct FakeSequence {
  static constexpr int64_t kRoom = 3;
  std::vector<int32_t> cache;
  std::vector<int32_t> ahead;
  std::vector<float> scores = std::vector<float>(kVocab);
  int64_t fed = 0;     // tokens, those of drafts not counted
  int64_t passes = 0;  // of decode()

  Result<FakeSequence> clone() const { return *this; }
  int64_t length() const { return static_cast<int64_t>(cache.size()); }
  int64_t capacity() const { return kCapacity; }
  std::span<const float> logits() const { return scores; }
  void truncate(int64_t length) {
    if (length < this->length()) ahead.clear();
    cache.resize(static_cast<size_t>(length));
  }
  int64_t draft_room() const { return std::min(kRoom, kCapacity - length() - 1); }
  bool foresees(int32_t token) const { return !ahead.empty() && ahead.front() == token; }
  Result<void> prefill(std::span<const int32_t> tokens,
                       const std::function<bool(int64_t, int64_t)>& progress) {
    int64_t done = 0;
    for (const int32_t token : tokens) {
      PENSEE_RETURN_IF_ERROR(decode(token));
      if (progress && !progress(++done, static_cast<int64_t>(tokens.size()))) {
        return Error{Status::kCancelled, "cancelled"};
      }
    }
    return {};
  }
  Result<void> decode(int32_t token, std::span<const int32_t> draft = {}) {
    if (length() == kCapacity) return Error{Status::kContextFull, "full"};
    if (foresees(token)) {
      ahead.erase(ahead.begin());
    } else {
      ++passes;
      const auto read = std::min(static_cast<int64_t>(draft.size()), draft_room());
      ahead.assign(draft.begin(), draft.begin() + read);
    }
    ++fed;
    cache.push_back(token);
    std::fill(scores.begin(), scores.end(), 0.0F);
    scores[static_cast<size_t>(next_of(cache))] = 1;
    return {};
  }
};

using Feed = TokenFeed<FakeSequence>;

// The most probable token, which must be that of the feed's own tokens.
int32_t best(Feed& feed) {
  const Result<std::span<const float>> logits = feed.logits();
  REQUIRE(logits.ok());
  const auto token =
      static_cast<int32_t>(std::max_element(logits->begin(), logits->end()) - logits->begin());
  CHECK(token == next_of(feed.tokens()));
  CHECK(std::ranges::equal(feed.sequence().cache, feed.tokens()));
  return token;
}

TEST_CASE("a prompt re-reads only what differs, but always its last token") {
  Feed feed(FakeSequence{});
  CHECK(feed.set_prompt(std::vector<int32_t>{1, 2, 3, 4}, {}).value() == 0);
  best(feed);
  CHECK(feed.set_prompt(std::vector<int32_t>{1, 2, 3, 4}, {}).value() == 3);
  best(feed);
  CHECK(feed.sequence().fed == 5);
  CHECK(feed.set_prompt(std::vector<int32_t>{1, 2, 5, 6, 7}, {}).value() == 2);
  best(feed);
  CHECK(feed.set_prompt(std::vector<int32_t>{1, 2}, {}).value() == 1);
  best(feed);
  CHECK(feed.set_prompt(std::vector<int32_t>{8}, {}).value() == 0);
  best(feed);
}

TEST_CASE("the newest token is fed when it is needed, and never twice") {
  Feed feed(FakeSequence{});
  REQUIRE(feed.set_prompt(std::vector<int32_t>{1, 2}, {}).ok());
  best(feed);
  best(feed);
  CHECK(feed.sequence().fed == 2);
  feed.push(3);
  CHECK(feed.length() == 3);
  CHECK(feed.sequence().length() == 2);
  best(feed);
  CHECK(feed.sequence().fed == 3);
  // A token that was pushed but not fed is not in the cache for the next prompt.
  feed.push(4);
  CHECK(feed.set_prompt(std::vector<int32_t>{1, 2, 3, 4, 5}, {}).value() == 3);
  best(feed);
}

TEST_CASE("a draft is read with the newest token, and only with it") {
  Feed feed(FakeSequence{});
  REQUIRE(feed.set_prompt(std::vector<int32_t>{1, 2}, {}).ok());
  const int64_t passes = feed.sequence().passes;
  CHECK(feed.draft_room() == 0);  // the logits are there
  const std::vector<int32_t> draft = {4, 5, 6, 7};
  REQUIRE(feed.logits(draft).ok());
  CHECK(!feed.foresees(4));
  feed.push(3);
  CHECK(feed.draft_room() == FakeSequence::kRoom);
  REQUIRE(feed.logits(draft).ok());
  CHECK(feed.sequence().passes == passes + 1);
  CHECK(feed.foresees(4));
  CHECK(!feed.foresees(5));
  for (const int32_t token : {4, 5}) {
    feed.push(token);
    CHECK(feed.draft_room() == 0);
    best(feed);
    CHECK(feed.sequence().passes == passes + 1);
  }
  CHECK(feed.foresees(6));
  feed.push(8);
  CHECK(feed.draft_room() == FakeSequence::kRoom);
  best(feed);
  CHECK(feed.sequence().passes == passes + 2);
  CHECK(!feed.foresees(6));
}

TEST_CASE("tokens can be taken back") {
  for (size_t n = 0; n <= 3; ++n) {
    for (const bool fed : {false, true}) {
      CAPTURE(n);
      CAPTURE(fed);
      Feed feed(FakeSequence{});
      REQUIRE(feed.set_prompt(std::vector<int32_t>{1, 2}, {}).ok());
      for (const int32_t token : {3, 4}) {
        best(feed);
        feed.push(token);
      }
      if (fed) best(feed);
      feed.pop(n);
      CHECK(feed.length() == 4 - static_cast<int64_t>(n));
      best(feed);
      feed.push(9);
      best(feed);
    }
  }
}

TEST_CASE("a full context is an error that changes nothing") {
  Feed feed(FakeSequence{});
  const auto too_long = feed.set_prompt(std::vector<int32_t>(kCapacity + 1), {});
  REQUIRE(!too_long.ok());
  CHECK(too_long.error().status == Status::kContextFull);
  CHECK(too_long.error().message.find("13 tokens") != std::string::npos);
  CHECK(too_long.error().message.find("holds 12") != std::string::npos);
  REQUIRE(feed.set_prompt(std::vector<int32_t>(kCapacity), {}).ok());
  CHECK(!feed.is_full());
  feed.push(best(feed));  // one more token can be sampled, but not fed
  CHECK(feed.is_full());
  CHECK(feed.logits().error().status == Status::kContextFull);
  feed.pop(1);
  best(feed);
}

TEST_CASE("a cancelled prompt keeps what was read") {
  Feed feed(FakeSequence{});
  const std::vector<int32_t> prompt = {1, 2, 3, 4, 5};
  const auto stop = [](int64_t done, int64_t total) {
    CHECK(total == 5);
    return done < 2;
  };
  CHECK(feed.set_prompt(prompt, stop).error().status == Status::kCancelled);
  CHECK(feed.length() == 2);
  CHECK(!feed.has_logits());
  CHECK(feed.set_prompt(prompt, {}).value() == 2);
  best(feed);
  // The sequence has no logits within a prompt; asked for, they are those of the newest token.
  CHECK(feed.set_prompt(std::vector<int32_t>{7, 8, 9}, [](int64_t, int64_t) { return false; })
            .error()
            .status == Status::kCancelled);
  CHECK(feed.length() == 1);
  best(feed);
  CHECK(feed.has_logits());
  // The same where a host's function throws.
  const auto fail = [](int64_t done, int64_t /*total*/) {
    if (done == 2) throw std::runtime_error("host");
    return true;
  };
  CHECK_THROWS_AS(static_cast<void>(feed.set_prompt(prompt, fail)), std::runtime_error);
  CHECK(feed.length() == 2);
  CHECK(!feed.has_logits());
  best(feed);
}

TEST_CASE("a copy goes on alike, and each for itself") {
  for (const bool fed : {false, true}) {
    Feed feed(FakeSequence{});
    REQUIRE(feed.set_prompt(std::vector<int32_t>{1, 2}, {}).ok());
    feed.push(3);
    if (fed) best(feed);
    Feed copy = feed.clone().value();
    CHECK(copy.has_logits() == fed);
    CHECK(best(copy) == best(feed));
    copy.push(4);
    feed.push(5);
    best(copy);
    best(feed);
    CHECK(copy.tokens().back() == 4);
    CHECK(copy.set_prompt(std::vector<int32_t>{1, 2, 3, 4, 5}, {}).value() == 4);
  }
  // Also of a feed whose prompt was cancelled.
  Feed feed(FakeSequence{});
  static_cast<void>(
      feed.set_prompt(std::vector<int32_t>{7, 8}, [](int64_t, int64_t) { return false; }));
  Feed copy = feed.clone().value();
  CHECK(!copy.has_logits());
  best(copy);
}

TEST_CASE("another context can be taken over, with logits or without") {
  const std::vector<int32_t> tokens = {4, 5, 6};
  for (const int64_t cached : {2, 3}) {
    Feed feed(FakeSequence{});
    REQUIRE(feed.set_prompt(std::vector<int32_t>{1, 2, 3, 4, 5}, {}).ok());
    feed.restore(tokens, false, [&](FakeSequence& sequence) {
      sequence.cache.assign(tokens.begin(), tokens.begin() + cached);
    });
    CHECK(feed.length() == 3);
    CHECK(!feed.has_logits());
    best(feed);
  }
  Feed feed(FakeSequence{});
  feed.restore(tokens, true, [&](FakeSequence& sequence) {
    for (const int32_t token : tokens) REQUIRE(sequence.decode(token).ok());
  });
  CHECK(feed.has_logits());
  best(feed);
  CHECK(feed.sequence().fed == 3);
}

TEST_CASE("generate follows the model, to an end token, a limit or a full context") {
  const std::vector<int32_t> prompt = {3, 1};
  std::vector<int32_t> context = prompt;
  while (context.size() < kCapacity + 1) context.push_back(next_of(context));
  const std::vector<int32_t> expected(context.begin() + 2, context.end());
  const auto run = [&](int64_t max_tokens, std::vector<int32_t> end) {
    Feed feed(FakeSequence{});
    Sampler sampler = Sampler::create(best_kernels(), kVocab, {.temperature = 0}).value();
    return generate(feed, sampler, prompt, max_tokens, end).value();
  };
  CHECK(run(1000, {}) == expected);
  CHECK(run(4, {}) == std::vector(expected.begin(), expected.begin() + 4));
  CHECK(run(0, {}).empty());
  const auto first = std::find(expected.begin(), expected.end(), expected[5]);
  CHECK(run(1000, {expected[5]}) == std::vector(expected.begin(), first));
  Feed feed(FakeSequence{});
  Sampler sampler = Sampler::create(best_kernels(), kVocab, {}).value();
  CHECK(generate(feed, sampler, {}, 4).error().status == Status::kInvalidArgument);
}

}  // namespace
}  // namespace pensee
