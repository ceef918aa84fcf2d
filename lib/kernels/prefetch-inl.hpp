// Asks memory ahead. It has internal linkage.
#pragma once

#include <stdint.h>

namespace pensee {
namespace {

// Asks for bytes that come soon, into the L1 cache, or into the L2 cache: what memory takes long to
// bring would crowd out in the first what is needed before it.
enum class Near { kL1, kL2 };
template <int64_t kBytes, Near kNear = Near::kL1>
inline void prefetch(const char* w) {
  constexpr int kLocality = kNear == Near::kL1 ? 3 : 2;  // as the compiler counts it
#pragma GCC unroll 16
  for (int64_t line = 0; line < kBytes; line += 64) {
    __builtin_prefetch(w + line, 0, kLocality);
  }
}

}  // namespace
}  // namespace pensee
