// Makes new inputs out of old ones.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pensee::fuzz {

using Bytes = std::vector<uint8_t>;

// Deterministic from its seed.
class Mutator {
 public:
  Mutator(uint64_t seed, std::span<const std::string_view> words, size_t most)
      : random_(seed), words_(words), most_(most) {}

  // A number from 0 to n - 1; 0 for n = 0.
  size_t below(size_t n) { return n == 0 ? 0 : static_cast<size_t>(random_() % n); }

  // `input` with a few changes, some of them pieces of `other`.
  Bytes mutated(Bytes input, const Bytes& other) {
    for (size_t n = 1 + below(4) * below(4); n > 0; --n) change(input, other);
    if (input.size() > most_) input.resize(most_);
    return input;
  }

 private:
  // Around the limits of the types that sizes, counts and offsets have.
  static constexpr std::array<uint64_t, 20> kNumbers = {0,
                                                        1,
                                                        2,
                                                        3,
                                                        7,
                                                        8,
                                                        63,
                                                        64,
                                                        255,
                                                        256,
                                                        65535,
                                                        65536,
                                                        uint64_t{1} << 24,
                                                        (uint64_t{1} << 31) - 1,
                                                        uint64_t{1} << 31,
                                                        (uint64_t{1} << 32) - 1,
                                                        uint64_t{1} << 32,
                                                        (uint64_t{1} << 63) - 1,
                                                        uint64_t{1} << 63,
                                                        ~uint64_t{0}};

  void change(Bytes& input, const Bytes& other) {
    switch (below(12)) {
      case 0:
        return flip(input);
      case 1:
        return set(input);
      case 2:
        return insert(input, random_bytes());
      case 3:
        return erase(input);
      case 4:
        return insert(input, piece_of(input));
      case 5:
        return insert(input, piece_of(other));
      case 6:
        return overwrite(input, piece_of(other));
      case 7:
        return input.resize(below(input.size() + 1));
      case 8:
        return splice(input, other);
      case 9:
        return insert(input, word());
      case 10:
        return overwrite(input, below(2) == 0 ? word() : binary_number());
      default:
        return replace_number(input);
    }
  }

  void flip(Bytes& input) {
    if (!input.empty()) input[below(input.size())] ^= static_cast<uint8_t>(1U << below(8));
  }
  void set(Bytes& input) {
    if (!input.empty()) input[below(input.size())] = static_cast<uint8_t>(below(256));
  }
  void insert(Bytes& input, const Bytes& piece) {
    const auto at = static_cast<ptrdiff_t>(below(input.size() + 1));
    input.insert(input.begin() + at, piece.begin(), piece.end());
  }
  void overwrite(Bytes& input, const Bytes& piece) {
    if (input.empty()) return;
    const size_t at = below(input.size());
    const size_t n = std::min(piece.size(), input.size() - at);
    std::copy_n(piece.begin(), n, input.begin() + static_cast<ptrdiff_t>(at));
  }
  void erase(Bytes& input) {
    const size_t at = below(input.size());
    const auto begin = input.begin() + static_cast<ptrdiff_t>(at);
    input.erase(begin, begin + static_cast<ptrdiff_t>(length_in(input.size() - at)));
  }
  // The beginning of the one and the end of the other.
  void splice(Bytes& input, const Bytes& other) {
    input.resize(below(input.size() + 1));
    const auto from = static_cast<ptrdiff_t>(below(other.size() + 1));
    input.insert(input.end(), other.begin() + from, other.end());
  }
  // Another number in place of one that is written in digits.
  void replace_number(Bytes& input) {
    const auto is_digit = [](uint8_t c) { return c >= '0' && c <= '9'; };
    const auto from = input.begin() + static_cast<ptrdiff_t>(below(input.size()));
    const auto begin = std::find_if(from, input.end(), is_digit);
    const auto end = std::find_if_not(begin, input.end(), is_digit);
    if (begin == end) return;
    std::string text = below(8) == 0 ? "-" : "";
    text += std::to_string(number());
    if (below(8) == 0) text += below(2) == 0 ? ".5" : "e9";
    const auto at = input.erase(begin, end);
    input.insert(at, text.begin(), text.end());
  }

  // Mostly short.
  size_t length_in(size_t most) { return std::min(most, 1 + below(below(4) == 0 ? most : 16)); }
  Bytes piece_of(const Bytes& input) {
    const size_t at = below(input.size());
    const auto begin = input.begin() + static_cast<ptrdiff_t>(at);
    return {begin, begin + static_cast<ptrdiff_t>(length_in(input.size() - at))};
  }
  Bytes random_bytes() {
    Bytes bytes(1 + below(16));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(below(256));
    return bytes;
  }
  Bytes word() {
    if (words_.empty()) return random_bytes();
    const std::string_view text = words_[below(words_.size())];
    return {text.begin(), text.end()};
  }
  uint64_t number() { return kNumbers[below(kNumbers.size())] + below(3) - below(2); }
  // Little-endian, of 1, 2, 4 or 8 bytes.
  Bytes binary_number() {
    Bytes bytes(size_t{1} << below(4));
    const uint64_t value = number();
    std::memcpy(bytes.data(), &value, bytes.size());
    return bytes;
  }
  static_assert(std::endian::native == std::endian::little);

  std::mt19937_64 random_;
  std::span<const std::string_view> words_;
  size_t most_;
};

}  // namespace pensee::fuzz
