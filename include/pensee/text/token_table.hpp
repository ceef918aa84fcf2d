// TokenTable: the ids of a vocabulary's texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "pensee/text/hash_key.hpp"

namespace pensee {

// A hash table with open addressing, at most half full: a vocabulary has some hundred thousand
// tokens, and a node for each takes most of the time of loading one. The texts belong to others,
// and must stay where they are.
class TokenTable {
 public:
  // Makes room for n texts.
  void reserve(size_t n) {
    size_t slots = kLeastSlots;
    while (slots < 2 * n) slots *= 2;
    if (slots <= slots_.size()) return;
    std::vector<Slot> old(slots);
    old.swap(slots_);
    if (!key_.has_value()) key_ = HashKey(slots_.data());
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

  struct Slot {
    const char* data = nullptr;
    uint32_t size = 0;
    int32_t id = kFree;
    [[nodiscard]] std::string_view text() const noexcept { return {data, size}; }
  };

  // Where the text is, or the free slot where it would go. Precondition: there are slots.
  [[nodiscard]] size_t place_of(std::string_view text) const {
    const size_t mask = slots_.size() - 1;
    size_t i = static_cast<size_t>(key_.hash(text)) & mask;
    while (slots_[i].id != kFree && slots_[i].text() != text) i = (i + 1) & mask;
    return i;
  }

  std::vector<Slot> slots_;
  size_t size_ = 0;
  HashKey key_;
};

}  // namespace pensee
