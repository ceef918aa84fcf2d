// SessionOptions: the room a session takes, decided when it is created.
#pragma once

#include <cstdint>

#include "pensee/base/arena.hpp"
#include "pensee/decode/speculative.hpp"
#include "pensee/model/kv_cache.hpp"
#include "pensee/model/sequence_options.hpp"

namespace pensee {

struct SessionOptions {
  // Tokens that the conversation may have, thoughts included. 0: SequenceOptions's default; of a
  // restored session, as the saved one had.
  int64_t context_length = 0;
  int64_t prefill_chunk = 0;  // as the chunk of SequenceOptions
  // Guesses at coming tokens, read together with the newest one. They change no reply: only the
  // time it takes, and how often a session looks whether it is to stop (once a pass).
  Speculation speculation = Speculation::kOff;
  // How the cache holds numbers: exact, or in half or a quarter of the memory.
  CacheType cache_type = SequenceOptions{}.cache_type;
  // Where the cache and the buffers of passes come from: nearly all that a session takes. The rest,
  // small blocks and what choosing tokens needs (32 bytes for each word of the vocabulary), is the
  // library's own. Must live as long as the session and its forks, and allow calls from every
  // thread that creates or destroys one.
  Allocator allocator = {};

  // `has_mtp`: whether the model has a layer of multi-token prediction.
  [[nodiscard]] SequenceOptions sequence_options(bool has_mtp = false) const noexcept {
    SequenceOptions options;
    options.mtp =
        speculation == Speculation::kMtp || (speculation == Speculation::kAuto && has_mtp);
    options.context_length = context_length;
    options.chunk = prefill_chunk;
    options.cache_type = cache_type;
    options.allocator = allocator;
    return options;
  }
};

}  // namespace pensee
