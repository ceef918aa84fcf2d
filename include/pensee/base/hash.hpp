// A 64-bit checksum: tells apart what differs by accident, not what was forged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace pensee {

// FNV-1a with 64 bits (Fowler, Noll, Vo 1991): for every byte, exclusive or, then multiply by
// a prime. Each step is reversible, so that two texts that differ in one byte never collide.
class Fnv1a64 {
 public:
  Fnv1a64& add(std::span<const std::byte> bytes) noexcept {
    for (const std::byte byte : bytes) {
      state_ = (state_ ^ static_cast<uint64_t>(byte)) * kPrime;
    }
    return *this;
  }
  Fnv1a64& add(std::string_view text) noexcept {
    return add(std::as_bytes(std::span(text.data(), text.size())));
  }
  // As 8 bytes, the lowest first.
  Fnv1a64& add(uint64_t number) noexcept {
    for (int shift = 0; shift < 64; shift += 8) {
      state_ = (state_ ^ ((number >> shift) & 0xff)) * kPrime;
    }
    return *this;
  }
  [[nodiscard]] uint64_t value() const noexcept { return state_; }

 private:
  static constexpr uint64_t kPrime = 0x100000001b3;
  uint64_t state_ = 0xcbf29ce484222325;
};

}  // namespace pensee
