// Unicode's normalisation form C, equal to that of Hugging Face's tokenizers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/text/nfc_tables.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

// Composes text as section 3.11 of the Unicode standard says. Immutable; any thread. Moves and
// copies (some 150 KB).
class Nfc {
 public:
  Nfc() : may_change_(kEnd) {
    for (const NfcClass& range : kNfcClasses) mark(range.first, range.last);
    for (const NfcPair& pair : kNfcExcluded) mark(pair.composed, pair.composed);
    for (const NfcSingle& single : kNfcSingles) mark(single.composed, single.composed);
    mark(kHangulV, kHangulV + kHangulVCount - 1);
    mark(kHangulT + 1, kHangulT + kHangulTCount - 1);
    compositions_.reserve(kNfcPairs.size());
    for (const NfcPair& pair : kNfcPairs) {
      mark(pair.second, pair.second);
      compositions_.emplace_back(key(pair.first, pair.second), pair.composed);
    }
    std::sort(compositions_.begin(), compositions_.end());
  }

  // The text composed; none if that is the text itself, as nearly always. Precondition: text is
  // UTF-8.
  [[nodiscard]] std::optional<std::string> normalize(std::string_view text) const {
    std::optional<std::string> out;
    size_t done = 0;  // bytes of text that are in `out`
    size_t before = 0;
    for (size_t at = 0; at < text.size();) {
      const Utf8Char c = read_fast(text, at);
      if (!may_change_[c.code_point]) {
        before = at;
        at += c.length;
        continue;
      }
      // What changes reaches from the last character that stays to the next one that does.
      size_t end = at;
      while (end < text.size()) {
        const Utf8Char next = read_fast(text, end);
        if (!may_change_[next.code_point]) break;
        end += next.length;
      }
      if (!out) out.emplace();
      out->append(text.substr(done, before - done));
      append_composed(text.substr(before, end - before), *out);
      at = done = before = end;
    }
    if (out) out->append(text.substr(done));
    return out;
  }

 private:
  static constexpr size_t kEnd = 0x110000;
  // Hangul syllables are composed of letters L, V and perhaps T by rule; kHangulT + 0 is no letter.
  static constexpr char32_t kHangulS = 0xAC00;
  static constexpr char32_t kHangulL = 0x1100;
  static constexpr char32_t kHangulV = 0x1161;
  static constexpr char32_t kHangulT = 0x11A7;
  static constexpr char32_t kHangulLCount = 19;
  static constexpr char32_t kHangulVCount = 21;
  static constexpr char32_t kHangulTCount = 28;
  static constexpr char32_t kHangulSCount = kHangulLCount * kHangulVCount * kHangulTCount;

  struct Letter {
    char32_t code;
    uint8_t ccc;
  };

  static uint64_t key(char32_t first, char32_t second) { return uint64_t{first} << 32 | second; }
  static Utf8Char read_fast(std::string_view text, size_t at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) return {Utf8Char::State::kValid, 1, byte};
    return read_utf8(text.substr(at));
  }
  void mark(char32_t first, char32_t last) {
    for (char32_t code = first; code <= last; ++code) may_change_[code] = true;
  }
  // The row of a table sorted by code point; null if there is none.
  template <class Table>
  static const typename Table::value_type* find_row(const Table& table, char32_t composed) {
    const auto row =
        std::lower_bound(table.begin(), table.end(), composed,
                         [](const auto& r, char32_t code) { return r.composed < code; });
    return row != table.end() && row->composed == composed ? &*row : nullptr;
  }
  static uint8_t class_of(char32_t code) {
    const auto range =
        std::lower_bound(kNfcClasses.begin(), kNfcClasses.end(), code,
                         [](const NfcClass& r, char32_t wanted) { return r.last < wanted; });
    return range != kNfcClasses.end() && range->first <= code ? range->ccc : uint8_t{0};
  }

  static void decompose(char32_t code, std::vector<Letter>& out) {
    if (code >= kHangulS && code < kHangulS + kHangulSCount) {
      const char32_t i = code - kHangulS;
      out.push_back({kHangulL + i / (kHangulVCount * kHangulTCount), 0});
      out.push_back({kHangulV + i / kHangulTCount % kHangulVCount, 0});
      if (i % kHangulTCount != 0) out.push_back({kHangulT + i % kHangulTCount, 0});
    } else if (const NfcPair* pair = find_row(kNfcPairs, code)) {
      decompose(pair->first, out);
      decompose(pair->second, out);
    } else if (const NfcPair* excluded = find_row(kNfcExcluded, code)) {
      decompose(excluded->first, out);
      decompose(excluded->second, out);
    } else if (const NfcSingle* single = find_row(kNfcSingles, code)) {
      decompose(single->first, out);
    } else {
      out.push_back({code, class_of(code)});
    }
  }

  [[nodiscard]] std::optional<char32_t> compose(char32_t first, char32_t second) const {
    if (first >= kHangulL && first < kHangulL + kHangulLCount) {
      if (second < kHangulV || second >= kHangulV + kHangulVCount) return std::nullopt;
      return kHangulS + ((first - kHangulL) * kHangulVCount + second - kHangulV) * kHangulTCount;
    }
    if (first >= kHangulS && first < kHangulS + kHangulSCount) {
      const bool has_t = (first - kHangulS) % kHangulTCount != 0;
      if (has_t || second <= kHangulT || second >= kHangulT + kHangulTCount) return std::nullopt;
      return first + second - kHangulT;
    }
    const auto pair =
        std::lower_bound(compositions_.begin(), compositions_.end(), key(first, second),
                         [](const auto& entry, uint64_t wanted) { return entry.first < wanted; });
    if (pair == compositions_.end() || pair->first != key(first, second)) return std::nullopt;
    return pair->second;
  }

  void append_composed(std::string_view text, std::string& out) const {
    std::vector<Letter> letters;
    while (!text.empty()) {
      const Utf8Char c = read_utf8(text);
      decompose(c.code_point, letters);
      text.remove_prefix(c.length);
    }
    // Marks after each starter (class 0), by class; those of equal class keep their order.
    for (auto begin = letters.begin(); begin != letters.end();) {
      const auto is_starter = [](const Letter& letter) { return letter.ccc == 0; };
      begin = std::find_if_not(begin, letters.end(), is_starter);
      const auto end = std::find_if(begin, letters.end(), is_starter);
      std::stable_sort(begin, end, [](const Letter& a, const Letter& b) { return a.ccc < b.ccc; });
      begin = end;
    }
    std::vector<Letter> composed;
    std::optional<size_t> starter;  // where the last one is in `composed`
    for (const Letter& letter : letters) {
      // A mark of the same or a higher class between the two keeps them apart.
      const bool reaches =
          starter && (composed.size() == *starter + 1 || composed.back().ccc < letter.ccc);
      if (const auto code =
              reaches ? compose(composed[*starter].code, letter.code) : std::nullopt) {
        composed[*starter].code = *code;
        continue;
      }
      if (letter.ccc == 0) starter = composed.size();
      composed.push_back(letter);
    }
    for (const Letter& letter : composed) append_utf8_character(letter.code, out);
  }

  std::vector<bool> may_change_;  // (0x110000): every text without these code points is composed
  std::vector<std::pair<uint64_t, char32_t>> compositions_;  // sorted
};

}  // namespace pensee
