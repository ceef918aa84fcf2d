// One value of a GGUF file's metadata, typed, read where it lies.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"

namespace pensee {

static_assert(std::endian::native == std::endian::little, "files are read as they lie in memory");

// X(enumerator, number in files, bytes a value, name for messages); 0 bytes: of varying length.
#define PENSEE_GGUF_TYPE_LIST(X) \
  X(kU8, 0, 1, "u8")             \
  X(kI8, 1, 1, "i8")             \
  X(kU16, 2, 2, "u16")           \
  X(kI16, 3, 2, "i16")           \
  X(kU32, 4, 4, "u32")           \
  X(kI32, 5, 4, "i32")           \
  X(kF32, 6, 4, "f32")           \
  X(kBool, 7, 1, "bool")         \
  X(kString, 8, 0, "string")     \
  X(kArray, 9, 0, "array")       \
  X(kU64, 10, 8, "u64")          \
  X(kI64, 11, 8, "i64")          \
  X(kF64, 12, 8, "f64")

enum class GgufType : uint32_t {
#define PENSEE_X(enumerator, number, bytes, name) enumerator = number,
  PENSEE_GGUF_TYPE_LIST(PENSEE_X)
#undef PENSEE_X
};

namespace gguf_detail {

struct TypeRow {
  size_t bytes;
  const char* name;
};
#define PENSEE_X(enumerator, number, bytes, name) {bytes, name},
inline constexpr TypeRow kTypes[] = {PENSEE_GGUF_TYPE_LIST(PENSEE_X)};
#undef PENSEE_X

[[nodiscard]] constexpr const TypeRow& row_of(GgufType type) noexcept {
  return kTypes[static_cast<size_t>(type)];
}

// A number of type T that lies at any alignment.
template <class T>
[[nodiscard]] T load(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace gguf_detail

// A borrowed value that knows where it came from. Every error of a call below is kCorruptFile and
// reads "model.gguf: llama.block_count: expected an integer from 1 to 1024, found \"x\"".
// Lives as long as the file's bytes and its name.
class GgufValue {
 public:
  [[nodiscard]] std::string_view key() const noexcept { return key_; }
  [[nodiscard]] bool is_array() const noexcept { return is_array_; }
  [[nodiscard]] bool is_string() const noexcept { return !is_array_ && type_ == GgufType::kString; }
  // Of the value, or of an array's elements.
  [[nodiscard]] GgufType type() const noexcept { return type_; }
  // Elements of an array; 1 for any other value.
  [[nodiscard]] size_t size() const noexcept { return size_; }
  // The value as it lies in the file: an array's elements one after the other, each string with
  // its length before it.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

  // A whole number of any integer type, in [least, most].
  [[nodiscard]] Result<int64_t> as_int(int64_t least = std::numeric_limits<int64_t>::min(),
                                       int64_t most = std::numeric_limits<int64_t>::max()) const {
    if (!is_array_) {
      const auto value = integer(bytes_.data());
      if (value && *value >= least && *value <= most) return *value;
    }
    return expected("an integer from " + std::to_string(least) + " to " + std::to_string(most));
  }
  // A finite number of any type, in [least, most].
  [[nodiscard]] Result<double> as_double(double least = std::numeric_limits<double>::lowest(),
                                         double most = std::numeric_limits<double>::max()) const {
    if (!is_array_) {
      const auto value = number(bytes_.data());
      if (value && *value >= least && *value <= most) return *value;
    }
    if (least == std::numeric_limits<double>::lowest()) return expected("a number");
    return expected("a number from " + number_text(least) + " to " + number_text(most));
  }
  [[nodiscard]] Result<bool> as_bool() const {
    if (is_array_ || type_ != GgufType::kBool) return expected("true or false");
    return bytes_[0] != std::byte{0};
  }
  // The text, which lies in the file.
  [[nodiscard]] Result<std::string_view> as_string() const {
    if (!is_string()) return expected("a string");
    return text_at(bytes_.data());
  }
  // The elements of an array; the texts lie in the file.
  [[nodiscard]] Result<std::vector<std::string_view>> as_strings() const {
    if (!is_array_ || type_ != GgufType::kString) return expected("an array of strings");
    std::vector<std::string_view> texts;
    texts.reserve(size_);
    for (const std::byte* at = bytes_.data(); texts.size() < size_;) {
      texts.push_back(text_at(at));
      at += sizeof(uint64_t) + texts.back().size();
    }
    return texts;
  }
  // The elements of an array of any integer type, each in [least, most].
  [[nodiscard]] Result<std::vector<int64_t>> as_ints(
      int64_t least = std::numeric_limits<int64_t>::min(),
      int64_t most = std::numeric_limits<int64_t>::max()) const {
    const std::string what =
        "an array of integers from " + std::to_string(least) + " to " + std::to_string(most);
    if (!is_array_ || !is_integer()) return expected(what);
    std::vector<int64_t> values(size_);
    for (size_t i = 0; i < size_; ++i) {
      const auto value = integer(bytes_.data() + i * gguf_detail::row_of(type_).bytes);
      if (!value || *value < least || *value > most) return expected(what, i, value);
      values[i] = *value;
    }
    return values;
  }
  // The elements of an array of any number type, which may be infinite or no numbers.
  [[nodiscard]] Result<std::vector<float>> as_floats() const {
    if (!is_array_ || !(is_integer() || is_float())) return expected("an array of numbers");
    std::vector<float> values(size_);
    for (size_t i = 0; i < size_; ++i) {
      values[i] = static_cast<float>(*number(bytes_.data() + i * gguf_detail::row_of(type_).bytes));
    }
    return values;
  }

  // "model.gguf: llama.block_count: expected `what`, found 3".
  [[nodiscard]] Error expected(std::string_view what) const {
    return corrupt_file(where() + ": expected " + std::string(what) + ", found " + found());
  }
  // The file and the key.
  [[nodiscard]] std::string where() const { return *file_ + ": " + printable(key_); }
  // The value, in a few words.
  [[nodiscard]] std::string found() const {
    if (is_array_) {
      return "an array of " + std::to_string(size_) + " " + gguf_detail::row_of(type_).name;
    }
    if (is_string()) return "\"" + printable(text_at(bytes_.data())) + "\"";
    if (type_ == GgufType::kBool) return bytes_[0] != std::byte{0} ? "true" : "false";
    if (type_ == GgufType::kU64) {
      return std::to_string(gguf_detail::load<uint64_t>(bytes_.data()));
    }
    const auto whole = integer(bytes_.data());
    return whole ? std::to_string(*whole) : number_text(*number(bytes_.data()));
  }

 private:
  friend class GgufMetadata;
  GgufValue(const std::string& file, std::string_view key) : file_(&file), key_(key) {}

  [[nodiscard]] bool is_float() const noexcept {
    return type_ == GgufType::kF32 || type_ == GgufType::kF64;
  }
  [[nodiscard]] bool is_integer() const noexcept {
    return !is_float() && type_ != GgufType::kBool && type_ != GgufType::kString;
  }
  // None if this is of no integer type, or beyond int64.
  [[nodiscard]] std::optional<int64_t> integer(const std::byte* at) const noexcept {
    using gguf_detail::load;
    switch (type_) {
      case GgufType::kU8:
        return load<uint8_t>(at);
      case GgufType::kI8:
        return load<int8_t>(at);
      case GgufType::kU16:
        return load<uint16_t>(at);
      case GgufType::kI16:
        return load<int16_t>(at);
      case GgufType::kU32:
        return load<uint32_t>(at);
      case GgufType::kI32:
        return load<int32_t>(at);
      case GgufType::kI64:
        return load<int64_t>(at);
      case GgufType::kU64: {
        const auto value = load<uint64_t>(at);
        if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return {};
        return static_cast<int64_t>(value);
      }
      default:
        return {};
    }
  }
  // None if this is of no number type.
  [[nodiscard]] std::optional<double> number(const std::byte* at) const noexcept {
    if (type_ == GgufType::kF32) return gguf_detail::load<float>(at);
    if (type_ == GgufType::kF64) return gguf_detail::load<double>(at);
    if (type_ == GgufType::kU64) return static_cast<double>(gguf_detail::load<uint64_t>(at));
    if (const auto whole = integer(at)) return static_cast<double>(*whole);
    return {};
  }
  // Of a string whose length was checked.
  static std::string_view text_at(const std::byte* at) noexcept {
    return {reinterpret_cast<const char*>(at + sizeof(uint64_t)),
            static_cast<size_t>(gguf_detail::load<uint64_t>(at))};
  }
  static std::string number_text(double value) { return Json(value).dump(); }
  [[nodiscard]] Error expected(std::string_view what, size_t i,
                               std::optional<int64_t> found) const {
    return corrupt_file(where() + "[" + std::to_string(i) + "]: expected " + std::string(what) +
                        ", found " + (found ? std::to_string(*found) : "a larger one"));
  }

  const std::string* file_;
  std::string_view key_;
  GgufType type_ = GgufType::kU8;
  bool is_array_ = false;
  size_t size_ = 1;
  std::span<const std::byte> bytes_;
};

}  // namespace pensee
