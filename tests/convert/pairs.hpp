// Checkpoints of tests/golden/models and the GGUF files with the same weights that the gguf package
// wrote.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>

#include "pensee/io/checkpoint.hpp"

namespace pensee_test {

struct Pair {
  const char* hf;
  const char* gguf;
  bool mtp = false;  // with the layer of multi-token prediction
};
inline constexpr Pair kPairs[] = {
    {"v3_mtp_bf16", "v3_split_kv_b.gguf"},
    {"v3_mtp_bf16", "v3_nextn.gguf", true},
    {"v2_groups_bf16", "v2_groups.gguf"},
    {"qwen2_tied_bf16", "qwen2_tied.gguf"},
    {"qwen2_yarn_f32", "qwen2_yarn.gguf"},
    {"llama_f32", "llama.gguf"},
    {"llama3_tied_bf16", "llama3_rope-00001-of-00002.gguf"},
    {"qwen3_f32", "qwen3.gguf"},
    {"qwen3_yarn_bf16", "qwen3_yarn.gguf"},
    {"qwen3_moe_bf16", "qwen3_moe.gguf"},
};

inline std::shared_ptr<const pensee::Checkpoint> open_checkpoint(const std::string& path) {
  auto opened = pensee::Checkpoint::open(path);
  REQUIRE_MESSAGE(opened.ok(), opened.error().message);
  return std::move(opened).value();
}
inline std::shared_ptr<const pensee::Checkpoint> open_hf(const Pair& pair) {
  return open_checkpoint(std::string(PENSEE_TEST_DATA "/models/") + pair.hf);
}
inline std::shared_ptr<const pensee::Checkpoint> open_gguf(const Pair& pair) {
  return open_checkpoint(std::string(PENSEE_TEST_DATA "/models/gguf/") + pair.gguf);
}

}  // namespace pensee_test
