// GrammarBuilder: puts grammars together.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pensee/decode/grammar.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

// Puts a Grammar together, rule by rule.
class GrammarBuilder {
 public:
  // Something that stands in a sequence: one of some bytes, or a rule.
  struct Element {
    int32_t byte_set = Grammar::kNone;
    int32_t rule = Grammar::kNone;
  };
  using Sequence = std::vector<Element>;
  using Range = std::pair<char32_t, char32_t>;  // both included
  static constexpr size_t kMostSymbols = size_t{1} << 20;
  static constexpr char32_t kLastChar = 0x10ffff;

  int32_t add_rule() {
    grammar_.rules.emplace_back();
    return static_cast<int32_t>(grammar_.rules.size() - 1);
  }
  void add_production(int32_t rule, const Sequence& sequence) {
    begin_production(rule);
    for (const Element& e : sequence) add_symbol(e, 1, Grammar::kNone);
    add_symbol({}, 0, rule);
  }

  // `least` to `most` times the element; kForever: without end.
  static constexpr int64_t kForever = std::numeric_limits<int64_t>::max();
  Element repeat(Element e, int64_t least, int64_t most) {
    const int32_t rule = add_rule();
    begin_production(rule);
    for (int64_t i = 0; i < least; ++i) add_symbol(e, 1, Grammar::kNone);
    if (most == kForever) {
      add_symbol(e, 0, rule);
    } else {
      for (int64_t i = least; i < most; ++i) add_symbol(e, 1, rule);
      add_symbol({}, 0, rule);
    }
    return {.rule = rule};
  }

  // One of the characters in (or not in) some ranges; neither bytes nor a rule if there is none.
  Element characters(std::vector<Range> ranges, bool inverted) {
    ranges = inverted ? complement(std::move(ranges)) : std::move(ranges);
    Grammar::Bytes single;
    std::vector<std::vector<std::pair<uint8_t, uint8_t>>> longer;
    for (const Range& range : ranges) split(range.first, range.second, single, longer);
    if (longer.empty()) return single.any() ? byte_set(single) : Element{};
    const int32_t rule = add_rule();
    if (single.any()) add_production(rule, {byte_set(single)});
    for (const auto& bytes : longer) {
      Sequence sequence;
      for (const auto& [first, last] : bytes) sequence.push_back(byte_set(bytes_of(first, last)));
      add_production(rule, sequence);
    }
    return {.rule = rule};
  }
  void append_text(std::string_view text, Sequence& sequence) {
    for (const char c : text) {
      const auto byte = static_cast<uint8_t>(c);
      sequence.push_back(byte_set(bytes_of(byte, byte)));
    }
  }

  [[nodiscard]] bool is_too_large() const noexcept {
    return grammar_.symbols.size() > kMostSymbols;
  }

  // The grammar that begins with `start`. kNone, or a rule that is no text at all, however long.
  // Precondition: !is_too_large().
  int32_t finish(int32_t start) {
    grammar_.start = start;
    const std::vector<bool> nullable = closure([](const auto& symbol, const auto& found) {
      return symbol.rule != Grammar::kNone && found[static_cast<size_t>(symbol.rule)];
    });
    for (size_t r = 0; r < nullable.size(); ++r) grammar_.rules[r].is_nullable = nullable[r];
    const std::vector<bool> has_text = closure([](const auto& symbol, const auto& found) {
      return symbol.rule == Grammar::kNone || found[static_cast<size_t>(symbol.rule)];
    });
    const auto empty = std::find(has_text.begin(), has_text.end(), false);
    return empty == has_text.end() ? Grammar::kNone
                                   : static_cast<int32_t>(empty - has_text.begin());
  }
  [[nodiscard]] std::shared_ptr<const Grammar> take() {
    return std::make_shared<const Grammar>(std::move(grammar_));
  }

 private:
  void begin_production(int32_t rule) {
    grammar_.rules[static_cast<size_t>(rule)].productions.push_back(
        static_cast<int32_t>(grammar_.symbols.size()));
  }
  // `step` to the symbol that follows.
  void add_symbol(const Element& e, int32_t step, int32_t ends) {
    if (is_too_large()) return;
    const auto at = static_cast<int32_t>(grammar_.symbols.size());
    grammar_.symbols.push_back({e.byte_set, e.rule, at + step, ends});
  }

  // The rules that have a production all of whose symbols `passes` lets by, given those found.
  template <class Passes>
  std::vector<bool> closure(Passes&& passes) const {
    const size_t n = grammar_.rules.size();
    std::vector<std::vector<size_t>> users(n);  // of each rule, the rules that name it
    std::vector<size_t> open(n);                // to be looked at
    for (size_t r = 0; r < n; ++r) {
      open[r] = r;
      for_each_symbol(grammar_.rules[r], [&](const Grammar::Symbol& symbol) {
        if (symbol.rule != Grammar::kNone) users[static_cast<size_t>(symbol.rule)].push_back(r);
        return true;
      });
    }
    std::vector<bool> found(n);
    while (!open.empty()) {
      const size_t r = open.back();
      open.pop_back();
      if (found[r]) continue;
      const bool is_one = for_each_symbol(
          grammar_.rules[r], [&](const Grammar::Symbol& symbol) { return passes(symbol, found); });
      if (!is_one) continue;
      found[r] = true;
      open.insert(open.end(), users[r].begin(), users[r].end());
    }
    return found;
  }
  // f(symbol) along each production, while it is true, to where the rule may end. Whether it came
  // to such an end.
  template <class F>
  bool for_each_symbol(const Grammar::Rule& rule, F&& f) const {
    bool has_end = false;
    for (const int32_t first : rule.productions) {
      for (int32_t at = first;;) {
        const Grammar::Symbol& symbol = grammar_.symbols[static_cast<size_t>(at)];
        if (symbol.ends != Grammar::kNone) has_end = true;
        const bool is_last = symbol.rule == Grammar::kNone && symbol.byte_set == Grammar::kNone;
        if (is_last || !f(symbol) || symbol.next == at) break;
        at = symbol.next;
      }
    }
    return has_end;
  }

  Element byte_set(const Grammar::Bytes& bytes) {
    const auto [found, is_new] =
        byte_sets_.emplace(bytes, static_cast<int32_t>(grammar_.bytes.size()));
    if (is_new) grammar_.bytes.push_back(bytes);
    return {.byte_set = found->second};
  }
  static Grammar::Bytes bytes_of(uint8_t first, uint8_t last) {
    Grammar::Bytes bytes;
    for (size_t b = first; b <= last; ++b) bytes.set(b);
    return bytes;
  }

  static std::vector<Range> complement(std::vector<Range> ranges) {
    std::sort(ranges.begin(), ranges.end());
    std::vector<Range> others;
    char32_t next = 0;
    for (const auto& [first, last] : ranges) {
      if (first > next) others.emplace_back(next, static_cast<char32_t>(first - 1));
      next = std::max<char32_t>(next, last + 1);
    }
    if (next <= kLastChar) others.emplace_back(next, kLastChar);
    return others;
  }

  // Characters [first, last] as the bytes of UTF-8: those of one byte, and sequences of which every
  // byte is any of a range. Surrogates are none.
  template <class Longer>
  static void split(char32_t first, char32_t last, Grammar::Bytes& single, Longer& longer) {
    constexpr char32_t kFirstSurrogate = 0xd800;
    constexpr char32_t kLastSurrogate = 0xdfff;
    constexpr std::array<char32_t, 4> kLastOfSize = {0x7f, 0x7ff, 0xffff, kLastChar};
    if (first > last) return;
    const auto cut = [&](char32_t after) {  // between `after` and what follows it
      split(first, after, single, longer);
      split(after + 1, last, single, longer);
    };
    if (first <= kLastSurrogate && last >= kFirstSurrogate) {
      if (first < kFirstSurrogate) split(first, kFirstSurrogate - 1, single, longer);
      if (last > kLastSurrogate) split(kLastSurrogate + 1, last, single, longer);
      return;
    }
    for (const char32_t end : kLastOfSize) {
      if (first <= end && last > end) return cut(end);
    }
    if (last <= kLastOfSize[0]) {
      single |= bytes_of(static_cast<uint8_t>(first), static_cast<uint8_t>(last));
      return;
    }
    for (int bits = 6; bits <= 18; bits += 6) {
      const char32_t mask = (char32_t{1} << bits) - 1;
      if ((first & ~mask) == (last & ~mask)) break;
      if ((first & mask) != 0) return cut(first | mask);
      if ((last & mask) != mask) return cut((last & ~mask) - 1);
    }
    std::string low;
    std::string high;
    append_utf8_character(first, low);
    append_utf8_character(last, high);
    auto& bytes = longer.emplace_back();
    for (size_t i = 0; i < low.size(); ++i) {
      bytes.emplace_back(static_cast<uint8_t>(low[i]), static_cast<uint8_t>(high[i]));
    }
  }

  struct HashBytes {
    size_t operator()(const Grammar::Bytes& bytes) const noexcept {
      return std::hash<Grammar::Bytes>()(bytes);
    }
  };
  Grammar grammar_;
  std::unordered_map<Grammar::Bytes, int32_t, HashBytes> byte_sets_;
};

}  // namespace pensee
