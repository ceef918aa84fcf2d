// Models that are little more than one layer of DeepSeek-R1's true size, with random weights.
#pragma once

#include <cstdint>
#include <string>

#include "commands.hpp"
#include "pensee/io/model_files.hpp"

namespace pensee::cli {

// A GGUF file in memory, unmapped at the end.
class LayerFile {
 public:
  // `options.layer` "moe": a layer of experts behind attention as small as can be; "mla": latent
  // attention before a feed-forward network as small as can be. What else there is, some embeddings
  // and an output of the same number, is small beside the layer. Errors: kInvalidArgument,
  // kOutOfMemory.
  static Result<LayerFile> make(const BenchOptions& options);

  LayerFile(LayerFile&& other) noexcept;
  LayerFile& operator=(LayerFile&&) = delete;
  ~LayerFile();

  [[nodiscard]] NamedBuffer buffer() const;

 private:
  LayerFile(std::byte* data, size_t bytes) : data_(data), bytes_(bytes) {}

  std::byte* data_;
  size_t bytes_;
};

}  // namespace pensee::cli
