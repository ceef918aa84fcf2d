// The logits of every token of a text, as one shaped array.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <xtensor/xtensor.hpp>

#include "pensee/base/result.hpp"
#include "pensee/model/sequence.hpp"

namespace pensee {

// Logits (tokens, vocab_size): row i belongs to the token after tokens[i]. With a context_length of
// 0, the context is as long as the text. Errors: kInvalidArgument (no tokens, a token outside the
// vocabulary, options out of range, more tokens than the model takes), kOutOfMemory. Any thread.
[[nodiscard]] inline Result<xt::xtensor<float, 2>> logits_of(
    std::shared_ptr<const Transformer> model, std::span<const int32_t> tokens,
    SequenceOptions options = {.cache_type = CacheType::kF32}) {
  if (tokens.empty()) return invalid_argument("tokens: expected one or more, found none");
  if (options.context_length == 0) options.context_length = static_cast<int64_t>(tokens.size());
  const auto vocab = static_cast<size_t>(model->config().vocab_size);
  PENSEE_ASSIGN_OR_RETURN(Sequence sequence, Sequence::create(std::move(model), options));
  xt::xtensor<float, 2> logits;
  try {
    logits.resize({tokens.size(), vocab});
  } catch (const std::bad_alloc&) {
    return Error{Status::kOutOfMemory,
                 "no memory for the logits of " + std::to_string(tokens.size()) + " tokens"};
  }
  const auto store = [&](int64_t position, int64_t, std::span<const float> rows) {
    std::copy(rows.begin(), rows.end(), logits.data() + static_cast<size_t>(position) * vocab);
  };
  PENSEE_RETURN_IF_ERROR(sequence.prefill_with_logits(tokens, store));
  return logits;
}

}  // namespace pensee
