// Large files that a repository does not have: cloned without Git LFS, they are a few lines of text
// which say where the contents are.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "pensee/base/result.hpp"

namespace pensee {

// kCorruptFile if `bytes`, all of the file at `path`, are such lines
// (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
[[nodiscard]] inline Result<void> expect_contents(std::span<const std::byte> bytes,
                                                  const std::string& path) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with("version https://git-lfs.github.com/spec/")) return {};
  return corrupt_file(path + ": expected the contents of the file, found a pointer of Git LFS to " +
                      "them: they have not been downloaded");
}

}  // namespace pensee
