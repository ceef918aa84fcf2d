// Reads the files of a checkpoint into memory by many threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/base/threads.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/mapped_file.hpp"

namespace pensee {

// All bytes of all mapped files, some threads reading a piece each. Files in memory already take
// but the time to enter their pages. Errors: those of MappedFile::populate, kCancelled.
[[nodiscard]] inline Result<void> read_ahead(const Checkpoint& checkpoint, ThreadPool& pool,
                                             const LoadProgress& progress) {
  constexpr size_t kPieceBytes = size_t{4} << 20;
  constexpr int64_t kPiecesBetween = 32;  // two calls of `progress`
  struct Piece {
    const MappedFile* file;
    const std::string* path;
    size_t begin;
  };
  std::vector<Piece> pieces;
  checkpoint.for_each_mapped([&](const MappedFile& file, const std::string& path) {
    for (size_t at = 0; at < file.bytes().size(); at += kPieceBytes) {
      pieces.push_back({&file, &path, at});
    }
  });
  const auto count = static_cast<int64_t>(pieces.size());
  std::mutex mutex;
  Result<void> result;
  for (int64_t first = 0; first < count; first += kPiecesBetween) {
    if (progress && !progress(static_cast<double>(first) / static_cast<double>(count))) {
      return Error{Status::kCancelled, checkpoint.source() + ": loading was cancelled"};
    }
    pool.parallel_for(std::min(kPiecesBetween, count - first), [&](int64_t i, int /*thread*/) {
      const Piece& piece = pieces[static_cast<size_t>(first + i)];
      const size_t size = std::min(kPieceBytes, piece.file->bytes().size() - piece.begin);
      Result<void> read = piece.file->populate(piece.begin, size, *piece.path);
      if (read) return;
      const std::lock_guard<std::mutex> lock(mutex);
      result = std::move(read);
    });
    if (!result) return result;
  }
  return {};
}

}  // namespace pensee
