// Sequence: tokens of several sequences in one pass.
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

// Everything that a sequence holds is the same, to the bit.
void check_same(const Sequence& a, const Sequence& b) {
  REQUIRE(a.length() == b.length());
  CHECK(std::ranges::equal(a.logits(), b.logits()));
  for (int64_t p = 0; p < a.cache_planes(); ++p) {
    CHECK(std::ranges::equal(a.cache_rows(p), b.cache_rows(p)));
  }
}

// n sequences that begin at different places of the tokens, some of them with other options, read
// some tokens together, and their twins read them alone.
void check_together(const std::shared_ptr<const Transformer>& model,
                    const std::vector<int32_t>& tokens, size_t n) {
  const auto make = [&](size_t i) {
    SequenceOptions options;
    if (i == 1) options.chunk = 3;
    if (i == 2) options.context_length = 50;
    if (i == 3) options.cache_type = CacheType::kF32;
    if (i == 6) options.cache_type = CacheType::kQ8;
    Sequence sequence = Sequence::create(model, options).value();
    REQUIRE(sequence.prefill(std::span(tokens).subspan(i % 5, 1 + 2 * i % 17)).ok());
    return sequence;
  };
  std::vector<Sequence> together;
  std::vector<Sequence> alone;
  for (size_t i = 0; i < n; ++i) {
    together.push_back(make(i));
    alone.push_back(make(i));
  }
  constexpr size_t kTokens = 3;
  for (size_t t = 0; t < kTokens; ++t) {
    std::vector<NextToken> next;
    for (size_t i = 0; i < n; ++i) next.push_back({&together[i], tokens[(7 * i + t) % 20]});
    REQUIRE(Sequence::decode_together(next).ok());
    for (size_t i = 0; i < n; ++i) {
      CAPTURE(i);
      REQUIRE(alone[i].decode(next[i].token).ok());
      check_same(together[i], alone[i]);
    }
  }
}

TEST_CASE("sequences of any model may be read together, which changes no bit") {
  for (const golden::IndexRow& row : golden::read_index(golden::kModels)) {
    CAPTURE(row.name);
    const auto tokens = golden::read_model(row.expected).tokens();
    check_together(load_transformer(row.checkpoint, best_kernels(), 2), tokens, 5);
  }
}

TEST_CASE("nor does it with any kernels, or with so many that products would have another form") {
  for (const KernelTable* kernels : compiled_kernels()) {
    for (const char* name : {"mla_yarn_fp8", "llama_k_quants", "v3_iq"}) {
      CAPTURE(std::string(kernels->name));
      CAPTURE(std::string(name));
      const auto expected = golden::read_model(golden::kModels + "/" + name);
      check_together(load_transformer(expected.directory, *kernels, 3), expected.tokens(), 20);
    }
  }
}

TEST_CASE("nor with more sequences than rows of logits, or a pass, have room for") {
  const auto expected = golden::read_model(golden::kModels + "/dense_only_f32");
  static_assert(SequenceState::kLogitRows < 50 && kMaxTogether < 70);
  for (const size_t n : {50U, 70U}) {
    check_together(load_transformer(expected.directory, best_kernels(), 2), expected.tokens(), n);
  }
}

TEST_CASE("a token that cannot be read leaves all sequences as they are") {
  const auto expected = golden::read_model(golden::kModels + "/dense_only_f32");
  const auto model = load_transformer(expected.directory, best_kernels(), 1);
  Sequence a = Sequence::create(model).value();
  Sequence b = Sequence::create(model, {.context_length = 2}).value();
  REQUIRE(Sequence::decode_together(std::vector<NextToken>{{&a, 1}, {&b, 2}}).ok());
  const auto unknown = Sequence::decode_together(std::vector<NextToken>{{&b, 3}, {&a, -1}});
  REQUIRE(!unknown.ok());
  CHECK(unknown.error().status == Status::kInvalidArgument);
  CHECK(a.length() == 1);
  CHECK(b.length() == 1);
  REQUIRE(b.decode(3).ok());
  const auto full = Sequence::decode_together(std::vector<NextToken>{{&a, 3}, {&b, 3}});
  REQUIRE(!full.ok());
  CHECK(full.error().status == Status::kContextFull);
  CHECK(a.length() == 1);
  CHECK(Sequence::decode_together({}).ok());
  // What was read ahead is forgotten.
  REQUIRE(a.decode(1, std::vector<int32_t>{2, 3}).ok());
  CHECK(a.foresees(2));
  REQUIRE(Sequence::decode_together(std::vector<NextToken>{{&a, 5}}).ok());
  CHECK(!a.foresees(2));
}

}  // namespace
}  // namespace pensee
