// Sequence: tokens read ahead.
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

// Everything that a sequence holds.
std::vector<std::byte> state_of(const Sequence& s) {
  const auto logits = std::as_bytes(s.logits());
  std::vector<std::byte> state(logits.begin(), logits.end());
  for (int64_t p = 0; p < s.cache_planes(); ++p) {
    const auto rows = s.cache_rows(p);
    state.insert(state.end(), rows.begin(), rows.end());
  }
  return state;
}

// Decodes the tokens after the first n one by one, and with drafts of every length that are right
// for a while: after every token both sequences hold the same, to the bit.
void check_drafts(const std::shared_ptr<const Transformer>& model,
                  const std::vector<int32_t>& tokens, size_t n_prompt,
                  const SequenceOptions& options = {}) {
  Sequence plain = Sequence::create(model, options).value();
  Sequence ahead = Sequence::create(model, options).value();
  REQUIRE(plain.prefill(std::span(tokens).first(n_prompt)).ok());
  REQUIRE(ahead.prefill(std::span(tokens).first(n_prompt)).ok());
  const auto vocab = static_cast<int32_t>(model->config().vocab_size);
  size_t foreseen = 0;
  for (size_t i = n_prompt; i < tokens.size(); ++i) {
    CAPTURE(i);
    std::vector<int32_t> draft(tokens.begin() + static_cast<ptrdiff_t>(i) + 1, tokens.end());
    draft.resize(std::min(draft.size(), 1 + i % static_cast<size_t>(kMaxDraft)));
    // Every third one is wrong at its end.
    if (i % 3 == 0 && !draft.empty()) draft.back() = (draft.back() + 1) % vocab;
    if (ahead.foresees(tokens[i])) ++foreseen;
    REQUIRE(plain.decode(tokens[i]).ok());
    REQUIRE(ahead.decode(tokens[i], draft).ok());
    CHECK(ahead.length() == plain.length());
    REQUIRE(state_of(ahead) == state_of(plain));
  }
  CHECK(foreseen > tokens.size() / 3);
}

TEST_CASE("drafts, right or wrong, change no bit of any model") {
  for (const golden::IndexRow& row : golden::read_index(golden::kModels)) {
    CAPTURE(row.name);
    const auto expected = golden::read_model(row.expected);
    const auto model = load_transformer(row.checkpoint, best_kernels(), 2);
    check_drafts(model, expected.tokens(), 1);
    check_drafts(model, expected.tokens(), 20);
  }
}

TEST_CASE("drafts change no bit with any kernels") {
  for (const KernelTable* kernels : compiled_kernels()) {
    for (const char* name :
         {"mla_yarn_fp8", "llama_k_quants", "qwen3_q8_0", "v3_iq", "qwen2_f32"}) {
      CAPTURE(std::string(kernels->name));
      CAPTURE(std::string(name));
      const auto expected = golden::read_model(golden::kModels + "/" + name);
      check_drafts(load_transformer(expected.directory, *kernels, 3), expected.tokens(), 20);
    }
  }
}

TEST_CASE("nor with caches of eight bits") {
  const auto expected = golden::read_model(PENSEE_TEST_DATA "/models/tiny_r1");
  for (const KernelTable* kernels : compiled_kernels()) {
    CAPTURE(std::string(kernels->name));
    check_drafts(load_transformer(PENSEE_TINY_R1, *kernels, 3), expected.tokens(), 20,
                 {.cache_type = CacheType::kQ8});
  }
}

struct DraftModel {
  golden::Model expected = golden::read_model(golden::kModels + "/dense_only_f32");
  std::shared_ptr<const Transformer> model =
      load_transformer(expected.directory, best_kernels(), 1);

  Sequence sequence(const SequenceOptions& options = {}) const {
    return Sequence::create(model, options).value();
  }
};

TEST_CASE("a draft is cut to the room there is") {
  const DraftModel loaded;
  const std::vector<int32_t> draft = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
  const auto decoded_at_no_cost = [&](Sequence sequence) {
    REQUIRE(sequence.decode(1, draft).ok());
    int64_t n = 0;
    for (const int32_t token : draft) {
      if (!sequence.foresees(token)) return n;
      REQUIRE(sequence.decode(token).ok());
      ++n;
    }
    return n;
  };
  CHECK(decoded_at_no_cost(loaded.sequence()) == kMaxDraft);
  CHECK(decoded_at_no_cost(loaded.sequence({.context_length = 4})) == 3);
  CHECK(decoded_at_no_cost(loaded.sequence({.context_length = 1})) == 0);
  CHECK(decoded_at_no_cost(loaded.sequence({.chunk = 3})) == 2);
  CHECK(decoded_at_no_cost(loaded.sequence({.chunk = 1})) == 0);
}

TEST_CASE("what was read ahead is forgotten with the tokens before it") {
  const DraftModel loaded;
  Sequence sequence = loaded.sequence();
  REQUIRE(sequence.decode(1, std::vector<int32_t>{2, 3}).ok());
  CHECK(sequence.foresees(2));
  CHECK(!sequence.foresees(3));
  CHECK(!sequence.clone().value().foresees(2));  // a copy has the tokens only
  sequence.truncate(1);
  CHECK(sequence.foresees(2));
  sequence.truncate(0);
  CHECK(!sequence.foresees(2));

  REQUIRE(sequence.decode(1, std::vector<int32_t>{2, 3}).ok());
  REQUIRE(sequence.prefill(std::vector<int32_t>{5}).ok());
  CHECK(!sequence.foresees(2));
  REQUIRE(sequence.decode(1, std::vector<int32_t>{2, 3}).ok());
  sequence.restore(1, [](std::span<std::byte>) {});
  CHECK(!sequence.foresees(2));

  const auto vocab = static_cast<int32_t>(loaded.model->config().vocab_size);
  const auto unknown = sequence.decode(1, std::vector<int32_t>{2, vocab});
  REQUIRE(!unknown.ok());
  CHECK(unknown.error().status == Status::kInvalidArgument);
  CHECK(sequence.length() == 1);
}

}  // namespace
}  // namespace pensee
