// Reads files into memory by many threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/base/threads.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/load_pieces.hpp"
#include "pensee/io/mapped_file.hpp"

namespace pensee {

struct NamedMapping {
  const MappedFile* file;
  const std::string* path;
};

// All bytes of all files, some threads reading a piece each. Files in memory already take but the
// time to enter their pages. `source` is for messages. Errors: those of MappedFile::populate,
// kCancelled.
[[nodiscard]] inline Result<void> read_ahead(std::span<const NamedMapping> files,
                                             const std::string& source, ThreadPool& pool,
                                             const LoadProgress& progress) {
  constexpr size_t kPieceBytes = size_t{4} << 20;
  struct Piece {
    NamedMapping from;
    size_t begin;
  };
  std::vector<Piece> pieces;
  for (const NamedMapping& from : files) {
    for (size_t at = 0; at < from.file->bytes().size(); at += kPieceBytes) {
      pieces.push_back({from, at});
    }
  }
  return load_pieces(static_cast<int64_t>(pieces.size()), source, pool, progress,
                     [&](int64_t i, int /*thread*/) {
                       const auto& [from, begin] = pieces[static_cast<size_t>(i)];
                       const size_t size = std::min(kPieceBytes, from.file->bytes().size() - begin);
                       return from.file->populate(begin, size, *from.path);
                     });
}

// Those of a checkpoint that are not in the host's memory.
[[nodiscard]] inline Result<void> read_ahead(const Checkpoint& checkpoint, ThreadPool& pool,
                                             const LoadProgress& progress) {
  std::vector<NamedMapping> files;
  checkpoint.for_each_mapped([&](const MappedFile& file, const std::string& path) {
    files.push_back({&file, &path});
  });
  return read_ahead(files, checkpoint.source(), pool, progress);
}

}  // namespace pensee
