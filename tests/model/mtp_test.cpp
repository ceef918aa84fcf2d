#include "pensee/model/mtp.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "forward.hpp"
#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"
#include "pensee/model/sequence.hpp"

namespace pensee {
namespace {

constexpr float kTolerance = 1e-3F;
struct Case {
  std::string checkpoint;
  std::string expected;
};
const Case kCases[] = {{"mla_yarn_f32", "mla_yarn_f32"},
                       {"v3_mtp_bf16", "v3_mtp_bf16"},
                       {"gguf/v3_nextn.gguf", "v3_mtp_bf16"}};

Sequence with_mtp(const std::shared_ptr<const Transformer>& model, int64_t chunk = 512) {
  auto sequence = Sequence::create(model, {.chunk = chunk, .cache_type = kExact, .mtp = true});
  REQUIRE_MESSAGE(sequence.ok(), sequence.error().message);
  return std::move(sequence).value();
}

// What the layer says after the sequence's newest token and `token`; empty: nothing.
std::vector<float> guess(Sequence& sequence, int32_t token) {
  const auto logits = sequence.guess_logits(token);
  REQUIRE_MESSAGE(logits.ok(), logits.error().message);
  if (!logits->has_value()) return {};
  return {(*logits)->begin(), (*logits)->end()};
}

TEST_CASE("the layer agrees with the reference, token by token and after drafts of any length") {
  for (const KernelTable* kernels : compiled_kernels()) {
    for (const Case& test : kCases) {
      CAPTURE(std::string(kernels->name));
      CAPTURE(test.checkpoint);
      const auto expected = golden::read_model(golden::kModels + "/" + test.expected);
      const auto model = load_transformer(golden::kModels + "/" + test.checkpoint, *kernels, 2);
      const std::vector<int32_t> tokens = expected.tokens();
      Sequence plain = Sequence::create(model, {.cache_type = kExact}).value();
      Sequence sequence = with_mtp(model);
      REQUIRE(plain.decode(tokens[0]).ok());
      REQUIRE(sequence.decode(tokens[0]).ok());
      for (size_t i = 0; i + 1 < tokens.size(); ++i) {
        CAPTURE(i);
        const int32_t next = tokens[i + 1];
        if (!sequence.foresees(next)) {
          CHECK(golden::max_difference(expected.mtp_logits.row(static_cast<int64_t>(i)),
                                       guess(sequence, next)) <= kTolerance);
        }
        std::vector<int32_t> draft(tokens.begin() + static_cast<ptrdiff_t>(i) + 2, tokens.end());
        draft.resize(std::min(draft.size(), i % 4));
        if (i % 5 == 1 && !draft.empty()) draft.back() = 0;
        REQUIRE(plain.decode(next).ok());
        REQUIRE(sequence.decode(next, draft).ok());
        CHECK(std::ranges::equal(sequence.logits(), plain.logits()));
      }
    }
  }
}

TEST_CASE("the layer follows prompts in chunks") {
  for (const Case& test : kCases) {
    const auto expected = golden::read_model(golden::kModels + "/" + test.expected);
    const auto model = load_transformer(golden::kModels + "/" + test.checkpoint, best_kernels(), 2);
    const std::vector<int32_t> tokens = expected.tokens();
    for (const int64_t chunk : {1, 7, 512}) {
      CAPTURE(test.checkpoint);
      CAPTURE(chunk);
      Sequence sequence = with_mtp(model, chunk);
      const size_t n = tokens.size() - 1;
      REQUIRE(sequence.prefill(std::span(tokens).first(n)).ok());
      CHECK(golden::max_difference(expected.mtp_logits.row(static_cast<int64_t>(n) - 1),
                                   guess(sequence, tokens[n])) <= kTolerance);
    }
  }
}

TEST_CASE("going back and on again leaves the layer where it would be") {
  const auto expected = golden::read_model(golden::kModels + "/v3_mtp_bf16");
  const auto model = load_transformer(expected.directory, best_kernels(), 2);
  const std::vector<int32_t> tokens = expected.tokens();
  Sequence sequence = with_mtp(model);
  REQUIRE(sequence.prefill(std::span(tokens).first(30)).ok());
  CHECK(!guess(sequence, 3).empty());
  // The states of the last pass are there: nothing is missing.
  sequence.truncate(20);
  CHECK(golden::max_difference(expected.mtp_logits.row(19), guess(sequence, tokens[20])) <=
        kTolerance);
  REQUIRE(sequence.decode(tokens[20]).ok());
  CHECK(golden::max_difference(expected.mtp_logits.row(20), guess(sequence, tokens[21])) <=
        kTolerance);
  // They are gone: no guess, and then guesses again.
  sequence.truncate(10);
  CHECK(guess(sequence, tokens[10]).empty());
  REQUIRE(sequence.decode(tokens[10]).ok());
  CHECK(!guess(sequence, tokens[11]).empty());
  // From nothing it is as at the beginning.
  sequence.truncate(0);
  REQUIRE(sequence.prefill(std::span(tokens).first(30)).ok());
  CHECK(golden::max_difference(expected.mtp_logits.row(29), guess(sequence, tokens[30])) <=
        kTolerance);
}

TEST_CASE("a layer that rests, a copy and a restored cache know what follows") {
  const auto expected = golden::read_model(golden::kModels + "/v3_mtp_bf16");
  const auto model = load_transformer(expected.directory, best_kernels(), 2);
  const std::vector<int32_t> tokens = expected.tokens();
  Sequence sequence = with_mtp(model);
  REQUIRE(sequence.prefill(std::span(tokens).first(20)).ok());
  sequence.rest_mtp(true);
  for (size_t i = 20; i < 25; ++i) REQUIRE(sequence.decode(tokens[i]).ok());
  sequence.rest_mtp(false);
  CHECK(!guess(sequence, tokens[25]).empty());
  Sequence copy = sequence.clone().value();
  CHECK(guess(copy, tokens[25]).empty());
  REQUIRE(copy.decode(tokens[25]).ok());
  CHECK(!guess(copy, tokens[26]).empty());
  copy.restore(20, [](auto) {});
  CHECK(guess(copy, tokens[20]).empty());
}

TEST_CASE("wrong calls are errors") {
  const auto model = load_transformer(golden::kModels + "/v3_mtp_bf16", best_kernels(), 1);
  Sequence sequence = with_mtp(model);
  CHECK(guess(sequence, 1).empty());  // no token has been read
  CHECK(sequence.guess_logits(-1).error().status == Status::kInvalidArgument);
  // A file may lack the layer that its configuration tells of.
  for (const char* name : {"qwen2_f32", "gguf/v3_split_kv_b.gguf"}) {
    const auto without = Sequence::create(
        load_transformer(golden::kModels + "/" + name, best_kernels(), 1), {.mtp = true});
    REQUIRE(!without.ok());
    CHECK(without.error().status == Status::kUnsupported);
  }
}

TEST_CASE("how far the layer has come is known after any cut") {
  MtpProgress p{.first = 10, .n_states = 5, .next = 15, .rows = 15};
  p.truncate(20);  // nothing is cut
  CHECK(p.next == 15);
  p.truncate(13);
  CHECK(p.n_states == 3);
  CHECK(p.next == 12);
  CHECK(p.rows == 12);
  p.truncate(4);
  CHECK(p.n_states == 0);
  CHECK(p.next == 3);
  CHECK(p.rows == 3);
  // With tokens missing it never comes to less than none.
  MtpProgress late{.first = 40, .n_states = 1, .next = 41, .rows = 2};
  late.truncate(30);
  CHECK(late.rows == 0);
  CHECK(late.next == 29);
  late.truncate(0);
  CHECK(late.next == 0);
}

}  // namespace
}  // namespace pensee
