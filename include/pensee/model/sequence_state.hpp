// What a sequence holds: the cache of its tokens, the buffers of its passes and their logits; and
// the pass that appends tokens.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "pensee/base/arena.hpp"
#include "pensee/base/result.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/forward.hpp"
#include "pensee/model/kv_cache.hpp"
#include "pensee/model/mtp.hpp"
#include "pensee/model/sequence_options.hpp"
#include "pensee/model/transformer.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// For Sequence, which says more of what its functions share with these. Thread rule: as Sequence.
class SequenceState {
 public:
  static constexpr int64_t kLogitRows = 32;  // rows of logits computed together

  static Result<SequenceState> create(std::shared_ptr<const Transformer> model,
                                      const SequenceOptions& options) {
    const Config& config = model->config();
    if (options.mtp && model->weights().mtp == nullptr) {
      return unsupported("mtp: this model has no layer of multi-token prediction");
    }
    PENSEE_ASSIGN_OR_RETURN(const SequenceOptions checked, checked_options(config, options));
    const KernelTable& kernels = model->kernels();
    const int threads = model->pool().size();
    PENSEE_ASSIGN_OR_RETURN(const size_t bytes, estimate_memory(config, checked, kernels, threads));
    PENSEE_ASSIGN_OR_RETURN(Arena arena, Arena::create(bytes, checked.allocator));
    SequenceState state;
    const Buffers buffers = Buffers::layout(arena, config, checked, kernels, threads);
    state.options_ = checked;
    state.arena_ = std::move(arena);
    state.pass_ = ForwardPass(std::move(model), buffers.pass, checked.mla);
    state.mtp_ = MtpLayer(buffers.mtp);
    state.logits_ = buffers.logits;
    state.logit_rows_ = buffers.logit_rows;
    return state;
  }

  [[nodiscard]] Result<SequenceState> clone() const {
    PENSEE_ASSIGN_OR_RETURN(SequenceState copy, create(pass_.model(), options_));
    if (length_ == 0) return copy;
    for (int64_t p = 0; p < cache_planes(); ++p) {
      std::ranges::copy(cache_rows(p), copy.pass_.cache().plane(p));
    }
    std::copy_n(logits_, vocab_size(), copy.logits_);
    copy.length_ = length_;
    copy.mtp_.restart(length_);
    return copy;
  }

  static Result<size_t> estimate_memory(const Config& config, const SequenceOptions& options,
                                        const KernelTable& kernels, int threads) {
    PENSEE_ASSIGN_OR_RETURN(const SequenceOptions checked, checked_options(config, options));
    Arena measure;
    (void)Buffers::layout(measure, config, checked, kernels, threads);
    if (measure.overflow()) {
      return Error{Status::kOutOfMemory, "a context of " + std::to_string(checked.context_length) +
                                             " tokens cannot be addressed"};
    }
    return measure.used();
  }

  [[nodiscard]] const SequenceOptions& options() const noexcept { return options_; }  // checked
  [[nodiscard]] const ForwardPass& pass() const noexcept { return pass_; }
  [[nodiscard]] int64_t vocab_size() const noexcept { return pass_.model()->config().vocab_size; }
  [[nodiscard]] int64_t length() const noexcept { return length_; }
  [[nodiscard]] int64_t room() const noexcept { return options_.context_length - length_; }
  [[nodiscard]] float* logits() const noexcept { return logits_; }          // (vocab_size)
  [[nodiscard]] float* logit_rows() const noexcept { return logit_rows_; }  // (kLogitRows, ...)

  // Row i of another's logit_rows(), or of its own, becomes its logits().
  void take_logits(const SequenceState& from, int64_t i) noexcept {
    std::copy_n(from.logit_rows_ + i * vocab_size(), vocab_size(), logits_);
  }

  [[nodiscard]] int64_t cache_planes() const noexcept {
    return pass_.model()->config().n_layers * pass_.cache().planes;
  }
  [[nodiscard]] std::span<const std::byte> cache_rows(int64_t plane) const noexcept {
    return rows_of(plane, length_);
  }
  template <class Fill>
  void restore(int64_t length, Fill&& fill) {
    assert(length >= 0 && length <= options_.context_length);
    length_ = length;
    mtp_.restart(length);
    if (length * pass_.cache().row_bytes == 0) return;
    for (int64_t p = 0; p < cache_planes(); ++p) fill(rows_of(p, length));
  }

  void truncate(int64_t length) noexcept {
    length_ = length;
    mtp_.truncate(length);
  }
  // Counts n tokens more, or fewer, whose rows are in the cache and stay there.
  void count(int64_t n) noexcept { length_ += n; }

  // Whether all tokens are known and find room.
  Result<void> check(std::span<const int32_t> tokens) const {
    for (const int32_t token : tokens) {
      if (token < 0 || token >= vocab_size()) {
        return invalid_argument("token: expected 0 to " + std::to_string(vocab_size() - 1) +
                                ", found " + std::to_string(token));
      }
    }
    if (static_cast<int64_t>(tokens.size()) <= room()) return {};
    return Error{Status::kContextFull, std::to_string(tokens.size()) +
                                           " tokens do not fit: the context holds " +
                                           std::to_string(options_.context_length) +
                                           " tokens and " + std::to_string(length_) + " are taken"};
  }

  // Appends tokens in one pass, whose rows x are in pass() afterwards. Precondition: check().
  void append(std::span<const int32_t> tokens, const WantedRows& wanted = {}) {
    before_pass(tokens.front());
    const ForwardPass::Part all{&pass_, 0, static_cast<int64_t>(tokens.size()), length_};
    pass_.run(tokens, {&all, 1}, wanted);
    after_pass(pass_, tokens, pass_.x());
  }

  // What is to be done before a pass, maybe with other sequences, and after it; `token` is the
  // first of this sequence, x (tokens, hidden) are its rows.
  void before_pass(int32_t token) {
    if (!mtp_rests_) (void)mtp_catch_up(token);
  }
  void after_pass(const ForwardPass& pass, std::span<const int32_t> tokens, const float* x) {
    if (options_.mtp) mtp_.keep_states(pass, tokens, x, length_);
    length_ += static_cast<int64_t>(tokens.size());
  }

  // After the pass of the newest n tokens: takes them back if it failed.
  Result<void> finish_pass(int64_t n) {
    if (!pass_.take_failure()) return {};
    truncate(length_ - n);
    return Error{Status::kOutOfMemory, "no memory for the workspace of oneDNN"};
  }

  // Returns how many rows of pass().x() are the layer's; 0 where it has no memory either: a guess
  // less must not fail the next pass.
  int64_t mtp_catch_up(int32_t token) {
    const int64_t n = mtp_.catch_up(pass_, length_, token);
    if (!pass_.take_failure()) return n;
    mtp_.restart(length_);
    return 0;
  }
  void rest_mtp(bool rests) noexcept { mtp_rests_ = rests; }

 private:
  struct Buffers {
    ForwardPass::Buffers pass;
    MtpScratch mtp;
    float* logits = nullptr;
    float* logit_rows = nullptr;

    static Buffers layout(Arena& arena, const Config& c, const SequenceOptions& options,
                          const KernelTable& kernels, int threads) {
      Buffers b;
      b.pass = ForwardPass::Buffers::layout(arena, c, options, kernels, threads);
      if (options.mtp) b.mtp = MtpScratch::layout(arena, c, options.chunk);
      b.logits = arena.take<float>(c.vocab_size);
      b.logit_rows = arena.take<float>(std::min(kLogitRows, options.chunk) * c.vocab_size);
      return b;
    }
  };

  SequenceState() = default;

  [[nodiscard]] std::span<std::byte> rows_of(int64_t plane, int64_t length) const noexcept {
    const KvCache& cache = pass_.cache();
    return {cache.plane(plane), static_cast<size_t>(length * cache.row_bytes)};
  }

  SequenceOptions options_;
  Arena arena_;
  ForwardPass pass_;
  MtpLayer mtp_;
  bool mtp_rests_ = false;
  float* logits_ = nullptr;
  float* logit_rows_ = nullptr;
  int64_t length_ = 0;
};

}  // namespace pensee
