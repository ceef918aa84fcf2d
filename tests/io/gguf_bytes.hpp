// Hand-made GGUF files for the tests: right ones, and wrong ones in any place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/io/gguf_value.hpp"

namespace pensee_test {

// The bytes of a number as they lie in a file.
template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::string raw_string(std::string_view text) {
  return raw(uint64_t{text.size()}) + std::string(text);
}

inline std::string raw_type(pensee::GgufType type) {
  return raw(static_cast<uint32_t>(type));
}

// One key with a value of `type`, whose bytes are given.
inline std::string key(std::string_view name, pensee::GgufType type, const std::string& value) {
  return raw_string(name) + raw_type(type) + value;
}

inline std::string key(std::string_view name, uint32_t value) {
  return key(name, pensee::GgufType::kU32, raw(value));
}

inline std::string key(std::string_view name, std::string_view value) {
  return key(name, pensee::GgufType::kString, raw_string(value));
}

// One key with an array, whose elements' bytes are given.
inline std::string array_key(std::string_view name, pensee::GgufType type, uint64_t count,
                             const std::string& elements) {
  return key(name, pensee::GgufType::kArray, raw_type(type) + raw(count) + elements);
}

// One tensor as the header has it; dimensions from the innermost out.
inline std::string tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                          uint64_t offset) {
  std::string out = raw_string(name) + raw(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) out += raw(dim);
  return out + raw(type) + raw(offset);
}

struct GgufParts {
  std::vector<std::string> keys;
  std::vector<std::string> tensors;
  size_t data_bytes = 0;  // of counting bytes
  size_t alignment = 32;
  uint32_t version = 3;
};

inline std::string gguf(const GgufParts& parts) {
  std::string out = "GGUF" + raw(parts.version) + raw(uint64_t{parts.tensors.size()}) +
                    raw(uint64_t{parts.keys.size()});
  for (const std::string& part : parts.keys) out += part;
  for (const std::string& part : parts.tensors) out += part;
  while (out.size() % parts.alignment != 0) out.push_back('\0');
  for (size_t i = 0; i < parts.data_bytes; ++i) out.push_back(static_cast<char>(i));
  return out;
}

}  // namespace pensee_test
