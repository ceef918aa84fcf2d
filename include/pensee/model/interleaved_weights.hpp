// Weights whose rows are interleaved (kernels/interleave.hpp), in a file that later loads find.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pensee/base/hash.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/base/threads.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/fingerprint.hpp"
#include "pensee/io/load_pieces.hpp"
#include "pensee/io/mapped_file.hpp"
#include "pensee/io/replace_file.hpp"
#include "pensee/kernels/interleave.hpp"
#include "pensee/kernels/table.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// f(matrix) for every matrix that multiply() alone reads: all but embeddings and kv_b_proj.
template <class F>
void for_each_factor(FfnWeights& w, F&& f) {
  for (Matrix* matrix : {&w.gate_proj, &w.up_proj, &w.down_proj}) f(*matrix);
}
template <class F>
void for_each_factor(LayerWeights& w, F&& f) {
  for (Matrix* matrix :
       {&w.mla.q_proj, &w.mla.q_a_proj, &w.mla.q_b_proj, &w.mla.kv_a_proj_with_mqa, &w.mla.o_proj,
        &w.gqa.q_proj, &w.gqa.k_proj, &w.gqa.v_proj, &w.gqa.o_proj}) {
    f(*matrix);
  }
  for_each_factor(w.mlp, f);
  if (w.moe == nullptr) return;
  f(w.moe->gate);
  for (FfnWeights& expert : w.moe->experts) for_each_factor(expert, f);
  for_each_factor(w.moe->shared_experts, f);
}
template <class F>
void for_each_factor(Weights& w, F&& f) {
  for (LayerWeights& layer : w.layers) for_each_factor(layer, f);
  f(w.lm_head);
  if (w.mtp == nullptr) return;
  f(w.mtp->eh_proj);
  for_each_factor(w.mtp->layer, f);
  f(w.mtp->head);
}

// A file of matrices with interleaved rows:
//   char[8]  "PENSEETR"
//   uint64   what tells the file apart, as in its name
//   uint64   its bytes
//   from kFirstByte on, the matrices
class InterleavedWeights {
 public:
  // Finds the file in `directory`, which is made if there is none, or makes it, and has the
  // matrices of `weights` point into it. Null if the kernels have no use for any. Errors: kIoError,
  // kNotFound, kCancelled, kOutOfMemory, kInvalidArgument for a NUL byte in `directory`; `weights`
  // are then as they were, and there is no half file.
  static Result<std::unique_ptr<const InterleavedWeights>> load(
      const Checkpoint& checkpoint, const KernelTable& kernels, const std::string& directory,
      ThreadPool& pool, const LoadProgress& progress, Weights& weights) {
    std::unique_ptr<InterleavedWeights> w(new InterleavedWeights);
    w->find_matrices(kernels, weights);
    if (w->matrices_.empty()) return std::unique_ptr<const InterleavedWeights>();
    w->name(checkpoint, directory);
    PENSEE_ASSIGN_OR_RETURN(const bool found, w->open());
    if (!found) {
      PENSEE_RETURN_IF_ERROR(make_directory(directory));
      PENSEE_RETURN_IF_ERROR(w->make(checkpoint, pool, progress));
      PENSEE_ASSIGN_OR_RETURN(const bool made, w->open());
      if (!made) return Error{Status::kIoError, w->path_ + ": written, then found changed"};
    }
    w->use();
    // Hardly a page of the rest is needed often.
    checkpoint.for_each_mapped([](const MappedFile& file, const std::string&) { file.release(); });
    return std::unique_ptr<const InterleavedWeights>(std::move(w));
  }

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const MappedFile& file() const noexcept { return *file_; }

 private:
  static constexpr std::string_view kMagic = "PENSEETR";
  static constexpr size_t kFirstByte = 4096;
  static constexpr uint64_t kVersion = 1;  // of the order of bytes
  // What is written at a time, and where a piece begins: a huge page, for the file's pages in
  // memory are as large as what was written, and threads read from large ones a tenth faster.
  static constexpr int64_t kPieceBytes = int64_t{2} << 20;
  // Who may read the checkpoint may want the copy.
  static constexpr mode_t kForAll = S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH;

  struct Placed {
    Matrix* matrix;
    size_t at;  // in the file
  };

  InterleavedWeights() = default;

  // A matrix that two layers share has one place; one that is an embedding too has none.
  void find_matrices(const KernelTable& kernels, Weights& weights) {
    std::unordered_map<const void*, size_t> places;
    bytes_ = kFirstByte;
    for_each_factor(weights, [&](Matrix& matrix) {
      const bool is_embedding =
          matrix.data == weights.embed_tokens.data ||
          (weights.mtp != nullptr && matrix.data == weights.mtp->embed_tokens.data);
      if (matrix.data == nullptr || is_embedding || !can_interleave(kernels, matrix)) return;
      const auto [place, is_new] = places.emplace(matrix.data, bytes_);
      matrices_.push_back({&matrix, place->second});
      if (!is_new) return;
      new_.push_back(matrices_.size() - 1);
      bytes_ += static_cast<size_t>(matrix.rows * matrix.row_bytes);
    });
  }

  void name(const Checkpoint& checkpoint, const std::string& directory) {
    Fnv1a64 hash;
    hash.add(kVersion);
    add_fingerprint(checkpoint, hash);
    // A file that was damaged and has been mended may look the same where the fingerprint looks.
    checkpoint.for_each_mapped([&](const MappedFile& file, const std::string& /*path*/) {
      hash.add(static_cast<uint64_t>(file.modified()));
    });
    for (const Placed& placed : matrices_) {
      const Matrix& m = *placed.matrix;
      hash.add(dtype_name(m.dtype)).add(static_cast<uint64_t>(m.rows));
      hash.add(static_cast<uint64_t>(m.cols)).add(uint64_t{placed.at});
    }
    hash_ = hash.value();
    std::array<char, 17> digits{};
    std::snprintf(digits.data(), digits.size(), "%016llx",
                  static_cast<unsigned long long>(hash_));  // NOLINT: what the format takes
    path_ = (std::filesystem::path(directory) / (std::string(digits.data()) + ".rows")).string();
  }

  [[nodiscard]] std::array<std::byte, 24> header() const {
    const std::array<uint64_t, 2> numbers = {hash_, bytes_};
    std::array<std::byte, 24> header;
    std::memcpy(header.data(), kMagic.data(), kMagic.size());
    std::memcpy(header.data() + kMagic.size(), numbers.data(), sizeof numbers);
    return header;
  }

  // False if there is no such file, or one that is none of these.
  Result<bool> open() {
    Result<MappedFile> file = MappedFile::open(path_);
    if (!file && file.error().status == Status::kNotFound) return false;
    if (!file) return std::move(file).error();
    const std::array<std::byte, 24> expected = header();
    if (file->bytes().size() != bytes_ ||
        std::memcmp(file->bytes().data(), expected.data(), expected.size()) != 0) {
      return false;
    }
    file_ = std::move(*file);
    return true;
  }

  static Result<void> make_directory(const std::string& directory) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (!error) return {};
    return Error{Status::kIoError, directory + ": cannot make the directory: " + error.message()};
  }

  Result<void> make(const Checkpoint& checkpoint, ThreadPool& pool, const LoadProgress& progress) {
    PENSEE_ASSIGN_OR_RETURN(NewFile file, NewFile::create(path_, bytes_, kForAll));
    const size_t margin = largest_tile();
    std::vector<std::vector<std::byte>> buffers(static_cast<size_t>(pool.size()));
    for (auto& buffer : buffers) buffer.resize(size_t{kPieceBytes} + 2 * margin);
    PENSEE_RETURN_IF_ERROR(
        load_pieces(ceil_div(static_cast<int64_t>(bytes_), kPieceBytes), checkpoint.source(), pool,
                    progress, [&](int64_t i, int thread) {
                      const auto begin = static_cast<size_t>(i * kPieceBytes);
                      const size_t end = std::min(begin + size_t{kPieceBytes}, bytes_);
                      std::byte* piece = buffers[static_cast<size_t>(thread)].data() + margin;
                      interleave(begin, end, piece);
                      return file.write(begin, {piece, end - begin});
                    }));
    PENSEE_RETURN_IF_ERROR(file.write(0, header()));
    return file.commit();
  }

  [[nodiscard]] size_t largest_tile() const {
    int64_t row = 0;
    for (const size_t i : new_) row = std::max(row, matrices_[i].matrix->row_bytes);
    return static_cast<size_t>(kTileRows * row);
  }

  // Bytes [begin, end) of the file to `out`, which has room for a tile before and behind them.
  void interleave(size_t begin, size_t end, std::byte* out) const {
    if (begin == 0) std::fill_n(out, kFirstByte, std::byte{0});
    const auto ends_by = [this](size_t i, size_t place) {
      const Matrix& m = *matrices_[i].matrix;
      return matrices_[i].at + static_cast<size_t>(m.rows * m.row_bytes) <= place;
    };
    auto next = std::lower_bound(new_.begin(), new_.end(), begin, ends_by);
    for (; next != new_.end() && matrices_[*next].at < end; ++next) {
      const auto& [matrix, at] = matrices_[*next];
      // The tiles that the piece has some of.
      const int64_t tile = kTileRows * matrix->row_bytes;
      const auto from = static_cast<int64_t>(begin) - static_cast<int64_t>(at);
      const int64_t first = std::max<int64_t>(0, from / tile);
      const int64_t last = ceil_div(static_cast<int64_t>(end - at), tile);
      interleave_rows(*matrix, first * kTileRows, std::min(last * kTileRows, matrix->rows),
                      out + (first * tile - from));
    }
  }

  void use() const {
    for (const Placed& placed : matrices_) {
      placed.matrix->data = file_->bytes().data() + placed.at;
      placed.matrix->is_interleaved = true;
    }
  }

  std::vector<Placed> matrices_;
  std::vector<size_t> new_;  // the first of each place, by index
  size_t bytes_ = 0;
  uint64_t hash_ = 0;
  std::string path_;
  std::optional<MappedFile> file_;
};

}  // namespace pensee
