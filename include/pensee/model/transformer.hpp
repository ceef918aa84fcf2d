// THE forward pass. Transformer: the immutable weights, shared by threads. Sequence: one sequence
// of tokens with its cache and buffers; its forward() reads from top to bottom.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "pensee/base/arena.hpp"
#include "pensee/base/threads.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/read_ahead.hpp"
#include "pensee/kernels/reference.hpp"
#include "pensee/model/attention_gqa.hpp"
#include "pensee/model/attention_mla.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/ffn.hpp"
#include "pensee/model/kv_cache.hpp"
#include "pensee/model/linear.hpp"
#include "pensee/model/moe.hpp"
#include "pensee/model/mtp.hpp"
#include "pensee/model/rope.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

struct TransformerOptions {
  const KernelTable* kernels = &reference_kernels();  // best_kernels() of pensee::pensee is faster
  int threads = 0;                                    // 0: one for each hardware thread
  LoadProgress progress = {};                         // may be empty; false cancels
  bool read_ahead = false;  // reads all of the files into memory; else as parts are used
};

class Transformer {
 public:
  // Errors: kNotFound, kCorruptFile, kUnsupported, kInvalidArgument, kCancelled, kOutOfMemory;
  // kIoError with read_ahead, without which the files' pages are read when they are first used.
  static Result<std::shared_ptr<const Transformer>> load(
      std::shared_ptr<const Checkpoint> checkpoint, Config config,
      const TransformerOptions& options) {
    std::shared_ptr<Transformer> t(new Transformer);
    PENSEE_ASSIGN_OR_RETURN(t->weights_,
                            Weights::load(*checkpoint, config, progress_of_weights(options)));
    const int threads = options.threads != 0
                            ? options.threads
                            : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    PENSEE_ASSIGN_OR_RETURN(t->pool_, ThreadPool::create(threads));
    if (options.read_ahead) {
      PENSEE_RETURN_IF_ERROR(read_ahead(*checkpoint, *t->pool_, options.progress));
    }
    if (!prepare_gemm()) return Error{Status::kOutOfMemory, "no memory to set up oneDNN"};
    t->kernels_ = options.kernels;
    t->rotary_ = RotaryTable::create(config);
    t->rotary_.slow_down(t->weights_.rope_freqs);
    t->softmax_scale_ = softmax_scale(config);
    t->config_ = std::move(config);
    t->checkpoint_ = std::move(checkpoint);
    return std::shared_ptr<const Transformer>(std::move(t));
  }

  [[nodiscard]] const Config& config() const noexcept { return config_; }
  [[nodiscard]] const Weights& weights() const noexcept { return weights_; }
  [[nodiscard]] const RotaryTable& rotary() const noexcept { return rotary_; }
  [[nodiscard]] float softmax_scale_of_scores() const noexcept { return softmax_scale_; }
  [[nodiscard]] const KernelTable& kernels() const noexcept { return *kernels_; }
  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return *checkpoint_; }
  // The threads are shared by all sequences; using them does not change the model.
  [[nodiscard]] ThreadPool& pool() const noexcept { return *pool_; }

 private:
  Transformer() = default;

  // Where files are read ahead, that takes the time; the weights' own progress would go first.
  static LoadProgress progress_of_weights(const TransformerOptions& options) {
    if (!options.read_ahead || !options.progress) return options.progress;
    return [&options](double) { return options.progress(0); };
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  Config config_;
  Weights weights_;
  RotaryTable rotary_;
  float softmax_scale_ = 1.0F;
  const KernelTable* kernels_ = nullptr;
  std::unique_ptr<ThreadPool> pool_;
};

struct SequenceOptions {
  // Tokens that fit, at most max_position_embeddings. 0: the smaller of that and 32,768.
  int64_t context_length = 0;
  int64_t chunk = 512;           // tokens of a prompt that go through the layers together
  MlaForm mla = MlaForm::kAuto;  // other than kAuto only to compare the forms
  CacheType cache_type = CacheType::kBF16;
  bool mtp = false;          // with guess_logits()
  Allocator allocator = {};  // of cache and buffers; must live as long as the sequence
};

// Tokens that Sequence::decode() reads ahead at most. A pass of fewer tokens than these limits
// computes for each of them, bit for bit, what a pass of one token does.
inline constexpr int64_t kMaxDraft = std::min({int64_t{8}, kGemmRows - 2, kAbsorbedTokens - 2});

// Sequences that one pass of Sequence::decode_together() reads a token for at most: from kGemmRows
// tokens on products are computed in another way, and differ in their last digits.
inline constexpr int64_t kMaxTogether = kGemmRows - 1;

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

// Which rows the last layer works out behind its attention: those from `apart` on, and those before
// it only if all are wanted, and then in products of their own, so that the others come out to the
// same bits.
struct WantedRows {
  int64_t apart = 0;
  bool all = true;
};

// Thread rule: one thread at a time; any number of sequences of one model side by side.
class Sequence {
 public:
  // Errors: kInvalidArgument (options out of range), kOutOfMemory, kUnsupported (mtp with a model
  // that has no such layer).
  static Result<Sequence> create(std::shared_ptr<const Transformer> model,
                                 const SequenceOptions& options = {}) {
    const Config& config = model->config();
    if (options.mtp && model->weights().mtp == nullptr) {
      return unsupported("mtp: this model has no layer of multi-token prediction");
    }
    PENSEE_ASSIGN_OR_RETURN(const SequenceOptions checked, check(config, options));
    PENSEE_ASSIGN_OR_RETURN(const size_t bytes,
                            estimate_memory(config, checked, model->pool().size()));
    PENSEE_ASSIGN_OR_RETURN(Arena arena, Arena::create(bytes, checked.allocator));
    Sequence sequence;
    sequence.buffers_ = Buffers::layout(arena, config, checked, model->pool().size());
    sequence.arena_ = std::move(arena);
    sequence.options_ = checked;
    sequence.failed_ = std::make_unique<std::atomic<bool>>(false);
    sequence.model_ = std::move(model);
    return sequence;
  }

  // An independent sequence with the same options, tokens and logits; its layer of multi-token
  // prediction begins anew. Copies the cache of the
  // tokens there are, not its whole room. No other thread may use the source meanwhile. Errors:
  // kOutOfMemory.
  [[nodiscard]] Result<Sequence> clone() const {
    PENSEE_ASSIGN_OR_RETURN(Sequence copy, create(model_, options_));
    if (length_ == 0) return copy;
    for (int64_t p = 0; p < cache_planes(); ++p) {
      std::ranges::copy(cache_rows(p), copy.buffers_.cache.plane(p));
    }
    std::copy_n(buffers_.logits, model_->config().vocab_size, copy.buffers_.logits);
    copy.length_ = length_;
    copy.mtp_.next = length_;
    return copy;
  }

  // Bytes of one sequence: cache and buffers. Needs no weights, so it can be asked before loading.
  // The operating system commits them as tokens arrive.
  static Result<size_t> estimate_memory(const Config& config, const SequenceOptions& options,
                                        int threads) {
    PENSEE_ASSIGN_OR_RETURN(const SequenceOptions checked, check(config, options));
    Arena measure;
    (void)Buffers::layout(measure, config, checked, threads);
    if (measure.overflow()) {
      return Error{Status::kOutOfMemory, "a context of " + std::to_string(checked.context_length) +
                                             " tokens cannot be addressed"};
    }
    return measure.used();
  }

  [[nodiscard]] const Transformer& model() const noexcept { return *model_; }
  [[nodiscard]] int64_t length() const noexcept { return length_; }  // tokens in the cache
  [[nodiscard]] int64_t capacity() const noexcept { return options_.context_length; }

  // Logits (vocab_size) of the last token fed; meaningless before the first.
  [[nodiscard]] std::span<const float> logits() const noexcept {
    return {buffers_.logits, static_cast<size_t>(model_->config().vocab_size)};
  }

  // How the cache holds numbers, and what it holds: in so many planes (see KvCache), layer by
  // layer, (length, cache_row_bytes()).
  [[nodiscard]] CacheType cache_type() const noexcept { return options_.cache_type; }
  [[nodiscard]] int64_t cache_planes() const noexcept {
    return model_->config().n_layers * buffers_.cache.planes;
  }
  [[nodiscard]] int64_t cache_row_bytes() const noexcept { return buffers_.cache.row_bytes; }
  [[nodiscard]] std::span<const std::byte> cache_rows(int64_t plane) const noexcept {
    return {buffers_.cache.plane(plane), static_cast<size_t>(length_ * cache_row_bytes())};
  }
  // Takes over the cache of `length` tokens from elsewhere: `fill` is called for each plane in turn
  // with its rows (length, cache_row_bytes()). Precondition: length <= capacity().
  template <class Fill>
  void restore(int64_t length, Fill&& fill) {
    assert(length >= 0 && length <= capacity());
    length_ = length;
    ahead_.clear();
    mtp_ = {.next = length};
    const auto bytes = static_cast<size_t>(length * cache_row_bytes());
    if (bytes == 0) return;
    for (int64_t p = 0; p < cache_planes(); ++p) {
      fill(std::span<std::byte>(buffers_.cache.plane(p), bytes));
    }
  }
  // Takes over the logits of the last token: vocab_size float32 numbers at any alignment.
  void restore_logits(std::span<const std::byte> logits) {
    assert(logits.size() == this->logits().size_bytes());
    std::memcpy(buffers_.logits, logits.data(), logits.size());
  }

  // Forgets all tokens from `length` on. logits() keeps its values.
  void truncate(int64_t length) noexcept {
    assert(length >= 0);
    if (length >= length_) return;
    length_ = length;
    ahead_.clear();
    mtp_.truncate(length);
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
  // go by. The next pass then finds the layer's work done. Errors: kInvalidArgument (a token
  // outside the vocabulary). Precondition: SequenceOptions::mtp.
  Result<std::optional<std::span<const float>>> guess_logits(int32_t token) {
    PENSEE_RETURN_IF_ERROR(check({&token, 1}));
    ahead_.clear();
    const int64_t n = mtp_catch_up(token);
    if (n == 0) return std::optional<std::span<const float>>();
    const MtpWeights& w = *model_->weights().mtp;
    head(w.norm, w.head, n - 1, 1, buffers_.logit_rows);
    return std::optional(std::span<const float>(buffers_.logit_rows,
                                                static_cast<size_t>(model_->config().vocab_size)));
  }
  // While it rests, the layer of multi-token prediction costs nothing. It will know nothing of the
  // tokens read meanwhile.
  void rest_mtp(bool rests) noexcept { mtp_rests_ = rests; }

  // Tokens of a draft that decode() reads.
  [[nodiscard]] int64_t draft_room() const noexcept {
    const int64_t room = std::min(options_.chunk, capacity() - length_) - 1;
    return std::clamp<int64_t>(room, 0, kMaxDraft);
  }

  // decode() of each sequence's token, in passes of up to kMaxTogether sequences, which read the
  // weights once for all. To each of them all is as after its own decode(), to the bit. Errors:
  // those of decode(), and nothing is appended then, but for kOutOfMemory: what is done stays.
  // Precondition: sequences of one model, each there once.
  static Result<void> decode_together(std::span<const NextToken> next) {
    for (const NextToken& n : next) PENSEE_RETURN_IF_ERROR(n.sequence->check({&n.token, 1}));
    while (!next.empty()) {
      Sequence& lead = *next.front().sequence;
      const auto left = static_cast<int64_t>(next.size());
      const int64_t passes = ceil_div(left, std::min(kMaxTogether, lead.options_.chunk));
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
  // Consecutive rows of a pass that belong to one sequence.
  struct Part {
    Sequence* sequence = nullptr;
    int64_t first = 0;
    int64_t n = 0;
    int64_t begin = 0;  // the place of the first in the sequence's cache
  };

  // The tokens of the last draft: their rows of the cache and of logit_rows are there.
  struct Ahead {
    std::array<int32_t, kMaxDraft> tokens{};
    int64_t n = 0;
    int64_t used = 0;  // of these: decoded since

    void clear() noexcept { n = used = 0; }
  };

  static constexpr int64_t kDefaultContext = 32768;
  static constexpr int64_t kMaxChunk = 8192;
  static constexpr int64_t kLogitRows = 32;  // rows of logits computed together for a sink

  struct Buffers {
    KvCache cache;
    float* angles = nullptr;      // (chunk, 2, rope_dim / 2)
    float* x = nullptr;           // (chunk, hidden): the residual stream
    float* normed = nullptr;      // (chunk, hidden): input of a sub-layer
    float* delta = nullptr;       // (chunk, hidden): output of a sub-layer
    float* logits = nullptr;      // (vocab_size)
    float* logit_rows = nullptr;  // (kLogitRows, vocab_size)
    MlaScratch mla;
    GqaScratch gqa;
    float* ffn = nullptr;  // (chunk, intermediate): inside a dense layer
    MoeScratch moe;
    MtpScratch mtp;
    float* thread_scratch = nullptr;  // (threads, scratch_size)
    int64_t scratch_size = 0;
    PlannedProduct* plan = nullptr;  // (max_products)
    int64_t max_products = 0;
    Q8Chunk* q8 = nullptr;  // (max_q8): the inputs of one multiply(), quantised
    int64_t max_q8 = 0;

    static Buffers layout(Arena& arena, const Config& c, const SequenceOptions& options,
                          int threads) {
      const int64_t chunk = options.chunk;
      Buffers b;
      Config cached = c;  // the layer of multi-token prediction comes after the others
      cached.n_layers += options.mtp ? 1 : 0;
      b.cache = KvCache::layout(arena, cached, options.context_length, options.cache_type);
      b.angles = arena.take<float>(chunk * c.rope_dim());
      b.x = arena.take<float>(chunk * c.hidden_size);
      b.normed = arena.take<float>(chunk * c.hidden_size);
      b.delta = arena.take<float>(chunk * c.hidden_size);
      b.logits = arena.take<float>(c.vocab_size);
      b.logit_rows = arena.take<float>(std::min(kLogitRows, chunk) * c.vocab_size);
      if (c.has_mla()) {
        b.mla = MlaScratch::layout(arena, c, b.cache, chunk, threads);
      } else {
        b.gqa = GqaScratch::layout(arena, c, options.context_length, chunk, threads);
      }
      b.ffn = arena.take<float>(chunk * c.intermediate_size);
      if (c.has_moe()) b.moe = MoeScratch::layout(arena, c, chunk);
      if (options.mtp) b.mtp = MtpScratch::layout(arena, c, chunk);
      b.max_products = std::max<int64_t>(3, c.has_moe() ? MoeScratch::max_products(c) : 0);
      b.plan = arena.take<PlannedProduct>(b.max_products);
      const int64_t widest = std::max(
          {options.mtp ? 2 * c.hidden_size : c.hidden_size, c.intermediate_size, c.q_lora_rank,
           c.attention_size(), c.moe_intermediate_size * std::max<int64_t>(1, c.n_shared_experts)});
      b.max_q8 = chunk * q8_chunks(widest);
      if (c.has_moe()) b.max_q8 = std::max(b.max_q8, MoeScratch::max_q8(c, chunk));
      b.q8 = arena.take<Q8Chunk>(b.max_q8);
      constexpr int64_t kAligned = 16;  // floats: every thread's scratch is aligned as the first is
      b.scratch_size = std::max(multiply_scratch(widest, chunk),
                                c.has_mla() ? b.mla.thread_scratch() : b.gqa.thread_scratch());
      b.scratch_size = ceil_div(b.scratch_size, kAligned) * kAligned;
      b.thread_scratch = arena.take<float>(threads * b.scratch_size);
      return b;
    }
  };

  Sequence() = default;

  static Result<SequenceOptions> check(const Config& config, SequenceOptions options) {
    const int64_t limit = config.max_position_embeddings;
    if (options.context_length == 0) options.context_length = std::min(limit, kDefaultContext);
    if (options.context_length < 1 || options.context_length > limit) {
      return invalid_argument("context_length: expected 1 to " + std::to_string(limit) +
                              " (max_position_embeddings), found " +
                              std::to_string(options.context_length));
    }
    if (options.chunk < 1 || options.chunk > kMaxChunk) {
      return invalid_argument("chunk: expected 1 to " + std::to_string(kMaxChunk) + ", found " +
                              std::to_string(options.chunk));
    }
    options.chunk = std::min(options.chunk, options.context_length);
    return options;
  }

  // Whether all tokens are known and find room.
  Result<void> check(std::span<const int32_t> tokens) const {
    for (const int32_t token : tokens) {
      if (token < 0 || token >= model_->config().vocab_size) {
        return invalid_argument("token: expected 0 to " +
                                std::to_string(model_->config().vocab_size - 1) + ", found " +
                                std::to_string(token));
      }
    }
    if (static_cast<int64_t>(tokens.size()) <= capacity() - length_) return {};
    return Error{Status::kContextFull, std::to_string(tokens.size()) +
                                           " tokens do not fit: the context holds " +
                                           std::to_string(capacity()) + " tokens and " +
                                           std::to_string(length_) + " are taken"};
  }

  // After the pass of the newest n tokens: takes them back if it failed.
  Result<void> finish_pass(int64_t n) {
    if (!failed_->exchange(false)) return {};
    length_ -= n;
    mtp_.truncate(length_);
    return Error{Status::kOutOfMemory, "no memory for the workspace of oneDNN"};
  }

  Result<void> prefill_chunks(std::span<const int32_t> tokens, const PrefillProgress& progress,
                              const LogitsSink& sink) {
    PENSEE_RETURN_IF_ERROR(check(tokens));
    ahead_.clear();
    const auto total = static_cast<int64_t>(tokens.size());
    for (int64_t done = 0; done < total;) {
      const int64_t n = std::min(options_.chunk, total - done);
      forward(tokens.subspan(static_cast<size_t>(done), static_cast<size_t>(n)),
              {.apart = n - 1, .all = sink || options_.mtp});
      done += n;
      if (sink) logits_to(sink, n);
      if (done == total) compute_logits(n - 1, 1, buffers_.logits);
      PENSEE_RETURN_IF_ERROR(finish_pass(n));
      if (progress && !progress(done, total)) {
        return Error{Status::kCancelled, "the prompt was cancelled after " + std::to_string(done) +
                                             " of " + std::to_string(total) + " tokens"};
      }
    }
    return {};
  }

  // Appends the first of the tokens, and reads the others ahead.
  Result<void> read_ahead(std::span<const int32_t> tokens) {
    PENSEE_RETURN_IF_ERROR(check(tokens));
    ahead_.clear();
    const auto n = static_cast<int64_t>(tokens.size());
    forward(tokens);
    compute_logits(0, n, buffers_.logit_rows);
    PENSEE_RETURN_IF_ERROR(finish_pass(n));
    length_ -= n - 1;
    ahead_.n = n - 1;
    std::copy_n(tokens.begin() + 1, ahead_.n, ahead_.tokens.begin());
    std::copy_n(buffers_.logit_rows, model_->config().vocab_size, buffers_.logits);
    return {};
  }

  // Appends the next token that was read ahead.
  void use_ahead() noexcept {
    ++length_;
    ++ahead_.used;
    const int64_t vocab = model_->config().vocab_size;
    std::copy_n(buffers_.logit_rows + ahead_.used * vocab, vocab, buffers_.logits);
  }

  // Appends a token to each of several sequences, of which this one is the first, in the buffers
  // of this one.
  Result<void> decode_pass(std::span<const NextToken> next) {
    std::array<int32_t, kMaxTogether> tokens{};
    std::array<Part, kMaxTogether> parts{};
    const size_t n = next.size();
    for (size_t i = 0; i < n; ++i) {
      tokens[i] = next[i].token;
      parts[i] = {next[i].sequence, static_cast<int64_t>(i), 1, next[i].sequence->length_};
      next[i].sequence->ahead_.clear();
    }
    forward({tokens.data(), n}, {parts.data(), n});
    compute_logits(0, static_cast<int64_t>(n), buffers_.logit_rows);
    const Result<void> done = finish_pass(1);
    const int64_t vocab = model_->config().vocab_size;
    for (const Part& part : std::span(parts.data(), n)) {
      Sequence& sequence = *part.sequence;
      if (done) {
        std::copy_n(buffers_.logit_rows + part.first * vocab, vocab, sequence.buffers_.logits);
      } else if (&sequence != this) {
        sequence.truncate(sequence.length_ - 1);
      }
    }
    return done;
  }

  // The forward pass: n tokens through all layers. Afterwards the wanted rows of buffers_.x (n,
  // hidden) are the residual stream after the last layer.
  void forward(std::span<const int32_t> tokens, const WantedRows& wanted = {}) {
    const Part all{this, 0, static_cast<int64_t>(tokens.size()), length_};
    forward(tokens, {&all, 1}, wanted);
  }

  // The same for tokens of several sequences, in the buffers of this one.
  void forward(std::span<const int32_t> tokens, std::span<const Part> parts,
               const WantedRows& wanted = {}) {
    const Weights& w = model_->weights();
    const Compute c = compute();
    const auto n = static_cast<int64_t>(tokens.size());
    for (const Part& part : parts) {
      Sequence& sequence = *part.sequence;
      if (!sequence.mtp_rests_)
        (void)sequence.mtp_catch_up(tokens[static_cast<size_t>(part.first)]);
    }
    embed(w.embed_tokens, tokens, buffers_.x);
    set_angles(parts);
    for (size_t l = 0; l < w.layers.size(); ++l) {
      const bool is_last = l + 1 == w.layers.size();
      layer(c, w.layers[l], static_cast<int64_t>(l), parts, n, is_last ? wanted : WantedRows{});
    }
    for (const Part& part : parts) {
      part.sequence->keep_states(
          c, tokens.subspan(static_cast<size_t>(part.first), static_cast<size_t>(part.n)),
          buffers_.x + part.first * model_->config().hidden_size);
      part.sequence->length_ += part.n;
    }
  }

  // x (n, hidden) after layer l.
  void layer(const Compute& c, const LayerWeights& w, int64_t l, std::span<const Part> parts,
             int64_t n, const WantedRows& wanted = {}) const {
    norm(c, w.input_layernorm, 0, n);
    attention(c, w, l, parts, n);
    if (wanted.all && wanted.apart > 0) finish_rows(c, w, 0, wanted.apart);
    finish_rows(c, w, wanted.apart, n);
  }

  // Rows [first, end) of x behind the attention of a layer.
  void finish_rows(const Compute& c, const LayerWeights& w, int64_t first, int64_t end) const {
    project_heads(c, w, first, end);
    add_delta(c, first, end);
    norm(c, w.post_attention_layernorm, first, end);
    feed_forward(c, w, first, end);
    add_delta(c, first, end);
  }

  // Puts the tokens whose states are there, and which the layer of multi-token prediction has not
  // seen, through that layer; `token` follows the newest. Returns how many rows of x they are.
  int64_t mtp_catch_up(int32_t token) {
    const int64_t first = std::max(mtp_.next, mtp_.first);
    const int64_t n = std::max<int64_t>(0, std::min(length_, mtp_.first + mtp_.n_states) - first);
    mtp_.next = length_;
    if (n == 0) return 0;
    const MtpWeights& w = *model_->weights().mtp;
    const Compute c = compute();
    const int64_t hidden = model_->config().hidden_size;
    const auto eps = static_cast<float>(model_->config().rms_norm_eps);
    int32_t* tokens = buffers_.mtp.tokens + (first - mtp_.first);
    std::shift_left(tokens, tokens + n, 1);
    tokens[n - 1] = token;
    embed(w.embed_tokens, {tokens, static_cast<size_t>(n)}, buffers_.x);
    for_each_row(c, n, 2 * hidden, [&](int64_t i) {
      float* joined = buffers_.mtp.joined + i * 2 * hidden;
      const float* state = buffers_.mtp.states + (first - mtp_.first + i) * hidden;
      c.kernels->rms_norm(buffers_.x + i * hidden, w.enorm.data(), eps, hidden, joined);
      c.kernels->rms_norm(state, w.hnorm.data(), eps, hidden, joined + hidden);
    });
    multiply(
        c, std::array{Product{&w.eh_proj, buffers_.mtp.joined, 2 * hidden, n, buffers_.x, hidden}});
    const Part all{this, 0, n, mtp_.rows};
    set_angles({&all, 1});
    layer(c, w.layer, model_->config().n_layers, {&all, 1}, n);
    mtp_.rows += n;
    return n;
  }

  // Keeps what the layer of multi-token prediction, if it is wanted, will need of the pass just
  // computed: the tokens and x (tokens, hidden) after the last layer.
  void keep_states(const Compute& c, std::span<const int32_t> tokens, const float* x) {
    if (!options_.mtp) return;
    const int64_t hidden = model_->config().hidden_size;
    const auto eps = static_cast<float>(model_->config().rms_norm_eps);
    mtp_.first = length_;
    mtp_.n_states = static_cast<int64_t>(tokens.size());
    std::ranges::copy(tokens, buffers_.mtp.tokens);
    for_each_row(c, mtp_.n_states, hidden, [&](int64_t i) {
      c.kernels->rms_norm(x + i * hidden, model_->weights().norm.data(), eps, hidden,
                          buffers_.mtp.states + i * hidden);
    });
  }

  // The angles of all places of a pass.
  void set_angles(std::span<const Part> parts) const {
    for (const Part& part : parts) {
      for (int64_t i = 0; i < part.n; ++i) {
        model_->rotary().angles(part.begin + i, angles(part.first + i));
      }
    }
  }
  // Of row i of the pass: (2, rope_dim / 2).
  [[nodiscard]] float* angles(int64_t i) const noexcept {
    return buffers_.angles + i * model_->config().rope_dim();
  }

  [[nodiscard]] Compute compute() const noexcept {
    return {.pool = &model_->pool(),
            .kernels = &model_->kernels(),
            .scratch = buffers_.thread_scratch,
            .scratch_size = buffers_.scratch_size,
            .plan = buffers_.plan,
            .max_products = buffers_.max_products,
            .q8 = buffers_.q8,
            .max_q8 = buffers_.max_q8,
            .failed = failed_.get()};
  }

  // x (tokens, hidden) = rows of the table.
  void embed(const Matrix& table, std::span<const int32_t> tokens, float* x) const {
    const KernelMatrix rows = kernel_matrix(table);
    for (size_t i = 0; i < tokens.size(); ++i) {
      model_->kernels().unpack_rows[static_cast<size_t>(table.dtype)](
          &rows, tokens[i], tokens[i] + 1, x + static_cast<int64_t>(i) * table.cols, table.cols);
    }
  }

  // normed = RMSNorm(x), row by row.
  void norm(const Compute& c, const std::vector<float>& weight, int64_t first, int64_t n) const {
    const int64_t hidden = model_->config().hidden_size;
    const auto eps = static_cast<float>(model_->config().rms_norm_eps);
    for_each_row(c, n - first, hidden, [&](int64_t row) {
      const int64_t i = first + row;
      c.kernels->rms_norm(buffers_.x + i * hidden, weight.data(), eps, hidden,
                          buffers_.normed + i * hidden);
    });
  }

  // The heads of attention(normed); the caches of the parts get the new rows of layer l.
  void attention(const Compute& c, const LayerWeights& layer, int64_t l,
                 std::span<const Part> parts, int64_t n) const {
    const Config& config = model_->config();
    if (config.has_mla()) {
      mla_project(c, config, layer.mla, buffers_.mla, n, buffers_.normed);
      for (const Part& part : parts) latent_attention(layer.mla, l, part);
    } else {
      gqa_project(c, config, layer.gqa, buffers_.gqa, n, buffers_.normed);
      for (const Part& part : parts) grouped_attention(layer.gqa, l, part);
    }
  }

  // delta = o_proj of the heads, rows [first, end).
  void project_heads(const Compute& c, const LayerWeights& layer, int64_t first,
                     int64_t end) const {
    const bool has_mla = model_->config().has_mla();
    const Matrix& w = has_mla ? layer.mla.o_proj : layer.gqa.o_proj;
    const float* heads = has_mla ? buffers_.mla.heads : buffers_.gqa.heads;
    multiply(c, std::array{Product{&w, heads + first * w.cols, w.cols, end - first,
                                   buffers_.delta + first * w.rows, w.rows}});
  }

  // A part's sequence has the threads' scratch that its own context needs.
  void grouped_attention(const GqaWeights& w, int64_t l, const Part& part) const {
    const Sequence& s = *part.sequence;
    Compute c = s.compute();
    c.failed = failed_.get();
    const GqaScratch scratch =
        s.buffers_.gqa.with_rows_of(buffers_.gqa, model_->config(), part.first);
    const GqaCall call{c,
                       model_->config(),
                       w,
                       scratch,
                       s.buffers_.cache,
                       s.buffers_.cache.layer(l),
                       angles(part.first),
                       part.begin,
                       part.n,
                       model_->softmax_scale_of_scores()};
    gqa_store(call, model_->rotary());
    gqa_attend(call);
  }

  void latent_attention(const MlaWeights& w, int64_t l, const Part& part) const {
    const Sequence& s = *part.sequence;
    const Config& config = model_->config();
    Compute c = s.compute();
    c.failed = failed_.get();
    const MlaScratch scratch = s.buffers_.mla.with_rows_of(buffers_.mla, config, part.first);
    const MlaCall call{c,
                       config,
                       w,
                       scratch,
                       s.buffers_.cache,
                       s.buffers_.cache.layer(l),
                       angles(part.first),
                       part.begin,
                       part.n,
                       model_->softmax_scale_of_scores()};
    mla_store(call, model_->rotary());
    const MlaForm form = s.options_.mla == MlaForm::kAuto
                             ? choose_mla_form(config, part.begin, part.n)
                             : s.options_.mla;
    if (form == MlaForm::kAbsorbed) {
      mla_absorbed(call);
    } else {
      mla_expanded(call);
    }
  }

  // delta = the layer's experts or its dense feed-forward network on normed.
  void feed_forward(const Compute& c, const LayerWeights& layer, int64_t first, int64_t n) const {
    const float* x = buffers_.normed + first * model_->config().hidden_size;
    float* out = buffers_.delta + first * model_->config().hidden_size;
    if (layer.moe != nullptr) {
      moe(c, model_->config(), *layer.moe, buffers_.moe, n - first, x, out);
    } else {
      ffn(c, layer.mlp, buffers_.ffn, n - first, x, out);
    }
  }

  // x += delta.
  void add_delta(const Compute& c, int64_t first, int64_t n) const {
    const int64_t hidden = model_->config().hidden_size;
    for_each_row(c, n - first, hidden, [&](int64_t row) {
      const int64_t i = first + row;
      float* x = buffers_.x + i * hidden;
      const float* delta = buffers_.delta + i * hidden;
      for (int64_t d = 0; d < hidden; ++d) x[d] += delta[d];
    });
  }

  // out (n, vocab_size) = lm_head(RMSNorm(x)) of rows [first, first + n) of the last chunk.
  void compute_logits(int64_t first, int64_t n, float* out) const {
    head(model_->weights().norm, model_->weights().lm_head, first, n, out);
  }

  // The same with the norm and the head given.
  void head(const std::vector<float>& norm, const Matrix& lm_head, int64_t first, int64_t n,
            float* out) const {
    const Config& config = model_->config();
    const int64_t hidden = config.hidden_size;
    const Compute c = compute();
    for (int64_t i = 0; i < n; ++i) {
      c.kernels->rms_norm(buffers_.x + (first + i) * hidden, norm.data(),
                          static_cast<float>(config.rms_norm_eps), hidden,
                          buffers_.normed + i * hidden);
    }
    multiply(c, std::array{Product{&lm_head, buffers_.normed, hidden, n, out, config.vocab_size}});
  }

  // Hands over the logits of the chunk of n tokens just computed.
  void logits_to(const LogitsSink& sink, int64_t n) const {
    const int64_t vocab = model_->config().vocab_size;
    for (int64_t i = 0; i < n; i += kLogitRows) {
      const int64_t rows = std::min(kLogitRows, n - i);
      compute_logits(i, rows, buffers_.logit_rows);
      sink(length_ - n + i, rows, {buffers_.logit_rows, static_cast<size_t>(rows * vocab)});
    }
  }

  std::shared_ptr<const Transformer> model_;
  SequenceOptions options_;
  Arena arena_;
  Buffers buffers_;
  std::unique_ptr<std::atomic<bool>> failed_;
  int64_t length_ = 0;
  Ahead ahead_;
  MtpProgress mtp_;
  bool mtp_rests_ = false;
};

}  // namespace pensee
