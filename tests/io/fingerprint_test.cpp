#include "pensee/io/fingerprint.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"

using pensee_test::gguf;
using pensee_test::tensor;

TEST_CASE("fingerprints differ where tensors do") {
  constexpr uint32_t kF32 = 0;
  constexpr uint32_t kI32 = 26;
  const std::string good = gguf({{}, {tensor("a", {2, 3}, kF32, 0)}, 24});
  std::string other_byte = good;
  other_byte[good.size() - 12] = 'x';
  const std::vector<std::string> files = {good,
                                          other_byte,
                                          gguf({{}, {tensor("b", {2, 3}, kF32, 0)}, 24}),
                                          gguf({{}, {tensor("a", {3, 2}, kF32, 0)}, 24}),
                                          gguf({{}, {tensor("a", {2, 3}, kI32, 0)}, 24}),
                                          gguf({{}, {tensor("a", {2, 3}, kF32, 0)}, 25}),
                                          gguf({{}, {}, 24})};
  std::set<uint64_t> seen;
  for (const std::string& file : files) {
    const std::vector<pensee::NamedBuffer> buffers = {{"m.gguf", pensee_test::as_bytes(file)}};
    const auto checkpoint = pensee::Checkpoint::open_buffers(buffers).value();
    pensee::Fnv1a64 hash;
    pensee::add_fingerprint(*checkpoint, hash);
    pensee::Fnv1a64 again;
    pensee::add_fingerprint(*checkpoint, again);
    CHECK(hash.value() == again.value());
    seen.insert(hash.value());
  }
  CHECK(seen.size() == files.size());
}
