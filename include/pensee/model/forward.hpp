// THE forward pass: tokens go through all layers. run() reads from top to bottom.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "pensee/base/arena.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/model/attention_gqa.hpp"
#include "pensee/model/attention_mla.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/ffn.hpp"
#include "pensee/model/kv_cache.hpp"
#include "pensee/model/linear.hpp"
#include "pensee/model/moe.hpp"
#include "pensee/model/sequence_options.hpp"
#include "pensee/model/transformer.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// Which rows the last layer works out behind its attention: those from `apart` on, and those before
// it only if all are wanted, and then in products of their own, so that the others come out to the
// same bits.
struct WantedRows {
  int64_t apart = 0;
  bool all = true;
};

// Every sequence has one, with its cache. Thread rule: as Sequence.
class ForwardPass {
 public:
  struct Buffers {
    KvCache cache;
    float* angles = nullptr;  // (chunk, 2, rope_dim / 2)
    float* x = nullptr;       // (chunk, hidden): the residual stream
    float* branch = nullptr;  // (chunk, hidden): input of a sub-layer, then its output
    // Inside attention, and inside what follows it: the same memory.
    MlaScratch mla;
    GqaScratch gqa;
    float* ffn = nullptr;  // (chunk, h_floats(intermediate)): a dense layer's
    MoeScratch moe;
    float* thread_scratch = nullptr;  // (threads, scratch_size)
    int64_t scratch_size = 0;
    PlannedProduct* plan = nullptr;  // (max_products)
    int64_t max_products = 0;
    Q8Chunk* q8 = nullptr;  // (max_q8): the inputs of one multiply(), quantised
    int64_t max_q8 = 0;

    static Buffers layout(Arena& arena, const Config& c, const SequenceOptions& options,
                          const KernelTable& kernels, int threads) {
      const int64_t chunk = options.chunk;
      Buffers b;
      Config cached = c;  // the layer of multi-token prediction comes after the others
      cached.n_layers += options.mtp ? 1 : 0;
      b.cache = KvCache::layout(arena, cached, options.context_length, options.cache_type);
      b.angles = arena.take<float>(chunk * c.rope_dim());
      b.x = arena.take<float>(chunk * c.hidden_size);
      b.branch = arena.take<float>(chunk * c.hidden_size);
      const auto attention = [&] {
        if (c.has_mla()) {
          b.mla = MlaScratch::layout(arena, c, b.cache, chunk, threads);
        } else {
          b.gqa = GqaScratch::layout(arena, c, options.context_length, chunk, threads);
        }
      };
      const auto dense = [&] { b.ffn = arena.take<float>(chunk * h_floats(c.intermediate_size)); };
      const auto experts = [&] {
        if (c.has_moe()) b.moe = MoeScratch::layout(arena, c, chunk);
      };
      arena.share(attention, dense, experts);
      b.max_products = std::max<int64_t>(3, c.has_moe() ? MoeScratch::max_products(c) : 0);
      b.plan = arena.take<PlannedProduct>(b.max_products);
      const int64_t widest_input = std::max(
          {options.mtp ? 2 * c.hidden_size : c.hidden_size, c.q_lora_rank, c.attention_size()});
      const int64_t widest =
          std::max({widest_input, c.intermediate_size,
                    c.moe_intermediate_size * std::max<int64_t>(1, c.n_shared_experts)});
      b.max_q8 = chunk * q8_chunks(widest_input);
      if (c.has_moe()) b.max_q8 = std::max(b.max_q8, MoeScratch::max_q8(c, chunk));
      b.q8 = arena.take<Q8Chunk>(b.max_q8);
      constexpr int64_t kAligned = 16;  // floats: every thread's scratch is aligned as the first is
      b.scratch_size = std::max(multiply_scratch(kernels, widest, chunk),
                                c.has_mla() ? b.mla.thread_scratch() : b.gqa.thread_scratch());
      b.scratch_size = ceil_div(b.scratch_size, kAligned) * kAligned;
      b.thread_scratch = arena.take<float>(threads * b.scratch_size);
      return b;
    }
  };

  // Consecutive rows of a pass that belong to one sequence.
  struct Part {
    const ForwardPass* own = nullptr;  // of that sequence: whose cache the rows go into
    int64_t first = 0;
    int64_t n = 0;
    int64_t begin = 0;  // the place of the first in the sequence's cache
  };

  ForwardPass() = default;
  ForwardPass(std::shared_ptr<const Transformer> model, const Buffers& buffers, MlaForm mla)
      : model_(std::move(model)),
        buffers_(buffers),
        mla_(mla),
        failed_(std::make_unique<std::atomic<bool>>(false)) {}

  [[nodiscard]] const std::shared_ptr<const Transformer>& model() const noexcept { return model_; }
  [[nodiscard]] const KvCache& cache() const noexcept { return buffers_.cache; }
  // Row i of the residual stream.
  [[nodiscard]] float* x(int64_t i = 0) const noexcept {
    return buffers_.x + i * model_->config().hidden_size;
  }
  // Whether memory was lacking since the last call.
  [[nodiscard]] bool take_failure() const noexcept { return failed_->exchange(false); }

  // n tokens, maybe of several sequences, through all layers. Afterwards the wanted rows of x (n,
  // hidden) are the residual stream after the last layer; of several sequences, as if each had been
  // alone.
  void run(std::span<const int32_t> tokens, std::span<const Part> parts,
           const WantedRows& wanted = {}) const {
    const Weights& w = model_->weights();
    const Compute c = compute(parts.size() > 1);
    const auto n = static_cast<int64_t>(tokens.size());
    embed(w.embed_tokens, tokens);
    set_angles(parts);
    for (size_t l = 0; l < w.layers.size(); ++l) {
      const bool is_last = l + 1 == w.layers.size();
      layer(c, w.layers[l], static_cast<int64_t>(l), parts, n, is_last ? wanted : WantedRows{});
    }
  }

  // x (n, hidden) after layer l.
  void layer(const Compute& c, const LayerWeights& w, int64_t l, std::span<const Part> parts,
             int64_t n, const WantedRows& wanted = {}) const {
    const auto for_wanted_rows = [&](auto&& f) {
      if (wanted.all && wanted.apart > 0) f(0, wanted.apart);
      f(wanted.apart, n);
    };
    norm(c, w.input_layernorm, 0, n);
    attention(c, w, l, parts, n);
    for_wanted_rows([&](int64_t first, int64_t end) {
      project_heads(c, w, first, end);
      add_branch(c, first, end);
    });
    for_wanted_rows([&](int64_t first, int64_t end) {
      norm(c, w.post_attention_layernorm, first, end);
      feed_forward(c, w, first, end);
      add_branch(c, first, end);
    });
  }

  // out (n, vocab_size) = lm_head(RMSNorm(x)) of rows [first, first + n) of the last pass.
  void logits(int64_t first, int64_t n, float* out, bool as_alone = false) const {
    head(compute(as_alone), model_->weights().norm, model_->weights().lm_head, first, n, out);
  }

  // The same with the norm and the head given.
  void head(const Compute& c, const std::vector<float>& norm, const Matrix& lm_head, int64_t first,
            int64_t n, float* out) const {
    const Config& config = model_->config();
    const int64_t hidden = config.hidden_size;
    for (int64_t i = 0; i < n; ++i) {
      c.kernels->rms_norm(buffers_.x + (first + i) * hidden, norm.data(),
                          static_cast<float>(config.rms_norm_eps), hidden,
                          buffers_.branch + i * hidden);
    }
    multiply(c, std::array{Product{&lm_head, buffers_.branch, hidden, n, out, config.vocab_size}});
  }

  // x (tokens, hidden) = rows of the table.
  void embed(const Matrix& table, std::span<const int32_t> tokens) const {
    const KernelMatrix rows = kernel_matrix(table);
    for (size_t i = 0; i < tokens.size(); ++i) {
      model_->kernels().unpack_rows[static_cast<size_t>(table.dtype)](
          &rows, tokens[i], tokens[i] + 1, x(static_cast<int64_t>(i)), table.cols);
    }
  }

  // The angles of all places of a pass.
  void set_angles(std::span<const Part> parts) const {
    for (const Part& part : parts) {
      for (int64_t i = 0; i < part.n; ++i) {
        model_->rotary().angles(part.begin + i, angles(part.first + i));
      }
    }
  }

  [[nodiscard]] Compute compute(bool as_alone = false) const noexcept {
    return {.pool = &model_->pool(),
            .kernels = &model_->kernels(),
            .scratch = buffers_.thread_scratch,
            .scratch_size = buffers_.scratch_size,
            .plan = buffers_.plan,
            .max_products = buffers_.max_products,
            .q8 = buffers_.q8,
            .max_q8 = buffers_.max_q8,
            .failed = failed_.get(),
            .panels = model_->panels(),
            .as_alone = as_alone};
  }

 private:
  // Of row i of the pass: (2, rope_dim / 2).
  [[nodiscard]] float* angles(int64_t i) const noexcept {
    return buffers_.angles + i * model_->config().rope_dim();
  }

  // branch = RMSNorm(x), row by row.
  void norm(const Compute& c, const std::vector<float>& weight, int64_t first, int64_t n) const {
    const int64_t hidden = model_->config().hidden_size;
    const auto eps = static_cast<float>(model_->config().rms_norm_eps);
    for_each_row(c, n - first, hidden, [&](int64_t row) {
      const int64_t i = first + row;
      c.kernels->rms_norm(buffers_.x + i * hidden, weight.data(), eps, hidden,
                          buffers_.branch + i * hidden);
    });
  }

  // The heads of attention(branch); the caches of the parts get the new rows of layer l.
  void attention(const Compute& c, const LayerWeights& layer, int64_t l,
                 std::span<const Part> parts, int64_t n) const {
    const Config& config = model_->config();
    if (config.has_mla()) {
      mla_project(c, config, layer.mla, buffers_.mla, n, buffers_.branch);
      for (const Part& part : parts) mla_store(latent_call(layer.mla, l, part), model_->rotary());
      if (parts.size() > 1 && absorb_alike(parts)) {
        latent_attention_together(layer.mla, l, parts);
      } else {
        for (const Part& part : parts) latent_attention(layer.mla, l, part);
      }
    } else {
      gqa_project(c, config, layer.gqa, buffers_.gqa, n, buffers_.branch);
      for (const Part& part : parts) grouped_attention(layer.gqa, l, part);
    }
  }

  // branch = o_proj of the heads, rows [first, end).
  void project_heads(const Compute& c, const LayerWeights& layer, int64_t first,
                     int64_t end) const {
    const bool has_mla = model_->config().has_mla();
    const Matrix& w = has_mla ? layer.mla.o_proj : layer.gqa.o_proj;
    const float* heads = has_mla ? buffers_.mla.heads : buffers_.gqa.heads;
    multiply(c, std::array{Product{&w, heads + first * w.cols, w.cols, end - first,
                                   buffers_.branch + first * w.rows, w.rows}});
  }

  // What attention needs for a part, whose sequence has the threads' scratch that its own context
  // needs.
  template <class Call, class AttentionWeights, class Scratch>
  [[nodiscard]] Call attention_call(const AttentionWeights& w, const Scratch& own_scratch,
                                    const Scratch& pass_scratch, int64_t l,
                                    const Part& part) const {
    const ForwardPass& own = *part.own;
    const KvCache& cache = own.buffers_.cache;
    Compute c = own.compute();
    c.failed = failed_.get();
    return {c,
            model_->config(),
            w,
            own_scratch.with_rows_of(pass_scratch, model_->config(), part.first),
            cache,
            cache.layer(l),
            angles(part.first),
            part.begin,
            part.n,
            model_->softmax_scale_of_scores()};
  }

  void grouped_attention(const GqaWeights& w, int64_t l, const Part& part) const {
    const auto call = attention_call<GqaCall>(w, part.own->buffers_.gqa, buffers_.gqa, l, part);
    gqa_store(call, model_->rotary());
    gqa_attend(call);
  }

  [[nodiscard]] MlaCall latent_call(const MlaWeights& w, int64_t l, const Part& part) const {
    return attention_call<MlaCall>(w, part.own->buffers_.mla, buffers_.mla, l, part);
  }

  void latent_attention(const MlaWeights& w, int64_t l, const Part& part) const {
    const MlaCall call = latent_call(w, l, part);
    MlaForm form = part.own->mla_;
    if (form == MlaForm::kAuto) {
      form = choose_mla_form(call.config, part.begin, part.n,
                             takes_eight_bits(*call.compute.kernels, call.s));
    }
    if (form == MlaForm::kAbsorbed) {
      mla_absorbed(call);
    } else {
      mla_expanded(call);
    }
  }

  // Whether the parts are single tokens of the absorbed form, whose latents have the same places.
  [[nodiscard]] bool absorb_alike(std::span<const Part> parts) const {
    return std::all_of(parts.begin(), parts.end(), [&](const Part& part) {
      const KvCache& cache = part.own->buffers_.cache;
      return part.n == 1 && part.own->mla_ != MlaForm::kExpanded &&
             cache.row_size == buffers_.cache.row_size && cache.second == buffers_.cache.second;
    });
  }

  void latent_attention_together(const MlaWeights& w, int64_t l,
                                 std::span<const Part> parts) const {
    const auto n = static_cast<int64_t>(parts.size());
    for (int64_t first = 0; first < n; first += kAbsorbedTokens) {
      const Part all{this, first, std::min(kAbsorbedTokens, n - first), 0};
      mla_absorbed_together(latent_call(w, l, all), [&](int64_t i) {
        return latent_call(w, l, parts[static_cast<size_t>(first + i)]);
      });
    }
  }

  // branch = the layer's experts or its dense feed-forward network on it.
  void feed_forward(const Compute& c, const LayerWeights& layer, int64_t first, int64_t n) const {
    float* x = buffers_.branch + first * model_->config().hidden_size;
    if (layer.moe != nullptr) {
      moe(c, model_->config(), *layer.moe, buffers_.moe, n - first, x, x);
    } else {
      ffn(c, layer.mlp, buffers_.ffn, n - first, x, x);
    }
  }

  // x += branch.
  void add_branch(const Compute& c, int64_t first, int64_t n) const {
    const int64_t hidden = model_->config().hidden_size;
    for_each_row(c, n - first, hidden, [&](int64_t row) {
      const int64_t i = first + row;
      float* x = buffers_.x + i * hidden;
      const float* branch = buffers_.branch + i * hidden;
      for (int64_t d = 0; d < hidden; ++d) x[d] += branch[d];
    });
  }

  std::shared_ptr<const Transformer> model_;
  Buffers buffers_;
  MlaForm mla_ = MlaForm::kAuto;
  std::unique_ptr<std::atomic<bool>> failed_;
};

}  // namespace pensee
