// One safetensors file: checks its header completely and lists its tensors in place.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/io/lfs_pointer.hpp"
#include "pensee/io/mapped_file.hpp"

namespace pensee {

inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes, the format's own limit

// Layout: 8 bytes, little-endian: n; n bytes: a JSON object; the rest: data. The object maps each
// name to {"dtype", "shape", "data_offsets": [begin, end]}, offsets counted from the start of the
// data; "__metadata__" maps text to text. The tensors cover the data without overlap or hole.
namespace safetensors_detail {

// A tensor as its header entry says, before any of it is believed.
struct Entry {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> offsets;
};

// Reads the header straight into entries, without a tree between them: the big checkpoints have
// thousands of tensors a file. The member names are nlohmann's.
class HeaderReader {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  std::vector<Entry> entries;
  [[nodiscard]] Error error() && { return std::move(error_); }

  bool null() { return wrong("null"); }
  bool boolean(bool /*value*/) { return wrong("a boolean"); }
  bool number_integer(int64_t value) { return wrong(std::to_string(value)); }  // negative
  bool number_float(double /*value*/, const std::string& text) { return wrong(printable(text)); }
  bool binary(Json::binary_t& /*value*/) { return wrong("binary data"); }
  bool number_unsigned(uint64_t value) {
    if (!in_array_) return wrong(std::to_string(value));
    std::vector<uint64_t>& list = list_now();
    constexpr size_t kMaxList = 64;  // far beyond any rank; stops a hostile header early
    if (list.size() == kMaxList) return wrong("more than 64 numbers");
    list.push_back(value);
    return true;
  }
  bool string(std::string& value) {
    if (depth_ == 2 && in_metadata_) return true;
    if (depth_ != 2 || field_ != Field::kDtype) return wrong("\"" + printable(value) + "\"");
    entries.back().dtype = std::move(value);
    return true;
  }
  bool key(std::string& name) {
    if (depth_ == 2) return in_metadata_ ? true : field_key(name);
    if (!names_.insert(name).second) {
      return fail("tensor " + printable(name) + ": written twice in the header");
    }
    in_metadata_ = name == "__metadata__";
    if (!in_metadata_) {
      entries.emplace_back().name = std::move(name);
      seen_ = 0;
    }
    return true;
  }
  bool start_object(size_t /*size*/) {
    if (depth_ == 2 || in_array_) return wrong("an object");
    ++depth_;
    return true;
  }
  bool end_object() {
    if (depth_ == 2 && !in_metadata_ && seen_ != kAllSeen) {
      return fail(here() + ": expected dtype, shape and data_offsets, found only a part of them");
    }
    --depth_;
    return true;
  }
  bool start_array(size_t /*size*/) {
    if (depth_ != 2 || in_metadata_ || in_array_ || field_ == Field::kDtype) {
      return wrong("an array");
    }
    in_array_ = true;
    return true;
  }
  bool end_array() {
    in_array_ = false;
    return true;
  }
  bool parse_error(size_t position, const std::string& /*last*/, const Json::exception& e) {
    error_ = json_syntax_error(file_ + ": header", position, e.what());
    return false;
  }

 private:
  enum class Field : unsigned { kDtype = 1, kShape = 2, kOffsets = 4 };
  static constexpr unsigned kAllSeen = 7;

  bool field_key(const std::string& name) {
    if (name == "dtype") {
      field_ = Field::kDtype;
    } else if (name == "shape") {
      field_ = Field::kShape;
    } else if (name == "data_offsets") {
      field_ = Field::kOffsets;
    } else {
      return fail(here() + ": expected dtype, shape or data_offsets, found " + printable(name));
    }
    const auto bit = static_cast<unsigned>(field_);
    if ((seen_ & bit) != 0) return fail(here() + ": " + name + " is written twice");
    seen_ |= bit;
    return true;
  }
  std::vector<uint64_t>& list_now() {
    return field_ == Field::kShape ? entries.back().shape : entries.back().offsets;
  }
  std::string here() const {
    return in_metadata_ ? "__metadata__" : "tensor " + printable(entries.back().name);
  }
  bool wrong(const std::string& found) {
    if (depth_ == 0) return fail("header: expected a JSON object, found " + found);
    if (depth_ == 1) return fail(here() + ": expected an object, found " + found);
    if (in_metadata_) return fail(here() + ": expected a string, found " + found);
    if (field_ == Field::kDtype) return fail(here() + ": dtype: expected a string, found " + found);
    return fail(here() + (field_ == Field::kShape ? ": shape" : ": data_offsets") +
                ": expected an array of whole numbers, found " + found);
  }
  bool fail(const std::string& what) {
    error_ = corrupt_file(file_ + ": " + what);
    return false;
  }

  const std::string& file_;
  Error error_;
  std::unordered_set<std::string> names_;
  int depth_ = 0;  // 1 in the header object, 2 in a tensor's object
  bool in_metadata_ = false;
  bool in_array_ = false;
  Field field_ = Field::kDtype;
  unsigned seen_ = 0;  // fields of this tensor
};

// Bytes of a tensor, or none if a dimension or the product is too large to be true.
inline std::optional<uint64_t> checked_bytes(const std::vector<uint64_t>& shape, DType dtype) {
  auto product = static_cast<uint64_t>(dtype_block_bytes(dtype));  // a block is one element here
  bool is_empty = false;
  for (const uint64_t dim : shape) {
    if (dim > static_cast<uint64_t>(kMaxTensorDim)) return std::nullopt;
    is_empty = is_empty || dim == 0;
    // A zero must not hide an overflow of the others: partial products are taken elsewhere.
    if (__builtin_mul_overflow(product, std::max<uint64_t>(dim, 1), &product)) return std::nullopt;
  }
  if (product > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return is_empty ? 0 : product;
}

inline std::string list_text(const std::vector<uint64_t>& list) {
  std::string text = "[";
  for (size_t i = 0; i < list.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(list[i]);
  }
  return text + "]";
}

}  // namespace safetensors_detail

// The tensors of one file, checked and listed in the order of their data.
//
// Thread rule: immutable; any thread may read. The views live as long as this object.
class SafetensorsFile {
 public:
  // Maps and checks the file; reads its header only. kCorruptFile for what the format forbids,
  // kUnsupported for an unknown dtype or more than kMaxRank dimensions, and the errors of
  // MappedFile::open.
  static Result<std::unique_ptr<const SafetensorsFile>> open(const std::string& path) {
    PENSEE_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::open(path));
    std::unique_ptr<SafetensorsFile> file(new SafetensorsFile(path));
    file->mapped_.emplace(std::move(mapped));
    PENSEE_RETURN_IF_ERROR(file->parse(file->mapped_->bytes()));
    return std::unique_ptr<const SafetensorsFile>(std::move(file));
  }

  // The same over bytes in memory, which must outlive the result. `path` is for messages.
  static Result<std::unique_ptr<const SafetensorsFile>> from_bytes(std::span<const std::byte> bytes,
                                                                   const std::string& path) {
    std::unique_ptr<SafetensorsFile> file(new SafetensorsFile(path));
    PENSEE_RETURN_IF_ERROR(file->parse(bytes));
    return std::unique_ptr<const SafetensorsFile>(std::move(file));
  }

  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::span<const TensorView> tensors() const noexcept { return tensors_; }
  // Size of the file.
  [[nodiscard]] size_t bytes() const noexcept { return bytes_; }
  // Null for bytes in memory.
  [[nodiscard]] const MappedFile* mapped() const noexcept { return mapped_ ? &*mapped_ : nullptr; }

 private:
  using Entry = safetensors_detail::Entry;

  explicit SafetensorsFile(std::string path) : path_(std::move(path)) {}

  Result<void> parse(std::span<const std::byte> bytes) {
    bytes_ = bytes.size();
    PENSEE_RETURN_IF_ERROR(expect_contents(bytes, path_));
    constexpr size_t kLengthBytes = 8;
    if (bytes.size() < kLengthBytes) {
      return corrupt("expected at least 8 bytes, found " + std::to_string(bytes.size()));
    }
    uint64_t header_bytes = 0;
    for (size_t i = 0; i < kLengthBytes; ++i) {
      header_bytes |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    }
    const uint64_t most = std::min<uint64_t>(bytes.size() - kLengthBytes, kMaxSafetensorsHeader);
    if (header_bytes > most) {
      return corrupt("header length: expected at most " + std::to_string(most) + " bytes, found " +
                     std::to_string(header_bytes));
    }
    const auto header = bytes.subspan(kLengthBytes, static_cast<size_t>(header_bytes));
    const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
    // A NUL would end the parser's input unseen, and a byte-order mark would be skipped.
    if (!text.starts_with('{')) return corrupt("header: expected a JSON object starting with {");
    if (text.find('\0') != text.npos) return corrupt("header: not valid JSON: NUL byte");
    safetensors_detail::HeaderReader reader(path_);
    if (!Json::sax_parse(text.begin(), text.end(), &reader)) return std::move(reader).error();
    return list_tensors(std::move(reader.entries), bytes.subspan(kLengthBytes + header.size()));
  }

  Result<void> list_tensors(std::vector<Entry> entries, std::span<const std::byte> data) {
    names_.reserve(entries.size());
    tensors_.reserve(entries.size());
    for (Entry& entry : entries) {
      PENSEE_ASSIGN_OR_RETURN(TensorView view, checked_view(entry, data));
      names_.push_back(std::move(entry.name));  // reserved: never moves again
      view.name = names_.back();
      tensors_.push_back(view);
    }
    // By place, and empty tensors before the one that starts at the same place.
    std::sort(tensors_.begin(), tensors_.end(), [](const TensorView& a, const TensorView& b) {
      return a.data != b.data     ? a.data < b.data
             : a.bytes != b.bytes ? a.bytes < b.bytes
                                  : a.name < b.name;
    });
    size_t end = 0;
    for (const TensorView& view : tensors_) {
      const auto begin = static_cast<size_t>(view.data - data.data());
      if (begin != end) {
        return corrupt("tensor " + printable(view.name) + ": expected data at offset " +
                       std::to_string(end) + ", right after the tensor before it, found " +
                       std::to_string(begin) + (begin < end ? " (overlap)" : " (hole)"));
      }
      end += view.bytes;
    }
    if (end != data.size()) {
      return corrupt("expected " + std::to_string(end) + " bytes of tensor data, found " +
                     std::to_string(data.size()));
    }
    return {};
  }

  // `entry` as a view, its name still to be set.
  Result<TensorView> checked_view(const Entry& entry, std::span<const std::byte> data) const {
    const std::string where = path_ + ": tensor " + printable(entry.name) + ": ";
    const auto dtype = dtype_from_name(entry.dtype);
    if (!dtype) return unsupported(where + "unknown dtype \"" + printable(entry.dtype) + "\"");
    const std::string shape = safetensors_detail::list_text(entry.shape);
    if (entry.shape.size() > kMaxRank) {
      return unsupported(where + "shape: expected at most " + std::to_string(kMaxRank) +
                         " dimensions, found " + shape);
    }
    const auto bytes = safetensors_detail::checked_bytes(entry.shape, *dtype);
    if (!bytes) return corrupt_file(where + "shape: too large: " + shape);
    if (entry.offsets.size() != 2 || entry.offsets[0] > entry.offsets[1] ||
        entry.offsets[1] > data.size()) {
      return corrupt_file(where + "data_offsets: expected [begin, end] within " +
                          std::to_string(data.size()) + " bytes of data, found " +
                          safetensors_detail::list_text(entry.offsets));
    }
    const uint64_t found = entry.offsets[1] - entry.offsets[0];
    if (found != *bytes) {
      return corrupt_file(where + "expected " + std::to_string(*bytes) + " bytes for " +
                          std::string(dtype_name(*dtype)) + " " + shape + ", found " +
                          std::to_string(found));
    }
    TensorView view;
    view.file = path_;
    view.dtype = *dtype;
    view.shape.rank = static_cast<int>(entry.shape.size());
    for (size_t i = 0; i < entry.shape.size(); ++i) {
      view.shape.dims[i] = static_cast<int64_t>(entry.shape[i]);
    }
    view.data = data.data() + entry.offsets[0];
    view.bytes = static_cast<size_t>(found);
    return view;
  }

  [[nodiscard]] Error corrupt(const std::string& what) const {
    return corrupt_file(path_ + ": " + what);
  }

  std::string path_;
  std::optional<MappedFile> mapped_;
  size_t bytes_ = 0;
  std::vector<std::string> names_;  // the views point into them
  std::vector<TensorView> tensors_;
};

}  // namespace pensee
