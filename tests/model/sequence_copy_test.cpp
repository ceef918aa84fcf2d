// Sequence: copies, and caches taken out and put in.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "forward.hpp"
#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"
#include "pensee/model/sequence.hpp"

namespace pensee {
namespace {

struct Loaded {
  golden::Model expected =
      golden::read_model(std::string(PENSEE_TEST_DATA) + "/models/plain_rope_f32");
  std::shared_ptr<const Transformer> model;

  Loaded() { model = load_transformer(expected.directory, best_kernels(), 2); }
  Sequence sequence(int64_t context_length) const {
    Sequence s = Sequence::create(model, {.context_length = context_length}).value();
    REQUIRE(s.prefill(expected.prompt).ok());
    return s;
  }
};

std::vector<float> copy_of(std::span<const float> values) {
  return {values.begin(), values.end()};
}

TEST_CASE("a copy has the source's tokens and logits, and both go on for themselves") {
  const Loaded loaded;
  Sequence source = loaded.sequence(64);
  Sequence copy = source.clone().value();
  CHECK(copy.length() == source.length());
  CHECK(copy.capacity() == 64);
  CHECK(std::ranges::equal(copy.logits(), source.logits()));
  const int32_t a = loaded.expected.greedy[0];
  const int32_t b = loaded.expected.prompt[0];
  REQUIRE(a != b);
  REQUIRE(copy.decode(b).ok());
  REQUIRE(source.decode(a).ok());
  CHECK(!std::ranges::equal(copy.logits(), source.logits()));
  const std::vector<float> of_source = copy_of(source.logits());
  copy.truncate(copy.length() - 1);
  REQUIRE(copy.decode(a).ok());
  CHECK(copy_of(copy.logits()) == of_source);
  // An empty one, and one that was emptied.
  CHECK(Sequence::create(loaded.model, {.context_length = 8}).value().clone().value().length() ==
        0);
  source.truncate(0);
  CHECK(source.clone().value().length() == 0);
}

TEST_CASE("a cache taken out and put into another sequence gives the same logits, to the bit") {
  const Loaded loaded;
  Sequence source = loaded.sequence(64);
  std::vector<std::vector<std::byte>> planes;
  for (int64_t p = 0; p < source.cache_planes(); ++p) {
    const auto rows = source.cache_rows(p);
    planes.emplace_back(rows.begin(), rows.end());
    CHECK(static_cast<int64_t>(rows.size()) == source.length() * source.cache_row_bytes());
  }
  CHECK(!planes.empty());
  Sequence other = Sequence::create(loaded.model, {.context_length = 52}).value();
  size_t plane = 0;
  other.restore(source.length(), [&](std::span<std::byte> rows) {
    REQUIRE(rows.size() == planes[plane].size());
    std::copy(planes[plane].begin(), planes[plane].end(), rows.begin());
    ++plane;
  });
  other.restore_logits(std::as_bytes(source.logits()));
  CHECK(plane == planes.size());
  CHECK(other.length() == source.length());
  CHECK(std::ranges::equal(other.logits(), source.logits()));
  for (size_t i = 0; i < 3; ++i) {
    REQUIRE(other.decode(loaded.expected.greedy[i]).ok());
    REQUIRE(source.decode(loaded.expected.greedy[i]).ok());
    CHECK(std::ranges::equal(other.logits(), source.logits()));
  }
  other.restore(0, [](std::span<std::byte>) { FAIL("no plane has rows"); });
  CHECK(other.length() == 0);
}

}  // namespace
}  // namespace pensee
