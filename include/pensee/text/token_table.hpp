// TokenTable: the ids of a vocabulary's texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

namespace pensee {

// A hash table with open addressing, at most half full: a vocabulary has some hundred thousand
// tokens, and a node for each takes most of the time of loading one. The texts belong to others,
// and must stay where they are.
//
// Files may be hostile: the hash has a key, an address of this process, so that nobody can choose
// texts beforehand that all meet in one place. No result depends on it.
class TokenTable {
 public:
  // Makes room for n texts.
  void reserve(size_t n) {
    size_t slots = kLeastSlots;
    while (slots < 2 * n) slots *= 2;
    if (slots <= slots_.size()) return;
    std::vector<Slot> old(slots);
    old.swap(slots_);
    if (key_ == 0) key_ = reinterpret_cast<uintptr_t>(slots_.data()) * kMultiplier | 1U;
    for (const Slot& slot : old) {
      if (slot.id != kFree) slots_[place_of(slot.text())] = slot;
    }
  }

  // Gives `text` this id unless it has one. Returns the id that it has. Precondition: id >= 0.
  int32_t insert(std::string_view text, int32_t id) {
    reserve(size_ + 1);
    Slot& slot = slots_[place_of(text)];
    if (slot.id != kFree) return slot.id;
    slot = {text.data(), static_cast<uint32_t>(text.size()), id};
    ++size_;
    return id;
  }

  [[nodiscard]] std::optional<int32_t> find(std::string_view text) const {
    if (slots_.empty()) return std::nullopt;
    const int32_t id = slots_[place_of(text)].id;
    if (id == kFree) return std::nullopt;
    return id;
  }
  [[nodiscard]] bool contains(std::string_view text) const { return find(text).has_value(); }
  [[nodiscard]] size_t size() const noexcept { return size_; }

 private:
  static constexpr size_t kLeastSlots = 16;
  static constexpr int32_t kFree = -1;
  static constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15U;  // 2^64 / golden ratio

  struct Slot {
    const char* data = nullptr;
    uint32_t size = 0;
    int32_t id = kFree;
    [[nodiscard]] std::string_view text() const noexcept { return {data, size}; }
  };

  // Both halves of a product of 128 bits.
  static uint64_t mix(uint64_t a, uint64_t b) noexcept {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64U);
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

  // Where the text is, or the free slot where it would go. Precondition: there are slots.
  [[nodiscard]] size_t place_of(std::string_view text) const {
    const size_t mask = slots_.size() - 1;
    size_t i = static_cast<size_t>(hash(text)) & mask;
    while (slots_[i].id != kFree && slots_[i].text() != text) i = (i + 1) & mask;
    return i;
  }

  std::vector<Slot> slots_;
  size_t size_ = 0;
  uint64_t key_ = 0;  // 0: none yet
};

}  // namespace pensee
