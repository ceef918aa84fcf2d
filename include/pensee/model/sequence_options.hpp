// How a sequence is to be held and read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "pensee/base/arena.hpp"
#include "pensee/base/result.hpp"
#include "pensee/model/attention_mla.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/kv_cache.hpp"

namespace pensee {

struct SequenceOptions {
  // Tokens that fit, at most Config::context_limit(). 0: the smaller of that and 32,768.
  int64_t context_length = 0;
  // Tokens of a prompt read together: 1 to 8192; 0: 512 with latent attention or experts, where
  // more pay, otherwise 256.
  int64_t chunk = 0;
  MlaForm mla = MlaForm::kAuto;  // other than kAuto only to compare the forms
  CacheType cache_type = CacheType::kBF16;
  bool mtp = false;          // with guess_logits()
  Allocator allocator = {};  // of cache and buffers; must live as long as the sequence
};

// The options with the numbers that are left to the model. Errors: kInvalidArgument (out of range).
[[nodiscard]] inline Result<SequenceOptions> checked_options(const Config& config,
                                                             SequenceOptions options) {
  constexpr int64_t kDefaultContext = 32768;
  constexpr int64_t kMaxChunk = 8192;
  const int64_t limit = config.context_limit();
  if (options.context_length == 0) options.context_length = std::min(limit, kDefaultContext);
  if (options.context_length < 1 || options.context_length > limit) {
    return invalid_argument("context_length: expected 1 to " + std::to_string(limit) +
                            " (what the model is made for), found " +
                            std::to_string(options.context_length));
  }
  if (options.chunk == 0) options.chunk = config.has_mla() || config.has_moe() ? 512 : 256;
  if (options.chunk < 1 || options.chunk > kMaxChunk) {
    return invalid_argument("prefill_chunk: expected 1 to " + std::to_string(kMaxChunk) +
                            ", found " + std::to_string(options.chunk));
  }
  options.chunk = std::min(options.chunk, options.context_length);
  return options;
}

}  // namespace pensee
