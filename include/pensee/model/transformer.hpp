// Transformer: the weights of a model, loaded, with what every pass over them needs.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "pensee/base/threads.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/read_ahead.hpp"
#include "pensee/kernels/onednn.hpp"
#include "pensee/kernels/onednn_matmul.hpp"
#include "pensee/kernels/reference.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/interleaved_weights.hpp"
#include "pensee/model/rope.hpp"
#include "pensee/model/weight_reader.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

struct TransformerOptions {
  const KernelTable* kernels = &reference_kernels();  // best_kernels() of pensee::pensee is faster
  int threads = 0;                                    // 0: as many as may run at once
  LoadProgress progress = {};                         // may be empty; false cancels
  bool read_ahead = false;      // reads all of the files into memory; else as parts are used
  std::string repack_dir = {};  // where weights with interleaved rows are; empty: nowhere
};

// Immutable, and shared by threads and sequences.
class Transformer {
 public:
  // Errors: those of Weights::load and ThreadPool::create; kInvalidArgument for the number of
  // threads; kOutOfMemory; kIoError with read_ahead, without which the files' pages are read when
  // they are first used, and those of InterleavedWeights::load().
  static Result<std::shared_ptr<const Transformer>> load(
      std::shared_ptr<const Checkpoint> checkpoint, Config config,
      const TransformerOptions& options) {
    PENSEE_ASSIGN_OR_RETURN(const int threads, thread_count_of(options.threads));
    std::shared_ptr<Transformer> t(new Transformer);
    PENSEE_ASSIGN_OR_RETURN(t->weights_,
                            Weights::load(*checkpoint, config, progress_of_weights(options)));
    PENSEE_ASSIGN_OR_RETURN(t->pool_, ThreadPool::create(threads));
    PENSEE_RETURN_IF_ERROR(t->prepare_files(*checkpoint, options));
    t->kernels_ = options.kernels;
    PENSEE_RETURN_IF_ERROR(t->prepare_onednn());
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
  // Null where there are none.
  [[nodiscard]] const InterleavedWeights* interleaved() const noexcept {
    return interleaved_.get();
  }
  // Null where these products are not the fastest.
  [[nodiscard]] const PanelMatmul* panels() const noexcept { return panels_.get(); }
  // The threads are shared by all sequences; using them does not change the model.
  [[nodiscard]] ThreadPool& pool() const noexcept { return *pool_; }

 private:
  Transformer() = default;

  // Where files are read ahead or repacked, that takes the time; the weights' own progress would go
  // first.
  static LoadProgress progress_of_weights(const TransformerOptions& options) {
    const bool is_quick = !options.read_ahead && options.repack_dir.empty();
    if (is_quick || !options.progress) return options.progress;
    return [&options](double) { return options.progress(0); };
  }

  Result<void> prepare_files(const Checkpoint& checkpoint, const TransformerOptions& options) {
    const bool repacks = !options.repack_dir.empty();
    const double share = repacks && options.read_ahead ? 0.5 : 1.0;  // of the progress
    const auto part = [&options, share](double from) -> LoadProgress {
      if (!options.progress) return {};
      return [&options, share, from](double done) { return options.progress(from + share * done); };
    };
    if (repacks) {
      PENSEE_ASSIGN_OR_RETURN(
          interleaved_, InterleavedWeights::load(checkpoint, *options.kernels, options.repack_dir,
                                                 *pool_, part(0), weights_));
    }
    if (!options.read_ahead) return {};
    if (interleaved_ == nullptr) return read_ahead(checkpoint, *pool_, part(1.0 - share));
    // What it has is never read from the checkpoint, and that is nearly all.
    const NamedMapping file = {&interleaved_->file(), &interleaved_->path()};
    return read_ahead({&file, 1}, checkpoint.source(), *pool_, part(1.0 - share));
  }

  Result<void> prepare_onednn() {
    const bool has_tiles = kernels_->has_tiles != 0;
    if ((has_tiles || !weights_.all_in_blocks) && !prepare_gemm()) {
      return Error{Status::kOutOfMemory, "no memory to set up oneDNN"};
    }
    if (!has_tiles) return {};
    PENSEE_ASSIGN_OR_RETURN(panels_, PanelMatmul::create(kernels_->attention.pair == 2));
    return {};
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<const InterleavedWeights> interleaved_;
  Config config_;
  Weights weights_;
  RotaryTable rotary_;
  float softmax_scale_ = 1.0F;
  const KernelTable* kernels_ = nullptr;
  std::unique_ptr<const PanelMatmul> panels_;
  std::unique_ptr<ThreadPool> pool_;
};

}  // namespace pensee
