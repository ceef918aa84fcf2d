// Byte-pair encoding: merges the bytes of one piece of text into tokens.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/text/hash_key.hpp"
#include "pensee/text/token_table.hpp"

namespace pensee {

// One rule: tokens `left` and `right` side by side become `result`. Its rank is its place in the
// list; lower ranks merge first, and of equal ranks the leftmost.
struct Merge {
  int32_t left;
  int32_t right;
  int32_t result;
};

// Buffers of Bpe::encode, kept between pieces by one thread.
struct BpeScratch {
  struct Symbol {
    int32_t id;  // kGone once merged into the symbol before it
    int32_t previous;
    int32_t next;  // kNone at the ends
  };
  std::vector<Symbol> symbols;
  std::vector<uint64_t> queue;  // rank * 2^32 + position, least on top
};

// Immutable but for what it remembers; encode() may run on any thread with its own scratch.
class Bpe {
 public:
  // The vocabulary's token of each byte and the merges by rank. A pair listed twice keeps the last
  // rank, as Hugging Face's reader does. Precondition: all ids >= 0.
  Bpe(const std::array<int32_t, 256>& byte_ids, std::vector<Merge> merges)
      : byte_ids_(byte_ids), merges_(std::move(merges)) {
    size_t slots = 16;
    while (slots < 2 * merges_.size()) slots *= 2;
    slots_.resize(slots);
    hash_key_ = HashKey(slots_.data());
    for (size_t rank = 0; rank < merges_.size(); ++rank) {
      const uint64_t pair = key(merges_[rank].left, merges_[rank].right);
      slots_[slot_of(pair)] = {pair, static_cast<uint32_t>(rank)};
    }
  }

  // Lets encode() find whole pieces at once: those of `words` (bytes and id) whose merges end in
  // just that token; with ignore_merges all of them. The bytes must outlive this object.
  // Precondition: ids are below n_ids.
  void set_words(TokenTable words, size_t n_ids, bool ignore_merges) {
    words_ = std::move(words);
    ignore_merges_ = ignore_merges;
    is_reached_ = std::make_unique<std::atomic<bool>[]>(n_ids);
  }
  [[nodiscard]] const TokenTable& words() const noexcept { return words_; }

  // Appends the tokens of one piece. Cost n log n for n bytes. Precondition: n < 2^31.
  void encode(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& ids) const {
    if (piece.size() == 1) {
      ids.push_back(byte_ids_[static_cast<unsigned char>(piece[0])]);
      return;
    }
    const std::optional<int32_t> word = words_.find(piece);
    std::atomic<bool>* reached = word ? &is_reached_[static_cast<size_t>(*word)] : nullptr;
    if (word && (ignore_merges_ || reached->load(std::memory_order_relaxed))) {
      ids.push_back(*word);
      return;
    }
    const size_t before = ids.size();
    merge(piece, scratch, ids);
    if (word && ids.size() == before + 1 && ids[before] == *word) {
      reached->store(true, std::memory_order_relaxed);
    }
  }

 private:
  static constexpr int32_t kNone = -1;
  static constexpr int32_t kGone = -1;
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  struct Slot {
    uint64_t pair = kEmpty;
    uint32_t rank = 0;
  };

  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // Where the pair is, or the free slot where it would go: open addressing, at most half full.
  [[nodiscard]] size_t slot_of(uint64_t pair) const {
    const size_t mask = slots_.size() - 1;
    size_t slot = static_cast<size_t>(hash_key_.hash(pair)) & mask;
    while (slots_[slot].pair != pair && slots_[slot].pair != kEmpty) slot = (slot + 1) & mask;
    return slot;
  }

  // Queues the merge of the symbols at `position` and after it, if there is one.
  void consider(int32_t position, BpeScratch& scratch) const {
    if (position == kNone) return;
    const auto& left = scratch.symbols[static_cast<size_t>(position)];
    if (left.next == kNone) return;
    const uint64_t pair = key(left.id, scratch.symbols[static_cast<size_t>(left.next)].id);
    const Slot& slot = slots_[slot_of(pair)];
    if (slot.pair == kEmpty) return;
    scratch.queue.push_back(uint64_t{slot.rank} << 32 | static_cast<uint32_t>(position));
  }

  void merge(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& ids) const {
    assert(piece.size() <= INT32_MAX);
    auto& symbols = scratch.symbols;
    auto& queue = scratch.queue;
    const auto n = static_cast<int32_t>(piece.size());
    symbols.clear();
    queue.clear();
    for (int32_t i = 0; i < n; ++i) {
      const auto byte = static_cast<unsigned char>(piece[static_cast<size_t>(i)]);
      symbols.push_back({byte_ids_[byte], i - 1, i + 1 < n ? i + 1 : kNone});
    }
    for (int32_t i = 0; i < n; ++i) consider(i, scratch);
    std::make_heap(queue.begin(), queue.end(), std::greater<>{});
    while (!queue.empty()) {
      std::pop_heap(queue.begin(), queue.end(), std::greater<>{});
      const uint64_t top = queue.back();
      queue.pop_back();
      apply(merges_[static_cast<size_t>(top >> 32)], static_cast<int32_t>(top & 0xFFFFFFFFU),
            scratch);
    }
    for (const auto& symbol : symbols) {
      if (symbol.id != kGone) ids.push_back(symbol.id);
    }
  }

  // Merges at `position` unless an earlier merge changed one of the two symbols; queues what the
  // new symbol makes possible with its neighbours.
  void apply(const Merge& rule, int32_t position, BpeScratch& scratch) const {
    auto& symbols = scratch.symbols;
    auto& left = symbols[static_cast<size_t>(position)];
    if (left.id != rule.left || left.next == kNone) return;
    auto& right = symbols[static_cast<size_t>(left.next)];
    if (right.id != rule.right) return;
    left.id = rule.result;
    right.id = kGone;
    left.next = right.next;
    if (right.next != kNone) symbols[static_cast<size_t>(right.next)].previous = position;
    for (const int32_t first : {left.previous, position}) {
      const size_t queued = scratch.queue.size();
      consider(first, scratch);
      if (scratch.queue.size() > queued) {
        std::push_heap(scratch.queue.begin(), scratch.queue.end(), std::greater<>{});
      }
    }
  }

  std::array<int32_t, 256> byte_ids_;
  std::vector<Merge> merges_;  // (n_merges), by rank
  std::vector<Slot> slots_;    // pair -> rank
  HashKey hash_key_;           // of the pairs
  TokenTable words_;
  bool ignore_merges_ = false;
  // By id: words whose merges have been seen to end in them. Doing that for all of them would take
  // half the time of loading a vocabulary.
  std::unique_ptr<std::atomic<bool>[]> is_reached_;
};

}  // namespace pensee
