// Multi-token prediction: what its layer needs beside what every layer has.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pensee/base/arena.hpp"
#include "pensee/model/config.hpp"

namespace pensee {

// The layer makes row i of its cache from the main model's state of token i and from token i + 1.
// So it follows the main model by one token: the newest one's row waits for the token after it.
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

}  // namespace pensee
