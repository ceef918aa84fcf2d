// Work of a loading, piece by piece on many threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "pensee/base/result.hpp"
#include "pensee/base/threads.hpp"
#include "pensee/io/checkpoint.hpp"

namespace pensee {

namespace load_pieces_detail {
// Tasks must not throw, and messages take memory.
template <class F>
Result<void> guarded(F& f, int64_t piece, int thread) noexcept {
  try {
    return f(piece, thread);
  } catch (const std::bad_alloc&) {
    return Error{Status::kOutOfMemory, "no memory"};  // short enough to need none
  }
}
}  // namespace load_pieces_detail

// f(piece, thread), a Result<void>, for every piece in [0, count), with a call of `progress` now
// and then. `source` is for messages. Errors: one that f gave, after which no further pieces are
// begun but those handed out; kCancelled; kOutOfMemory.
template <class F>
[[nodiscard]] Result<void> load_pieces(int64_t count, const std::string& source, ThreadPool& pool,
                                       const LoadProgress& progress, F&& f) {
  const int64_t between = int64_t{8} * pool.size();  // two calls of `progress`
  std::mutex mutex;
  Result<void> result;
  for (int64_t first = 0; first < count; first += between) {
    const double done = static_cast<double>(first) / static_cast<double>(count);
    PENSEE_RETURN_IF_ERROR(report_progress(progress, done, source));
    pool.parallel_for(std::min(between, count - first), [&](int64_t i, int thread) {
      Result<void> piece = load_pieces_detail::guarded(f, first + i, thread);
      if (piece) return;
      const std::lock_guard<std::mutex> lock(mutex);
      result = std::move(piece);
    });
    if (!result) return result;
  }
  return {};
}

}  // namespace pensee
