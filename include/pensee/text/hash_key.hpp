// HashKey: hashes for tables of what files choose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace pensee {

// Files may be hostile: the hash has a key, an address of this process, so that nobody can choose
// texts or numbers beforehand that all meet in one place. No result depends on it.
class HashKey {
 public:
  HashKey() = default;  // none yet
  explicit HashKey(const void* address) noexcept
      : key_(reinterpret_cast<uintptr_t>(address) * kMultiplier | 1U) {}

  [[nodiscard]] bool has_value() const noexcept { return key_ != 0; }

  [[nodiscard]] uint64_t hash(uint64_t number) const noexcept {
    return mix(number ^ key_, key_ ^ kMultiplier);
  }
  [[nodiscard]] uint64_t hash(std::string_view text) const noexcept {
    uint64_t hash = key_ ^ text.size();
    while (!text.empty()) {
      uint64_t word = 0;
      const size_t n = text.size() < sizeof word ? text.size() : sizeof word;
      std::memcpy(&word, text.data(), n);
      hash = mix(hash ^ word, key_ ^ kMultiplier) + key_;
      text.remove_prefix(n);
    }
    return hash;
  }

 private:
  static constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15U;  // 2^64 / golden ratio

  // Both halves of a product of 128 bits.
  static uint64_t mix(uint64_t a, uint64_t b) noexcept {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64U);
  }

  uint64_t key_ = 0;
};

}  // namespace pensee
