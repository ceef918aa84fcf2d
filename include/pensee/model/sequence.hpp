// Sequence: one sequence of tokens with its cache. Prompts, tokens one by one, drafts, and tokens
// of several sequences together all go through the forward pass of forward.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/model/attention_mla.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/forward.hpp"
#include "pensee/model/kv_cache.hpp"
#include "pensee/model/linear.hpp"
#include "pensee/model/sequence_options.hpp"
#include "pensee/model/sequence_state.hpp"
#include "pensee/model/transformer.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// Tokens that Sequence::decode() reads ahead at most. A pass of fewer tokens than these limits
// computes for each of them, bit for bit, what a pass of one token does.
inline constexpr int64_t kMaxDraft = std::min({int64_t{8}, kGemmRows - 2, kAbsorbedTokens - 2});

// Sequences that one pass of Sequence::decode_together() reads a token for at most: with so many,
// nearly all of a pass is arithmetic.
inline constexpr int64_t kMaxTogether = 64;

class Sequence;

// What decode_together() reads.
struct NextToken {
  Sequence* sequence;
  int32_t token;
};

// False cancels. Called after every chunk.
using PrefillProgress = std::function<bool(int64_t done, int64_t total)>;
// Logits (n, vocab_size) of n consecutive tokens, the first at `position`; valid during the call.
using LogitsSink = std::function<void(int64_t position, int64_t n, std::span<const float> logits)>;

// Thread rule: one thread at a time; any number of sequences of one model side by side.
class Sequence {
 public:
  // Errors: kInvalidArgument (options out of range, or as Arena::create says of the allocator),
  // kOutOfMemory, kUnsupported (mtp with a model that has no such layer).
  static Result<Sequence> create(std::shared_ptr<const Transformer> model,
                                 const SequenceOptions& options = {}) {
    PENSEE_ASSIGN_OR_RETURN(SequenceState state, SequenceState::create(std::move(model), options));
    return Sequence(std::move(state));
  }

  // An independent sequence with the same options, tokens and logits; its layer of multi-token
  // prediction begins anew. Copies the cache of the tokens there are, not its whole room. No other
  // thread may use the source meanwhile. Errors: kOutOfMemory, kInvalidArgument (misaligned memory
  // of the allocator).
  [[nodiscard]] Result<Sequence> clone() const {
    PENSEE_ASSIGN_OR_RETURN(SequenceState copy, state_.clone());
    return Sequence(std::move(copy));
  }

  // Bytes of one sequence: cache and buffers. Needs no weights, so it can be asked before loading.
  // The operating system commits them as tokens arrive. Errors: kInvalidArgument (options out of
  // range), kOutOfMemory (a context that cannot be addressed).
  static Result<size_t> estimate_memory(const Config& config, const SequenceOptions& options,
                                        int threads,
                                        const KernelTable& kernels = reference_kernels()) {
    return SequenceState::estimate_memory(config, options, kernels, threads);
  }

  [[nodiscard]] const Transformer& model() const noexcept { return *state_.pass().model(); }
  [[nodiscard]] int64_t length() const noexcept { return state_.length(); }  // tokens in the cache
  [[nodiscard]] int64_t capacity() const noexcept { return state_.options().context_length; }

  // Logits (vocab_size) of the last token fed; meaningless before the first.
  [[nodiscard]] std::span<const float> logits() const noexcept {
    return {state_.logits(), static_cast<size_t>(state_.vocab_size())};
  }

  // How the cache holds numbers, and what it holds: in so many planes (see KvCache), layer by
  // layer, (length, cache_row_bytes()).
  [[nodiscard]] CacheType cache_type() const noexcept { return state_.options().cache_type; }
  [[nodiscard]] int64_t cache_planes() const noexcept { return state_.cache_planes(); }
  [[nodiscard]] int64_t cache_row_bytes() const noexcept { return state_.pass().cache().row_bytes; }
  [[nodiscard]] std::span<const std::byte> cache_rows(int64_t plane) const noexcept {
    return state_.cache_rows(plane);
  }
  // Takes over the cache of `length` tokens from elsewhere: `fill` is called for each plane in turn
  // with its rows (length, cache_row_bytes()). Precondition: length <= capacity().
  template <class Fill>
  void restore(int64_t length, Fill&& fill) {
    ahead_.clear();
    state_.restore(length, fill);
  }
  // Takes over the logits of the last token: vocab_size float32 numbers at any alignment.
  void restore_logits(std::span<const std::byte> logits) {
    assert(logits.size() == this->logits().size_bytes());
    std::memcpy(state_.logits(), logits.data(), logits.size());
  }

  // Forgets all tokens from `length` on. logits() keeps its values.
  void truncate(int64_t length) noexcept {
    assert(length >= 0);
    if (length >= this->length()) return;
    ahead_.clear();
    state_.truncate(length);
  }

  // Appends tokens in chunks; logits() then belongs to the last. Errors: kInvalidArgument (a token
  // id outside the vocabulary), kContextFull (nothing was appended), kCancelled (the chunks done
  // stay), kOutOfMemory.
  Result<void> prefill(std::span<const int32_t> tokens, const PrefillProgress& progress = {}) {
    return prefill_chunks(tokens, progress, {});
  }

  // The same, and hands the logits of every token to `sink`.
  Result<void> prefill_with_logits(std::span<const int32_t> tokens, const LogitsSink& sink,
                                   const PrefillProgress& progress = {}) {
    return prefill_chunks(tokens, progress, sink);
  }

  // Appends one token. Errors as prefill().
  //
  // `draft`: tokens that may follow it. The same pass reads as many of them as draft_room() says,
  // and keeps the results aside: decode() of the next token costs nothing where
  // foresees() is true of it, and otherwise forgets them. All else is as if there were no draft,
  // to the bit.
  Result<void> decode(int32_t token, std::span<const int32_t> draft = {}) {
    if (foresees(token)) {
      use_ahead();
      return {};
    }
    const int64_t n = std::min(draft_room(), static_cast<int64_t>(draft.size()));
    if (n == 0) return prefill_chunks({&token, 1}, {}, {});
    std::array<int32_t, kMaxDraft + 1> tokens{token};
    std::copy_n(draft.begin(), n, tokens.begin() + 1);
    return read_ahead({tokens.data(), static_cast<size_t>(n + 1)});
  }

  // What the layer of multi-token prediction says of the token after `token`, should decode() read
  // that next: logits (vocab_size), valid until the next call. None where the layer has no state to
  // go by, or no memory. The next pass then finds the layer's work done. Errors: kInvalidArgument
  // (a token outside the vocabulary), kContextFull (decode() could not read it either).
  // Precondition: SequenceOptions::mtp.
  Result<std::optional<std::span<const float>>> guess_logits(int32_t token) {
    PENSEE_RETURN_IF_ERROR(state_.check({&token, 1}));
    ahead_.clear();
    const int64_t n = state_.mtp_catch_up(token);
    if (n == 0) return std::optional<std::span<const float>>();
    const MtpWeights& w = *model().weights().mtp;
    state_.pass().head(state_.pass().compute(), w.norm, w.head, n - 1, 1, state_.logit_rows());
    if (state_.pass().take_failure()) return std::optional<std::span<const float>>();
    return std::optional(std::span<const float>(state_.logit_rows(), logits().size()));
  }
  // While it rests, the layer of multi-token prediction costs nothing. It will know nothing of the
  // tokens read meanwhile.
  void rest_mtp(bool rests) noexcept { state_.rest_mtp(rests); }

  // Tokens of a draft that decode() reads.
  [[nodiscard]] int64_t draft_room() const noexcept {
    const int64_t room = std::min(state_.options().chunk, state_.room()) - 1;
    return std::clamp<int64_t>(room, 0, kMaxDraft);
  }

  // decode() of each sequence's token, in passes of up to kMaxTogether sequences, which read the
  // weights once for all. To each of them all is as after its own decode(), to the bit. Errors:
  // those of decode(), and nothing is appended then, but for kOutOfMemory: what is done stays.
  // Precondition: sequences of one model, each there once.
  static Result<void> decode_together(std::span<const NextToken> next) {
    for (const NextToken& n : next) PENSEE_RETURN_IF_ERROR(n.sequence->state_.check({&n.token, 1}));
    while (!next.empty()) {
      Sequence& lead = *next.front().sequence;
      const auto left = static_cast<int64_t>(next.size());
      const int64_t passes = ceil_div(left, std::min(kMaxTogether, lead.state_.options().chunk));
      const auto n = static_cast<size_t>(ceil_div(left, passes));
      PENSEE_RETURN_IF_ERROR(lead.decode_pass(next.first(n)));
      next = next.subspan(n);
    }
    return {};
  }

  // Whether decode(token) would find its result among those of the last draft.
  [[nodiscard]] bool foresees(int32_t token) const noexcept {
    return ahead_.used < ahead_.n && ahead_.tokens[static_cast<size_t>(ahead_.used)] == token;
  }

 private:
  // The tokens of the last draft: their rows of the cache and of logit_rows are there.
  struct Ahead {
    std::array<int32_t, kMaxDraft> tokens{};
    int64_t n = 0;
    int64_t used = 0;  // of these: decoded since

    void clear() noexcept { n = used = 0; }
  };

  explicit Sequence(SequenceState state) : state_(std::move(state)) {}

  Result<void> prefill_chunks(std::span<const int32_t> tokens, const PrefillProgress& progress,
                              const LogitsSink& sink) {
    PENSEE_RETURN_IF_ERROR(state_.check(tokens));
    ahead_.clear();
    const auto total = static_cast<int64_t>(tokens.size());
    for (int64_t done = 0; done < total;) {
      int64_t n = std::min(state_.options().chunk, total - done);
      // A last pass of few tokens would read all weights for them.
      const int64_t rest = total - done - n;
      if (rest > 0 && rest < kGemmRows && n >= 2 * kGemmRows) n -= kGemmRows - rest;
      state_.append(tokens.subspan(static_cast<size_t>(done), static_cast<size_t>(n)),
                    {.apart = n - 1, .all = sink || state_.options().mtp});
      done += n;
      if (sink) logits_to(sink, n);
      if (done == total) state_.pass().logits(n - 1, 1, state_.logits());
      PENSEE_RETURN_IF_ERROR(state_.finish_pass(n));
      if (progress && !progress(done, total)) {
        return Error{Status::kCancelled, "the prompt was cancelled after " + std::to_string(done) +
                                             " of " + std::to_string(total) + " tokens"};
      }
    }
    return {};
  }

  // Appends the first of the tokens, and reads the others ahead.
  Result<void> read_ahead(std::span<const int32_t> tokens) {
    PENSEE_RETURN_IF_ERROR(state_.check(tokens));
    ahead_.clear();
    const auto n = static_cast<int64_t>(tokens.size());
    state_.append(tokens);
    state_.pass().logits(0, n, state_.logit_rows());
    PENSEE_RETURN_IF_ERROR(state_.finish_pass(n));
    state_.count(1 - n);
    ahead_.n = n - 1;
    std::copy_n(tokens.begin() + 1, ahead_.n, ahead_.tokens.begin());
    state_.take_logits(state_, 0);
    return {};
  }

  // Appends the next token that was read ahead.
  void use_ahead() noexcept {
    state_.count(1);
    ++ahead_.used;
    state_.take_logits(state_, ahead_.used);
  }

  // Appends a token to each of several sequences, of which this one is the first, in the buffers
  // of this one.
  Result<void> decode_pass(std::span<const NextToken> next) {
    std::array<int32_t, kMaxTogether> tokens{};
    std::array<ForwardPass::Part, kMaxTogether> parts{};
    const ForwardPass& pass = state_.pass();
    const size_t n = next.size();
    for (size_t i = 0; i < n; ++i) {
      Sequence& s = *next[i].sequence;
      s.ahead_.clear();
      s.state_.before_pass(next[i].token);
      tokens[i] = next[i].token;
      parts[i] = {&s.state_.pass(), static_cast<int64_t>(i), 1, s.length()};
    }
    pass.run({tokens.data(), n}, {parts.data(), n});
    for (size_t i = 0; i < n; ++i) {
      const float* x = pass.x(static_cast<int64_t>(i));
      next[i].sequence->state_.after_pass(pass, {&tokens[i], 1}, x);
    }
    const Result<void> done = state_.finish_pass(1);
    if (!done) {
      for (const NextToken& other : next.subspan(1)) {
        other.sequence->truncate(other.sequence->length() - 1);
      }
      return done;
    }
    const int64_t most = std::min(SequenceState::kLogitRows, state_.options().chunk);
    for (int64_t first = 0; first < int64_t(n); first += most) {
      const int64_t rows = std::min(most, int64_t(n) - first);
      pass.logits(first, rows, state_.logit_rows(), true);
      for (int64_t i = 0; i < rows; ++i) {
        next[static_cast<size_t>(first + i)].sequence->state_.take_logits(state_, i);
      }
    }
    return {};
  }

  // Hands over the logits of the chunk of n tokens just computed.
  void logits_to(const LogitsSink& sink, int64_t n) const {
    const int64_t vocab = state_.vocab_size();
    float* logits = state_.logit_rows();
    for (int64_t i = 0; i < n; i += SequenceState::kLogitRows) {
      const int64_t rows = std::min(SequenceState::kLogitRows, n - i);
      state_.pass().logits(i, rows, logits);
      sink(length() - n + i, rows, {logits, static_cast<size_t>(rows * vocab)});
    }
  }

  SequenceState state_;
  Ahead ahead_;
};

}  // namespace pensee
