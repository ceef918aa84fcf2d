// NumPy's array file, version 1.0, for a float32 matrix.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>

#include "pensee/base/result.hpp"

namespace pensee::cli {

// Writes rows one by one; the number of rows is promised at the start.
class NpyWriter {
 public:
  static Result<NpyWriter> create(const std::string& path, int64_t rows, int64_t cols);
  [[nodiscard]] Result<void> append(std::span<const float> row);  // (cols)
  [[nodiscard]] Result<void> close();

 private:
  struct Close {
    void operator()(std::FILE* file) const { static_cast<void>(std::fclose(file)); }
  };
  NpyWriter(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  [[nodiscard]] Error failure(const char* what) const;

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace pensee::cli
