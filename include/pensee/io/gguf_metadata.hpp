// The metadata of a GGUF file: keys with typed values, read in place.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/io/gguf_value.hpp"

namespace pensee {

namespace gguf_detail {

// Reads a file from its start on, and never past its end. `what` in the calls below is for
// messages.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] size_t position() const noexcept { return position_; }
  [[nodiscard]] size_t left() const noexcept { return bytes_.size() - position_; }

  // The next n bytes.
  Result<const std::byte*> take(uint64_t n, std::string_view what) {
    if (n > left()) {
      return corrupt_file(file_ + ": " + std::string(what) + ": expected " + std::to_string(n) +
                          " bytes, found " + std::to_string(left()) + " before the end");
    }
    const std::byte* at = bytes_.data() + position_;
    position_ += static_cast<size_t>(n);
    return at;
  }
  template <class T>
  Result<T> number(std::string_view what) {
    PENSEE_ASSIGN_OR_RETURN(const std::byte* at, take(sizeof(T), what));
    return load<T>(at);
  }
  // A length, then that many bytes.
  Result<std::string_view> string(std::string_view what) {
    PENSEE_ASSIGN_OR_RETURN(const uint64_t length, number<uint64_t>(what));
    PENSEE_ASSIGN_OR_RETURN(const std::byte* at, take(length, what));
    return std::string_view(reinterpret_cast<const char*>(at), static_cast<size_t>(length));
  }
  // How many things follow, each of `least` bytes or more: no count that the file cannot hold.
  Result<size_t> count(size_t least, std::string_view what) {
    PENSEE_ASSIGN_OR_RETURN(const uint64_t found, number<uint64_t>(what));
    if (found <= left() / least) return static_cast<size_t>(found);
    return corrupt_file(file_ + ": " + std::string(what) + ": expected at most " +
                        std::to_string(left() / least) + ", as many as the file can hold, found " +
                        std::to_string(found));
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& file_;
  size_t position_ = 0;
};

}  // namespace gguf_detail

// All keys and values of one file. Thread rule: immutable; any thread may read.
class GgufMetadata {
 public:
  // The value of `key`; none if it is absent.
  [[nodiscard]] std::optional<GgufValue> find(std::string_view key) const {
    const auto it = std::lower_bound(
        values_.begin(), values_.end(), key,
        [](const GgufValue& value, std::string_view text) { return value.key() < text; });
    if (it == values_.end() || it->key() != key) return std::nullopt;
    return *it;
  }
  [[nodiscard]] bool contains(std::string_view key) const { return find(key).has_value(); }
  // The value of `key`; kCorruptFile if it is absent.
  [[nodiscard]] Result<GgufValue> at(std::string_view key) const {
    if (auto value = find(key)) return *value;
    return corrupt_file(*file_ + ": " + printable(key) + ": missing");
  }
  // All of them, sorted by key.
  [[nodiscard]] std::span<const GgufValue> values() const noexcept { return values_; }
  // For messages.
  [[nodiscard]] const std::string& file() const noexcept { return *file_; }

  // Reads `count` pairs of key and value and checks all lengths. The reader's bytes and its file
  // name must outlive the result. kCorruptFile; kUnsupported for arrays of arrays, which no known
  // key has.
  static Result<GgufMetadata> read(gguf_detail::Reader& reader, size_t count) {
    GgufMetadata metadata(reader.file());
    for (size_t i = 0; i < count; ++i) {
      PENSEE_ASSIGN_OR_RETURN(const std::string_view key,
                              reader.string("key " + std::to_string(i)));
      if (key.empty()) {
        return corrupt_file(reader.file() + ": key " + std::to_string(i) +
                            ": expected a name, found an empty one");
      }
      PENSEE_ASSIGN_OR_RETURN(GgufValue value, read_value(reader, key));
      metadata.values_.push_back(value);
    }
    auto& values = metadata.values_;
    std::sort(values.begin(), values.end(),
              [](const GgufValue& a, const GgufValue& b) { return a.key() < b.key(); });
    const auto twin = std::adjacent_find(
        values.begin(), values.end(),
        [](const GgufValue& a, const GgufValue& b) { return a.key() == b.key(); });
    if (twin != values.end()) return corrupt_file(twin->where() + ": written twice");
    return metadata;
  }

 private:
  explicit GgufMetadata(const std::string& file) : file_(&file) {}

  static Result<GgufType> read_type(gguf_detail::Reader& reader, const GgufValue& value) {
    const std::string what = printable(value.key());
    PENSEE_ASSIGN_OR_RETURN(const uint32_t number, reader.number<uint32_t>(what));
    if (number < std::size(gguf_detail::kTypes)) return static_cast<GgufType>(number);
    return corrupt_file(value.where() + ": expected a value type below " +
                        std::to_string(std::size(gguf_detail::kTypes)) + ", found " +
                        std::to_string(number));
  }

  static Result<GgufValue> read_value(gguf_detail::Reader& reader, std::string_view key) {
    GgufValue value(reader.file(), key);
    const std::string what = printable(key);
    PENSEE_ASSIGN_OR_RETURN(value.type_, read_type(reader, value));
    if (value.type_ == GgufType::kArray) {
      value.is_array_ = true;
      PENSEE_ASSIGN_OR_RETURN(value.type_, read_type(reader, value));
      if (value.type_ == GgufType::kArray) {
        return unsupported(value.where() +
                           ": expected numbers or strings, found arrays in an array");
      }
      const size_t bytes = gguf_detail::row_of(value.type_).bytes;
      PENSEE_ASSIGN_OR_RETURN(value.size_,
                              reader.count(bytes != 0 ? bytes : sizeof(uint64_t), what));
    }
    const size_t begin = reader.position();
    PENSEE_ASSIGN_OR_RETURN(const std::byte* at, reader.take(0, what));
    if (value.type_ == GgufType::kString) {
      for (size_t i = 0; i < value.size_; ++i) {
        PENSEE_RETURN_IF_ERROR(reader.string(what));
      }
    } else {
      PENSEE_RETURN_IF_ERROR(
          reader.take(value.size_ * gguf_detail::row_of(value.type_).bytes, what));
    }
    value.bytes_ = {at, reader.position() - begin};
    if (value.type_ == GgufType::kBool) {
      for (const std::byte byte : value.bytes_) {
        if (static_cast<unsigned>(byte) <= 1) continue;
        return corrupt_file(value.where() + ": expected a bool of 0 or 1, found " +
                            std::to_string(static_cast<unsigned>(byte)));
      }
    }
    return value;
  }

  const std::string* file_;
  std::vector<GgufValue> values_;
};

}  // namespace pensee
