// Model: everything that a checkpoint says about a reasoning model, loaded once and shared.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/hash.hpp"
#include "pensee/base/log.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/threads.hpp"
#include "pensee/decode/generation_config.hpp"
#include "pensee/decode/sampler_options.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/fingerprint.hpp"
#include "pensee/io/gguf_token_ids.hpp"
#include "pensee/kernels/reference.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/read_config.hpp"
#include "pensee/model/sequence.hpp"
#include "pensee/model/transformer.hpp"
#include "pensee/model/weight_reader.hpp"
#include "pensee/reason/delimiters.hpp"
#include "pensee/reason/phase.hpp"
#include "pensee/reason/read_template.hpp"
#include "pensee/reason/session_options.hpp"
#include "pensee/text/chat_template.hpp"
#include "pensee/text/load_tokenizer.hpp"
#include "pensee/text/token_order.hpp"
#include "pensee/text/tokenizer.hpp"

namespace pensee {

struct LoadOptions {
  const KernelTable* kernels = &reference_kernels();  // best_kernels() of pensee::pensee is faster
  int threads = 0;                                    // 0: as many as may run at once
  LoadProgress progress = {};                         // may be empty; false cancels
  Log log = {};                                       // may be empty; called during the load only
  // Reads all of the files into memory, by all threads, before the load ends; else they are read
  // as parts of them are first used.
  bool read_ahead = false;
  // A directory for copies of weights whose rows are interleaved, which are read with less work;
  // empty: none. The first load of a checkpoint makes its copy, as large as the weights in it, and
  // later ones use it: results are the same to the bit. Nothing is made where the kernels have no
  // use for it: those for AVX-512 have, for Q4_0, Q8_0, Q4_K, Q5_K and Q6_K.
  std::string repack_dir = {};
};

// Bytes that a model and a session of it take.
struct MemoryEstimate {
  size_t weights_bytes = 0;    // mapped from the files, or the buffers; shared by all sessions
  size_t converted_bytes = 0;  // copied from them as float32: scales and vectors; at most
  size_t session_bytes = 0;    // of each session; committed as tokens arrive
};

// Thread rule: immutable; any thread. Sessions share one.
class Model {
 public:
  // `path`: a checkpoint as Hugging Face has it, a directory or a .safetensors file in one, with
  // config.json, tokenizer.json, tokenizer_config.json and perhaps generation_config.json; or a
  // GGUF file, the first of a split one, or its directory. A GGUF file without vocabulary gives a
  // model that runs on token ids. Errors: those of Checkpoint::open, read_config, Transformer::load
  // and load_tokenizer, and of reading the other files; kCorruptFile for settings out of range, a
  // vocabulary larger than vocab_size, or if the tokenizer lacks a token that ends replies. A chat
  // template that is missing, not known or not for this tokenizer is none: chat_template().
  static Result<std::shared_ptr<const Model>> load(const std::string& path,
                                                   const LoadOptions& options) {
    const auto begin = Clock::now();
    PENSEE_ASSIGN_OR_RETURN(auto checkpoint, Checkpoint::open(path, part(options.progress, 0)));
    return load(std::move(checkpoint), options, begin);
  }

  // The same from memory; see Checkpoint::open_buffers. The buffers' bytes must stay as they are as
  // long as the model lives, that is, as anything holds it, sessions included. Errors: those of
  // load() and Checkpoint::open_buffers.
  static Result<std::shared_ptr<const Model>> load_buffers(std::span<const NamedBuffer> files,
                                                           const LoadOptions& options) {
    const auto begin = Clock::now();
    PENSEE_ASSIGN_OR_RETURN(auto checkpoint,
                            Checkpoint::open_buffers(files, part(options.progress, 0)));
    return load(std::move(checkpoint), options, begin);
  }

  // What a checkpoint would take, before it is loaded: reads config.json and the headers only.
  // `threads` and `kernels` as in LoadOptions. Errors: those of Checkpoint::open and read_config,
  // kInvalidArgument for options out of range, kOutOfMemory for a context that cannot be addressed.
  static Result<MemoryEstimate> estimate_memory(const std::string& path,
                                                const SessionOptions& session = {}, int threads = 0,
                                                const KernelTable& kernels = reference_kernels()) {
    PENSEE_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::open(path));
    PENSEE_ASSIGN_OR_RETURN(const Config config, read_config(*checkpoint));
    PENSEE_ASSIGN_OR_RETURN(const int n_threads, thread_count_of(threads));
    MemoryEstimate estimate;
    estimate.weights_bytes = checkpoint->bytes();
    for (const TensorView& tensor : checkpoint->tensors()) {
      const bool is_scale = tensor.name.ends_with("_scale_inv");
      if (!is_scale && tensor.shape.rank != 1) continue;
      const auto blocks = tensor.bytes / static_cast<size_t>(dtype_block_bytes(tensor.dtype));
      const auto elements = blocks * static_cast<size_t>(dtype_block_elements(tensor.dtype));
      estimate.converted_bytes += elements * sizeof(float);
    }
    const bool has_mtp = has_mtp_layer(*checkpoint, config);
    PENSEE_ASSIGN_OR_RETURN(
        estimate.session_bytes,
        Sequence::estimate_memory(config, session.sequence_options(has_mtp), n_threads, kernels));
    return estimate;
  }

  // Tells models apart: FNV-1a over the configuration, and over every tensor's name, type, shape
  // and a few of its bytes. Computed at the first call, which reads about a page of every tensor.
  [[nodiscard]] uint64_t fingerprint() const {
    // Not within call_once(): std::bad_alloc on its way out of there may end the process.
    const auto fields = config().fields();
    std::call_once(fingerprinted_, [&] {
      Fnv1a64 hash;
      for (const auto& [key, value] : fields) hash.add(key).add(value);
      add_fingerprint(transformer_->checkpoint(), hash);
      fingerprint_ = hash.value();
    });
    return fingerprint_;
  }

  [[nodiscard]] const std::shared_ptr<const Transformer>& transformer() const noexcept {
    return transformer_;
  }
  [[nodiscard]] const Config& config() const noexcept { return transformer_->config(); }
  [[nodiscard]] const Tokenizer& tokenizer() const noexcept { return tokenizer_; }
  // The bytes of a token in thoughts and answers; special tokens are no text.
  [[nodiscard]] std::string_view text_of(int32_t token) const {
    return tokenizer_.is_special(token) ? std::string_view{} : tokenizer_.token_bytes(token);
  }
  // The tokens with text, in the order of their bytes. Made at the first call.
  [[nodiscard]] const TokenOrder& token_order() const {
    const std::lock_guard lock(order_mutex_);
    if (!order_) order_.emplace(tokenizer_.vocab_size(), [&](int32_t t) { return text_of(t); });
    return *order_;
  }
  // kNotFound if the checkpoint has no template, kUnsupported for one that is not known, or that
  // writes control words which the tokenizer has not: such a model takes ready prompts only.
  [[nodiscard]] const Result<ChatTemplate>& chat_template() const noexcept { return template_; }
  // What opens and closes a thought, if the model has thoughts, and what ends a reply.
  [[nodiscard]] const Delimiters& delimiters() const noexcept { return delimiters_; }
  // Settings that the checkpoint's authors advise, see read_generation_config(); where they give
  // none, DeepSeek's advice for R1.
  [[nodiscard]] const SamplerOptions& sampler_defaults() const noexcept {
    return sampler_defaults_;
  }

 private:
  static constexpr double kOpening = 0.05;  // opening's share of the load progress

  Model(Tokenizer tokenizer, Result<ChatTemplate> chat_template)
      : tokenizer_(std::move(tokenizer)), template_(std::move(chat_template)) {}

  using Clock = std::chrono::steady_clock;

  static Result<std::shared_ptr<const Model>> load(std::shared_ptr<const Checkpoint> checkpoint,
                                                   const LoadOptions& options,
                                                   Clock::time_point begin) {
    PENSEE_ASSIGN_OR_RETURN(Config config, read_config(*checkpoint));
    PENSEE_ASSIGN_OR_RETURN(std::optional<Tokenizer> vocabulary, load_tokenizer(*checkpoint));
    if (!vocabulary) {
      PENSEE_ASSIGN_OR_RETURN(vocabulary, Tokenizer::without_vocabulary());
    }
    const std::string tokenizer_file = tokenizer_file_of(*checkpoint);
    Tokenizer tokenizer = std::move(*vocabulary);
    Result<ChatTemplate> chat_template = usable_template(*checkpoint, tokenizer);
    if (!chat_template && chat_template.error().status != Status::kNotFound &&
        chat_template.error().status != Status::kUnsupported) {
      return std::move(chat_template).error();
    }

    std::shared_ptr<Model> model(new Model(std::move(tokenizer), std::move(chat_template)));
    const std::string source = checkpoint->source();
    PENSEE_RETURN_IF_ERROR(model->check_tokens(config, tokenizer_file));
    PENSEE_RETURN_IF_ERROR(model->take_advice(*checkpoint, config));
    const TransformerOptions transformer{options.kernels, options.threads,
                                         part(options.progress, kOpening), options.read_ahead,
                                         options.repack_dir};
    PENSEE_ASSIGN_OR_RETURN(model->transformer_, Transformer::load(std::move(checkpoint),
                                                                   std::move(config), transformer));
    PENSEE_RETURN_IF_ERROR(report_progress(options.progress, 1.0, source));
    model->log_load(options, Clock::now() - begin);
    return std::shared_ptr<const Model>(std::move(model));
  }

  // What messages call the place of the vocabulary.
  static std::string tokenizer_file_of(const Checkpoint& checkpoint) {
    return checkpoint.gguf() != nullptr ? checkpoint.source()
                                        : checkpoint.path_of("tokenizer.json");
  }

  // A template whose control words are none to the tokenizer is as one that is not known.
  static Result<ChatTemplate> usable_template(const Checkpoint& checkpoint,
                                              const Tokenizer& tokenizer) {
    const std::string file = tokenizer_file_of(checkpoint);
    if (tokenizer.vocab_size() == 0) return Error{Status::kNotFound, file + ": no vocabulary"};
    PENSEE_ASSIGN_OR_RETURN(ChatTemplate chat_template, read_chat_template(checkpoint, tokenizer));
    PENSEE_RETURN_IF_ERROR(check_control_words(tokenizer, chat_template, file));
    return chat_template;
  }

  // Tells the host what was loaded and how, and what it cannot do.
  void log_load(const LoadOptions& options, Clock::duration time) const {
    if (!options.log) return;
    const Checkpoint& checkpoint = transformer_->checkpoint();
    std::array<char, 64> seconds{};
    std::snprintf(seconds.data(), seconds.size(), "%.3f",
                  std::chrono::duration<double>(time).count());
    options.log(LogLevel::kInfo, checkpoint.source() + ": " + config().model_type + ", " +
                                     std::to_string(checkpoint.tensors().size()) + " tensors, " +
                                     std::to_string(checkpoint.bytes()) + " bytes, loaded in " +
                                     seconds.data() + " s");
    options.log(LogLevel::kInfo, "kernels: " + std::string(transformer_->kernels().name) +
                                     ", threads: " + std::to_string(transformer_->pool().size()));
    if (const InterleavedWeights* interleaved = transformer_->interleaved()) {
      options.log(LogLevel::kInfo, "weights with interleaved rows: " + interleaved->path());
    }
    if (const GgufMetadata* metadata = checkpoint.gguf()) {
      const int64_t n_tokens = tokenizer_.vocab_size();
      const std::string absent =
          describe_absent_tokens(*metadata, n_tokens > 0 ? n_tokens : config().vocab_size);
      if (!absent.empty()) options.log(LogLevel::kInfo, absent);
    }
    if (!template_) {
      options.log(LogLevel::kWarning,
                  "no messages, only ready prompts: " + template_.error().message);
    } else if (delimiters_.has_thoughts() && template_->knows_thoughts() &&
               !template_->opens_thought() && !template_->has_thinking_switch()) {
      options.log(LogLevel::kWarning,
                  "the chat template opens no thought and has no switch for one: a reply may skip "
                  "its thought; thinking on forces one");
    }
  }

  // The progress of opening (from 0 to kOpening) or of the rest (from kOpening to 1).
  static LoadProgress part(const LoadProgress& progress, double from) {
    if (!progress) return {};
    const double share = from == 0 ? kOpening : 1 - kOpening;
    return [&progress, from, share](double fraction) { return progress(from + share * fraction); };
  }

  // Checks that the tokenizer fits the model, and finds the delimiters of its thoughts.
  Result<void> check_tokens(const Config& config, const std::string& file) {
    if (tokenizer_.vocab_size() > config.vocab_size) {
      return corrupt_file(file + ": expected at most " + std::to_string(config.vocab_size) +
                          " tokens (vocab_size), found " + std::to_string(tokenizer_.vocab_size()));
    }
    if (tokenizer_.vocab_size() == 0) return {};
    const bool knows_thoughts = template_ && template_->knows_thoughts();
    PENSEE_ASSIGN_OR_RETURN(delimiters_, find_thought_delimiters(tokenizer_, knows_thoughts));
    return {};
  }

  // The end tokens and the sampler's defaults.
  Result<void> take_advice(const Checkpoint& checkpoint, const Config& config) {
    PENSEE_ASSIGN_OR_RETURN(const GenerationConfig advice, read_generation_config(checkpoint));
    sampler_defaults_ = advice.sampler.over({.temperature = 0.6F, .top_p = 0.95F});
    delimiters_.end = advice.eos_token_id.value_or(config.eos_token_id);
    const std::string tokenizer_file = tokenizer_file_of(checkpoint);
    for (const int32_t id : delimiters_.end) {
      if (id < tokenizer_.vocab_size() || tokenizer_.vocab_size() == 0) continue;
      return corrupt_file(tokenizer_file + ": no token " + std::to_string(id) +
                          ", which is an eos_token_id");
    }
    if (!template_) return {};
    return add_turn_end(tokenizer_, *template_, delimiters_);
  }

  std::shared_ptr<const Transformer> transformer_;
  Tokenizer tokenizer_;
  Result<ChatTemplate> template_;
  Delimiters delimiters_;
  SamplerOptions sampler_defaults_;
  mutable std::mutex order_mutex_;
  mutable std::optional<TokenOrder> order_;
  mutable std::once_flag fingerprinted_;
  mutable uint64_t fingerprint_ = 0;
};

}  // namespace pensee
