// Multi-token prediction: a layer that says what comes after the next token.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "pensee/base/arena.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/forward.hpp"
#include "pensee/model/linear.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// What the layer needs beside what every layer has. It makes row i of its cache from the main
// model's state of token i and from token i + 1. So it follows the main model by one token: the
// newest one's row waits for the token after it.
struct MtpScratch {
  float* states = nullptr;    // (chunk, hidden): after the last norm, of the main model's last pass
  float* joined = nullptr;    // (chunk, 2 * hidden): inputs of eh_proj
  int32_t* tokens = nullptr;  // (chunk): of that pass

  static MtpScratch layout(Arena& arena, const Config& c, int64_t chunk) {
    MtpScratch s;
    s.states = arena.take<float>(chunk * c.hidden_size);
    s.joined = arena.take<float>(chunk * 2 * c.hidden_size);
    s.tokens = arena.take<int32_t>(chunk);
    return s;
  }
};

// How far the layer has come. Tokens may be missing from its cache: those of passes whose states
// are gone. It then takes the others for neighbours, and guesses a little worse.
struct MtpProgress {
  int64_t first = 0;     // place of the first token of the main model's last pass
  int64_t n_states = 0;  // tokens of that pass whose states are there
  int64_t next = 0;      // the first place that has not been seen
  int64_t rows = 0;      // in the layer's cache

  // The tokens from `length` on are forgotten. The row of the last one left was made with the first
  // of them: it is forgotten, too.
  void truncate(int64_t length) noexcept {
    n_states = std::clamp<int64_t>(length - first, 0, n_states);
    const int64_t seen = std::max<int64_t>(0, length - 1);
    if (next <= seen) return;
    rows = std::max<int64_t>(0, rows - (next - seen));
    next = seen;
  }
};

// The layer in one sequence: its cache comes after those of the main model's layers.
class MtpLayer {
 public:
  MtpLayer() = default;
  explicit MtpLayer(const MtpScratch& scratch) : scratch_(scratch) {}

  // Begins anew: it knows nothing of the first `length` tokens.
  void restart(int64_t length) noexcept { progress_ = {.next = length}; }
  void truncate(int64_t length) noexcept { progress_.truncate(length); }

  // Puts the tokens whose states are there, and which the layer has not seen, through it, in the
  // buffers of the sequence's own pass; `token` follows the newest of its `length` tokens. Returns
  // how many rows of x they are.
  int64_t catch_up(const ForwardPass& pass, int64_t length, int32_t token) {
    const int64_t first = std::max(progress_.next, progress_.first);
    const int64_t n =
        std::max<int64_t>(0, std::min(length, progress_.first + progress_.n_states) - first);
    progress_.next = length;
    if (n == 0) return 0;
    const Transformer& model = *pass.model();
    const MtpWeights& w = *model.weights().mtp;
    const Compute c = pass.compute();
    const int64_t hidden = model.config().hidden_size;
    const auto eps = static_cast<float>(model.config().rms_norm_eps);
    int32_t* tokens = scratch_.tokens + (first - progress_.first);
    std::shift_left(tokens, tokens + n, 1);
    tokens[n - 1] = token;
    pass.embed(w.embed_tokens, {tokens, static_cast<size_t>(n)});
    for_each_row(c, n, 2 * hidden, [&](int64_t i) {
      float* joined = scratch_.joined + i * 2 * hidden;
      const float* state = scratch_.states + (first - progress_.first + i) * hidden;
      c.kernels->rms_norm(pass.x(i), w.enorm.data(), eps, hidden, joined);
      c.kernels->rms_norm(state, w.hnorm.data(), eps, hidden, joined + hidden);
    });
    multiply(c, std::array{Product{&w.eh_proj, scratch_.joined, 2 * hidden, n, pass.x(), hidden}});
    const ForwardPass::Part all{&pass, 0, n, progress_.rows};
    pass.set_angles({&all, 1});
    pass.layer(c, w.layer, model.config().n_layers, {&all, 1}, n);
    progress_.rows += n;
    return n;
  }

  // Keeps what the layer will need of the pass just computed: the tokens, the first at `place`, and
  // x (tokens, hidden) after the last layer.
  void keep_states(const ForwardPass& pass, std::span<const int32_t> tokens, const float* x,
                   int64_t place) {
    const Transformer& model = *pass.model();
    const Compute c = pass.compute();
    const int64_t hidden = model.config().hidden_size;
    const auto eps = static_cast<float>(model.config().rms_norm_eps);
    progress_.first = place;
    progress_.n_states = static_cast<int64_t>(tokens.size());
    std::ranges::copy(tokens, scratch_.tokens);
    for_each_row(c, progress_.n_states, hidden, [&](int64_t i) {
      c.kernels->rms_norm(x + i * hidden, model.weights().norm.data(), eps, hidden,
                          scratch_.states + i * hidden);
    });
  }

 private:
  MtpScratch scratch_;
  MtpProgress progress_;
};

}  // namespace pensee
