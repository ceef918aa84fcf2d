// Grammar: a context-free grammar over bytes, and what text follows it so far. For answers that
// have to keep to a form.
#pragma once

#include <algorithm>
#include <bitset>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace pensee {

// A grammar as a matcher reads it. The symbols of a rule's productions lie one after the other; an
// item of a production stands before one of them. Made by GrammarBuilder.
struct Grammar {
  using Bytes = std::bitset<256>;
  static constexpr int32_t kNone = -1;

  struct Symbol {
    // What comes next: one of some bytes (an index of `bytes`), or a rule, or nothing.
    int32_t byte_set = kNone;
    int32_t rule = kNone;
    int32_t next = kNone;  // the symbol after it; an earlier one where the production repeats
    int32_t ends = kNone;  // the rule that is complete where nothing more comes
  };
  struct Rule {
    std::vector<int32_t> productions;  // their first symbols
    bool is_nullable = false;          // it may be empty
  };

  std::vector<Bytes> bytes;
  std::vector<Symbol> symbols;
  std::vector<Rule> rules;
  int32_t start = 0;  // a rule
};

// Follows a text byte by byte, by Earley's algorithm ("An efficient context-free parsing
// algorithm", 1970), which takes any grammar, ambiguous and left-recursive ones too. For each byte
// it has a set of items: what may be under way there; a text that more than kMostItems would be for
// is not taken. Copies are independent. One thread at a time.
class GrammarMatcher {
 public:
  static constexpr size_t kMostItems = size_t{1} << 16;

  explicit GrammarMatcher(std::shared_ptr<const Grammar> grammar)
      : grammar_(std::move(grammar)), predicted_(grammar_->rules.size()) {
    reset();
  }

  // Back to the beginning.
  void reset() {
    items_.clear();
    sets_.clear();
    begin_set();
    predict(grammar_->start);
    close_set();
  }

  // Takes `text` if some text that begins with all taken so far and it is of the grammar; otherwise
  // nothing changes and the result is false.
  bool push(std::string_view text) {
    const size_t before = size();
    for (const char c : text) {
      if (!push_byte(static_cast<uint8_t>(c))) {
        pop_to(before);
        return false;
      }
    }
    return true;
  }
  // Whether push() would take it.
  [[nodiscard]] bool takes(std::string_view text) {
    const size_t before = size();
    const bool taken = push(text);
    pop_to(before);
    return taken;
  }

  // How many bytes have been taken.
  [[nodiscard]] size_t size() const noexcept { return sets_.size() - 1; }
  // Takes back all but the first `size` of them. Precondition: there are so many.
  void pop_to(size_t size) {
    if (this->size() == size) return;
    items_.resize(sets_[size + 1].first);
    sets_.resize(size + 1);
  }

  // The bytes that may come next.
  [[nodiscard]] Grammar::Bytes next_bytes() const {
    Grammar::Bytes found;
    for (const Item& item : newest_set()) {
      const Grammar::Symbol& symbol = symbol_of(item);
      if (symbol.byte_set != Grammar::kNone) found |= grammar_->bytes[index(symbol.byte_set)];
    }
    return found;
  }
  // Whether the text taken is of the grammar.
  [[nodiscard]] bool is_complete() const { return sets_.back().is_complete; }

 private:
  // A production under way, begun where set `origin` was the newest; `at` is the symbol it awaits.
  struct Item {
    int32_t at;
    uint32_t origin;
    bool operator==(const Item&) const = default;
  };

  struct Set {
    size_t first;      // of its items
    bool is_complete;  // the text up to it is of the grammar
  };
  static constexpr size_t kFewItems = 32;  // so many are searched one by one, unsorted

  [[nodiscard]] static size_t index(int32_t i) noexcept {
    assert(i >= 0);
    return static_cast<size_t>(i);
  }
  [[nodiscard]] const Grammar::Symbol& symbol_of(const Item& item) const {
    return grammar_->symbols[index(item.at)];
  }
  [[nodiscard]] int32_t rule_of(const Item& item) const { return symbol_of(item).rule; }
  [[nodiscard]] uint32_t newest() const noexcept { return static_cast<uint32_t>(sets_.size() - 1); }
  [[nodiscard]] std::pair<size_t, size_t> bounds(uint32_t set) const {
    return {sets_[set].first, set == newest() ? items_.size() : sets_[set + 1].first};
  }
  [[nodiscard]] std::span<const Item> newest_set() const {
    return std::span(items_).subspan(sets_.back().first);
  }

  void begin_set() {
    sets_.push_back({items_.size(), false});
    ++begun_;
    if (!many_.empty()) many_.clear();
    looked_at_ = items_.size();
  }

  bool push_byte(uint8_t byte) {
    const auto [first, last] = bounds(newest());
    begin_set();
    for (size_t i = first; i < last; ++i) {
      const Item item = items_[i];
      const Grammar::Symbol& symbol = symbol_of(item);
      if (symbol.byte_set == Grammar::kNone) continue;
      if (grammar_->bytes[index(symbol.byte_set)].test(byte)) add({symbol.next, item.origin});
    }
    close_set();
    return items_.size() > sets_.back().first || sets_.back().is_complete;
  }

  // Adds an item to the newest set, once.
  void add(const Item& item) {
    const size_t first = sets_.back().first;
    if (items_.size() - first < kFewItems) {
      const auto begin = items_.begin() + static_cast<ptrdiff_t>(first);
      if (std::find(begin, items_.end(), item) != items_.end()) return;
    } else {
      for (; looked_at_ < items_.size(); ++looked_at_) many_.insert(key_of(items_[looked_at_]));
      if (many_.contains(key_of(item))) return;
    }
    items_.push_back(item);
  }
  [[nodiscard]] static uint64_t key_of(const Item& item) noexcept {
    return uint64_t{item.origin} << 32 | static_cast<uint32_t>(item.at);
  }

  // Adds the beginnings of a rule's productions to the newest set.
  void predict(int32_t rule) {
    uint64_t& predicted = predicted_[index(rule)];
    if (predicted == begun_) return;
    predicted = begun_;
    for (const int32_t production : grammar_->rules[index(rule)].productions) {
      items_.push_back({production, newest()});
    }
  }

  // Adds to the newest set what follows from its items. Rules that may be empty are passed over as
  // they are predicted (Aycock and Horspool, "Practical Earley parsing", 2002). What awaits nothing
  // more has done its part then.
  void close_set() {
    Set& set = sets_.back();
    bool is_complete = false;
    for (size_t i = set.first; i < items_.size(); ++i) {
      if (items_.size() - set.first > kMostItems) return items_.resize(set.first);
      const Item item = items_[i];
      const Grammar::Symbol& symbol = symbol_of(item);
      if (symbol.rule != Grammar::kNone) {
        predict(symbol.rule);
        if (grammar_->rules[index(symbol.rule)].is_nullable) add({symbol.next, item.origin});
      }
      if (symbol.ends == Grammar::kNone) continue;
      is_complete = is_complete || (symbol.ends == grammar_->start && item.origin == 0);
      if (item.origin != newest()) complete(symbol.ends, item.origin);
    }
    set.is_complete = is_complete;
    const auto is_done = [&](const Item& item) {
      const Grammar::Symbol& symbol = symbol_of(item);
      return symbol.rule == Grammar::kNone && symbol.byte_set == Grammar::kNone;
    };
    const auto first = items_.begin() + static_cast<ptrdiff_t>(set.first);
    items_.erase(std::remove_if(first, items_.end(), is_done), items_.end());
    if (items_.size() - set.first <= kFewItems) return;
    std::sort(first, items_.end(),
              [&](const Item& a, const Item& b) { return rule_of(a) < rule_of(b); });
  }

  // A rule that began at set `origin` is complete: goes on with what awaited it there.
  void complete(int32_t rule, uint32_t origin) {
    auto [first, last] = bounds(origin);
    const bool is_sorted = last - first > kFewItems;
    if (is_sorted) {
      const auto begin = items_.begin();
      const auto found = std::lower_bound(
          begin + static_cast<ptrdiff_t>(first), begin + static_cast<ptrdiff_t>(last), rule,
          [&](const Item& item, int32_t wanted) { return rule_of(item) < wanted; });
      first = static_cast<size_t>(found - begin);
    }
    for (size_t i = first; i < last; ++i) {
      const Item item = items_[i];
      if (rule_of(item) == rule) {
        add({symbol_of(item).next, item.origin});
      } else if (is_sorted && rule_of(item) > rule) {
        return;
      }
    }
  }

  std::shared_ptr<const Grammar> grammar_;
  std::vector<Item> items_;  // of all sets, one after the other
  std::vector<Set> sets_;
  std::unordered_set<uint64_t> many_;  // keys of the newest set's items, where they are not few
  size_t looked_at_ = 0;               // its items up to this one are in it
  uint64_t begun_ = 0;                 // sets so far, those of texts that were not taken too
  std::vector<uint64_t> predicted_;  // of each rule, the value of begun_ when it was predicted last
};

}  // namespace pensee
