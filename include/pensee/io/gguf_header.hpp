// What stands before the data of a GGUF file to be written: keys, and what tensors will follow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/io/gguf.hpp"
#include "pensee/io/gguf_value.hpp"

namespace pensee {

// Writes version 3. Keys and tensors keep the order in which they were added.
class GgufHeader {
 public:
  // A tensor to come. Shapes are row-major, as everywhere here.
  struct Tensor {
    std::string name;
    DType dtype = DType::kF32;
    Shape shape;
    uint64_t offset = 0;  // from the start of the data
    uint64_t bytes = 0;
  };

  // One value; a key that is there already gets the new one.
  template <class T>
  requires std::is_arithmetic_v<T>
  void set(std::string_view key, T value) { put(key, raw(type_of<T>()) + raw(value)); }
  void set(std::string_view key, std::string_view text) {
    put(key, raw(GgufType::kString) + raw_string(text));
  }
  void set(std::string_view key, const char* text) { set(key, std::string_view(text)); }
  // An array of numbers.
  template <class T>
  requires std::is_arithmetic_v<T>
  void set(std::string_view key, std::span<const T> values) {
    std::string bytes = array(type_of<T>(), values.size());
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
    put(key, std::move(bytes));
  }
  // An array of texts. Text: anything that a std::string_view is made of.
  template <class Text>
  void set_strings(std::string_view key, std::span<const Text> texts) {
    std::string bytes = array(GgufType::kString, texts.size());
    for (const Text& text : texts) bytes += raw_string(text);
    put(key, std::move(bytes));
  }
  // A value of another file, as it is there.
  void set(const GgufValue& value) {
    std::string bytes = value.is_array() ? array(value.type(), value.size()) : raw(value.type());
    const std::span<const std::byte> from = value.bytes();
    bytes.append(reinterpret_cast<const char*>(from.data()), from.size());
    put(value.key(), std::move(bytes));
  }

  // The next tensor. kInvalidArgument for a type that GGUF has not, a row that its blocks do not
  // divide, or a name that is there already or empty; kUnsupported if it is too large.
  Result<void> add_tensor(std::string name, DType dtype, const Shape& shape) {
    const std::string where = "tensor " + printable(name) + ": ";
    if (!gguf_from_dtype(dtype)) {
      return invalid_argument(where + "expected a type that GGUF files can hold, found " +
                              std::string(dtype_name(dtype)));
    }
    if (name.empty() || names_.contains(name)) {
      return invalid_argument(where + "expected a new name");
    }
    const int64_t row = shape.rank > 0 ? shape[shape.rank - 1] : 1;
    if (row % dtype_block_elements(dtype) != 0) {
      return invalid_argument(where + "expected rows of a multiple of " +
                              std::to_string(dtype_block_elements(dtype)) + " numbers for " +
                              std::string(dtype_name(dtype)) + ", found " + shape.to_string());
    }
    auto bytes = static_cast<uint64_t>(dtype_row_bytes(dtype, row));
    bool is_too_large = false;
    for (int d = 0; d + 1 < shape.rank; ++d) {
      is_too_large =
          is_too_large || __builtin_mul_overflow(bytes, static_cast<uint64_t>(shape[d]), &bytes);
    }
    if (is_too_large || bytes > kMostBytes || data_bytes() > kMostBytes) {
      return unsupported(where + "too large: " + shape.to_string());
    }
    names_.insert(name);
    tensors_.push_back({std::move(name), dtype, shape, data_bytes(), bytes});
    return {};
  }

  [[nodiscard]] std::span<const Tensor> tensors() const noexcept { return tensors_; }
  // Bytes of the data of all tensors, each with its padding.
  [[nodiscard]] uint64_t data_bytes() const noexcept {
    return tensors_.empty() ? 0 : padded(tensors_.back().offset + tensors_.back().bytes);
  }
  // `bytes` up to the next multiple of the alignment.
  [[nodiscard]] static uint64_t padded(uint64_t bytes) noexcept {
    constexpr uint64_t kAlignment = GgufFile::kDefaultAlignment;
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  // All that stands before the data, with the padding.
  [[nodiscard]] std::string encode() const {
    std::string out(GgufFile::kMagic);
    out += raw(GgufFile::kNewestVersion) + raw(uint64_t{tensors_.size()}) +
           raw(uint64_t{keys_.size()});
    for (const auto& [key, value] : keys_) out += raw_string(key) + value;
    for (const Tensor& tensor : tensors_) {
      out += raw_string(tensor.name) + raw(static_cast<uint32_t>(tensor.shape.rank));
      for (int d = tensor.shape.rank; d-- > 0;) out += raw(static_cast<uint64_t>(tensor.shape[d]));
      out += raw(*gguf_from_dtype(tensor.dtype)) + raw(tensor.offset);
    }
    out.resize(static_cast<size_t>(padded(out.size())), '\0');
    return out;
  }

 private:
  static constexpr uint64_t kMostBytes = std::numeric_limits<int64_t>::max() / 2;

  template <class T>
  static constexpr GgufType type_of() {
    if constexpr (std::is_same_v<T, bool>) return GgufType::kBool;
    if constexpr (std::is_same_v<T, float>) return GgufType::kF32;
    if constexpr (std::is_same_v<T, double>) return GgufType::kF64;
    if constexpr (std::is_integral_v<T>) {
      constexpr bool kSigned = std::is_signed_v<T>;
      if constexpr (sizeof(T) == 1) return kSigned ? GgufType::kI8 : GgufType::kU8;
      if constexpr (sizeof(T) == 2) return kSigned ? GgufType::kI16 : GgufType::kU16;
      if constexpr (sizeof(T) == 4) return kSigned ? GgufType::kI32 : GgufType::kU32;
      if constexpr (sizeof(T) == 8) return kSigned ? GgufType::kI64 : GgufType::kU64;
    }
  }
  template <class T>
  static std::string raw(T value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  }
  static std::string raw_string(std::string_view text) {
    return raw(uint64_t{text.size()}).append(text);
  }
  static std::string array(GgufType type, size_t count) {
    return raw(GgufType::kArray) + raw(type) + raw(uint64_t{count});
  }
  void put(std::string_view key, std::string value) {
    const auto [place, is_new] = places_.emplace(key, keys_.size());
    if (is_new) {
      keys_.emplace_back(key, std::move(value));
    } else {
      keys_[place->second].second = std::move(value);
    }
  }

  std::vector<std::pair<std::string, std::string>> keys_;  // value with its type, as in the file
  std::unordered_map<std::string, size_t> places_;         // of the keys in keys_
  std::vector<Tensor> tensors_;
  std::unordered_set<std::string> names_;  // of the tensors
};

}  // namespace pensee
