// One GGUF file: checks its header completely and lists its tensors in place.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/io/gguf_metadata.hpp"
#include "pensee/io/gguf_other_types.hpp"
#include "pensee/io/lfs_pointer.hpp"
#include "pensee/io/mapped_file.hpp"

namespace pensee {

// X(type, number in GGUF files): the types of tensors, as ggml numbers them.
#define PENSEE_GGUF_DTYPE_LIST(X) \
  X(kF32, 0)                      \
  X(kF16, 1)                      \
  X(kQ4_0, 2)                     \
  X(kQ4_1, 3)                     \
  X(kQ5_0, 6)                     \
  X(kQ5_1, 7)                     \
  X(kQ8_0, 8)                     \
  X(kQ2_K, 10)                    \
  X(kQ3_K, 11)                    \
  X(kQ4_K, 12)                    \
  X(kQ5_K, 13)                    \
  X(kQ6_K, 14)                    \
  X(kIQ2_XXS, 16)                 \
  X(kIQ2_XS, 17)                  \
  X(kIQ3_XXS, 18)                 \
  X(kIQ1_S, 19)                   \
  X(kIQ4_NL, 20)                  \
  X(kIQ3_S, 21)                   \
  X(kIQ2_S, 22)                   \
  X(kIQ4_XS, 23)                  \
  X(kI8, 24)                      \
  X(kI16, 25)                     \
  X(kI32, 26)                     \
  X(kI64, 27)                     \
  X(kF64, 28)                     \
  X(kIQ1_M, 29)                   \
  X(kBF16, 30)                    \
  X(kMXFP4, 39)

[[nodiscard]] constexpr std::optional<DType> dtype_from_gguf(uint32_t number) noexcept {
  switch (number) {
#define PENSEE_X(type, value) \
  case value:                 \
    return DType::type;
    PENSEE_GGUF_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
    default:
      return std::nullopt;
  }
}

// The number of `dtype` in GGUF files; none for a type that they cannot hold.
[[nodiscard]] constexpr std::optional<uint32_t> gguf_from_dtype(DType dtype) noexcept {
  switch (dtype) {
#define PENSEE_X(type, value) \
  case DType::type:           \
    return value;
    PENSEE_GGUF_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
    default:
      return std::nullopt;
  }
}

// Layout, little-endian: "GGUF"; version; number of tensors and of keys; the keys with their values
// (gguf_metadata.hpp); for every tensor its name, number of dimensions, dimensions from the
// innermost out, type, offset from the start of the data; padding to the alignment; the data, where
// every tensor begins at a multiple of the alignment.
//
// Thread rule: immutable; any thread may read. Views, metadata and their texts live as long as this
// object.
class GgufFile {
 public:
  static constexpr std::string_view kMagic = "GGUF";
  static constexpr uint32_t kOldestVersion = 2;
  static constexpr uint32_t kNewestVersion = 3;
  static constexpr uint32_t kDefaultAlignment = 32;    // bytes
  static constexpr uint32_t kMaxAlignment = 1U << 20;  // bytes
  static constexpr const char* kAlignmentKey = "general.alignment";

  // Maps and checks the file; reads its header only. kCorruptFile for what the format forbids,
  // kUnsupported for another version, byte order, tensor type or more than kMaxRank dimensions, and
  // the errors of MappedFile::open.
  static Result<std::unique_ptr<const GgufFile>> open(const std::string& path) {
    PENSEE_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::open(path));
    std::unique_ptr<GgufFile> file(new GgufFile(path));
    file->mapped_.emplace(std::move(mapped));
    PENSEE_RETURN_IF_ERROR(file->parse(file->mapped_->bytes()));
    return std::unique_ptr<const GgufFile>(std::move(file));
  }

  // The same over bytes in memory, which must outlive the result. `path` is for messages.
  static Result<std::unique_ptr<const GgufFile>> from_bytes(std::span<const std::byte> bytes,
                                                            const std::string& path) {
    std::unique_ptr<GgufFile> file(new GgufFile(path));
    PENSEE_RETURN_IF_ERROR(file->parse(bytes));
    return std::unique_ptr<const GgufFile>(std::move(file));
  }

  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  [[nodiscard]] const GgufMetadata& metadata() const noexcept { return *metadata_; }
  // In the order of their data. Shapes are row-major, as everywhere here: the innermost dimension,
  // the first in the file, is the last.
  [[nodiscard]] std::span<const TensorView> tensors() const noexcept { return tensors_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  // Size of the whole file.
  [[nodiscard]] size_t bytes() const noexcept { return bytes_; }
  // Null for bytes in memory.
  [[nodiscard]] const MappedFile* mapped() const noexcept { return mapped_ ? &*mapped_ : nullptr; }

 private:
  // A tensor as the header says; its data is not believed yet.
  struct Entry {
    TensorView view;
    uint64_t offset = 0;
  };

  explicit GgufFile(std::string path) : path_(std::move(path)) {}

  Result<void> parse(std::span<const std::byte> bytes) {
    bytes_ = bytes.size();
    PENSEE_RETURN_IF_ERROR(expect_contents(bytes, path_));
    gguf_detail::Reader reader(bytes, path_);
    PENSEE_RETURN_IF_ERROR(check_version(reader));
    constexpr size_t kLeastTensor = 8 + 4 + 4 + 8;  // name, dimensions, type and offset, all empty
    constexpr size_t kLeastKey = 8 + 4 + 1;         // key, type and value
    PENSEE_ASSIGN_OR_RETURN(const size_t n_tensors, reader.count(kLeastTensor, "tensor count"));
    PENSEE_ASSIGN_OR_RETURN(const size_t n_keys, reader.count(kLeastKey, "key count"));
    PENSEE_ASSIGN_OR_RETURN(GgufMetadata metadata, GgufMetadata::read(reader, n_keys));
    metadata_.emplace(std::move(metadata));
    PENSEE_ASSIGN_OR_RETURN(const uint64_t alignment, read_alignment());

    std::vector<Entry> entries;
    for (size_t i = 0; i < n_tensors; ++i) {
      PENSEE_ASSIGN_OR_RETURN(const Entry entry, read_entry(reader, i));
      entries.push_back(entry);
    }
    PENSEE_RETURN_IF_ERROR(check_names(entries));
    return place(std::move(entries), bytes, align_up(reader.position(), alignment), alignment);
  }

  Result<void> check_version(gguf_detail::Reader& reader) const {
    PENSEE_ASSIGN_OR_RETURN(const std::byte* magic, reader.take(kMagic.size(), "magic"));
    const std::string_view found(reinterpret_cast<const char*>(magic), kMagic.size());
    if (found != kMagic) {
      return corrupt_file(path_ + ": expected a GGUF file, which begins with \"GGUF\", found \"" +
                          printable(found) + "\"");
    }
    PENSEE_ASSIGN_OR_RETURN(const uint32_t version, reader.number<uint32_t>("version"));
    if (version >= kOldestVersion && version <= kNewestVersion) return {};
    // A small number in the other byte order has an empty lower half.
    if (version != 0 && (version & 0xffffU) == 0) {
      return unsupported(path_ + ": expected a little-endian GGUF file, found a big-endian one");
    }
    return unsupported(path_ + ": expected GGUF version " + std::to_string(kOldestVersion) +
                       " or " + std::to_string(kNewestVersion) + ", found " +
                       std::to_string(version));
  }

  [[nodiscard]] Result<uint64_t> read_alignment() const {
    const auto value = metadata_->find(kAlignmentKey);
    if (!value) return uint64_t{kDefaultAlignment};
    PENSEE_ASSIGN_OR_RETURN(const int64_t found, value->as_int(1, kMaxAlignment));
    const auto alignment = static_cast<uint64_t>(found);
    if (std::has_single_bit(alignment)) return alignment;
    return value->expected("a power of two");
  }

  Result<Entry> read_entry(gguf_detail::Reader& reader, size_t i) const {
    const std::string number = "tensor " + std::to_string(i);
    PENSEE_ASSIGN_OR_RETURN(const std::string_view name, reader.string(number + ": name"));
    if (name.empty()) {
      return corrupt_file(path_ + ": " + number + ": expected a name, found an empty one");
    }
    const std::string what = "tensor " + printable(name);
    const std::string where = path_ + ": " + what + ": ";
    Entry entry;
    entry.view.name = name;
    entry.view.file = path_;
    PENSEE_ASSIGN_OR_RETURN(const uint32_t rank, reader.number<uint32_t>(what));
    if (rank > kMaxRank) {
      return unsupported(where + "expected at most " + std::to_string(kMaxRank) +
                         " dimensions, found " + std::to_string(rank));
    }
    entry.view.shape.rank = static_cast<int>(rank);
    for (uint32_t d = rank; d-- > 0;) {
      PENSEE_ASSIGN_OR_RETURN(const uint64_t dim, reader.number<uint64_t>(what));
      if (dim > static_cast<uint64_t>(kMaxTensorDim)) {
        return corrupt_file(where + "expected a dimension up to " + std::to_string(kMaxTensorDim) +
                            ", found " + std::to_string(dim));
      }
      entry.view.shape.dims[d] = static_cast<int64_t>(dim);
    }
    PENSEE_ASSIGN_OR_RETURN(const uint32_t type, reader.number<uint32_t>(what));
    const auto dtype = dtype_from_gguf(type);
    if (!dtype) return unsupported(where + describe_other_type(type));
    entry.view.dtype = *dtype;
    PENSEE_ASSIGN_OR_RETURN(entry.view.bytes, checked_bytes(entry.view, where));
    PENSEE_ASSIGN_OR_RETURN(entry.offset, reader.number<uint64_t>(what));
    return entry;
  }

  // Bytes of the data that `view`, without data yet, shall have.
  static Result<size_t> checked_bytes(const TensorView& view, const std::string& where) {
    const Shape& shape = view.shape;
    const int64_t row = shape.rank > 0 ? shape[shape.rank - 1] : 1;
    const int64_t block = dtype_block_elements(view.dtype);
    if (row % block != 0) {
      return corrupt_file(where + "expected rows of a multiple of " + std::to_string(block) +
                          " numbers for " + std::string(dtype_name(view.dtype)) + ", found " +
                          std::to_string(row) + " in " + shape.to_string());
    }
    auto product = static_cast<uint64_t>(dtype_row_bytes(view.dtype, row));
    bool is_empty = row == 0;
    bool is_too_large = false;
    for (int d = 0; d + 1 < shape.rank; ++d) {
      is_empty = is_empty || shape[d] == 0;
      // A zero must not hide an overflow of the others: partial products are taken elsewhere.
      is_too_large = is_too_large ||
                     __builtin_mul_overflow(
                         product, static_cast<uint64_t>(std::max<int64_t>(shape[d], 1)), &product);
    }
    if (is_too_large || product > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return corrupt_file(where + "shape: too large: " + shape.to_string());
    }
    return is_empty ? size_t{0} : static_cast<size_t>(product);
  }

  [[nodiscard]] Result<void> check_names(const std::vector<Entry>& entries) const {
    std::vector<std::string_view> names;
    names.reserve(entries.size());
    for (const Entry& entry : entries) names.push_back(entry.view.name);
    std::sort(names.begin(), names.end());
    const auto twin = std::adjacent_find(names.begin(), names.end());
    if (twin == names.end()) return {};
    return corrupt_file(path_ + ": tensor " + printable(*twin) + ": written twice");
  }

  // Checks where the data of `entries` lies, gives them their data and keeps them.
  Result<void> place(std::vector<Entry> entries, std::span<const std::byte> bytes, uint64_t begin,
                     uint64_t alignment) {
    // A file without data may end before the padding.
    const auto data = bytes.subspan(static_cast<size_t>(std::min<uint64_t>(begin, bytes.size())));
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return std::pair(a.offset, a.view.bytes) < std::pair(b.offset, b.view.bytes);
    });
    uint64_t end = 0;
    tensors_.reserve(entries.size());
    for (Entry& entry : entries) {
      const std::string where = path_ + ": tensor " + printable(entry.view.name) + ": offset: ";
      if (entry.offset % alignment != 0) {
        return corrupt_file(where + "expected a multiple of " + std::to_string(alignment) +
                            ", found " + std::to_string(entry.offset));
      }
      if (entry.offset > data.size() || entry.view.bytes > data.size() - entry.offset) {
        return corrupt_file(where + "expected " + std::to_string(entry.view.bytes) +
                            " bytes from " + std::to_string(entry.offset) + " on, found " +
                            std::to_string(data.size()) + " bytes of data in all");
      }
      if (entry.offset < end) {
        return corrupt_file(where + "expected at least " + std::to_string(end) +
                            ", where the data before it ends, found " +
                            std::to_string(entry.offset) + " (overlap)");
      }
      end = entry.offset + entry.view.bytes;
      entry.view.data = data.data() + entry.offset;
      tensors_.push_back(entry.view);
    }
    return {};
  }

  static uint64_t align_up(uint64_t position, uint64_t alignment) {
    return (position + alignment - 1) / alignment * alignment;
  }

  std::string path_;
  std::optional<MappedFile> mapped_;
  size_t bytes_ = 0;
  std::optional<GgufMetadata> metadata_;
  std::vector<TensorView> tensors_;
};

}  // namespace pensee
