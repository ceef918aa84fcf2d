// Models in several GGUF files: how their parts are named and numbered.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "pensee/base/result.hpp"
#include "pensee/io/gguf.hpp"

namespace pensee {

inline constexpr std::string_view kGgufSuffix = ".gguf";
inline constexpr int64_t kMaxGgufParts = std::numeric_limits<uint16_t>::max();

// Keys of a part's metadata.
inline constexpr const char* kGgufSplitNumber = "split.no";  // from 0 on
inline constexpr const char* kGgufSplitCount = "split.count";
inline constexpr const char* kGgufSplitTensors = "split.tensors.count";  // of all parts together

// What a part's file name says: PREFIX-00002-of-00005.gguf.
struct GgufPartName {
  std::string prefix;
  int64_t number = 1;  // from 1 on
  int64_t count = 1;

  [[nodiscard]] std::string text() const {
    char numbers[48];
    std::snprintf(numbers, sizeof numbers, "-%05lld-of-%05lld", static_cast<long long>(number),
                  static_cast<long long>(count));
    return prefix + numbers + std::string(kGgufSuffix);
  }
  [[nodiscard]] GgufPartName with_number(int64_t other) const { return {prefix, other, count}; }
};

// None for a name of another form.
[[nodiscard]] inline std::optional<GgufPartName> parse_gguf_part_name(std::string_view name) {
  constexpr std::string_view kForm = "-00000-of-00000.gguf";
  if (name.size() < kForm.size()) return std::nullopt;
  const std::string_view tail = name.substr(name.size() - kForm.size());
  for (size_t i = 0; i < kForm.size(); ++i) {
    const bool is_digit = tail[i] >= '0' && tail[i] <= '9';
    if (kForm[i] == '0' ? !is_digit : tail[i] != kForm[i]) return std::nullopt;
  }
  GgufPartName part{std::string(name.substr(0, name.size() - kForm.size())), 0, 0};
  for (size_t i = 1; i <= 5; ++i) part.number = part.number * 10 + (tail[i] - '0');
  for (size_t i = 10; i <= 14; ++i) part.count = part.count * 10 + (tail[i] - '0');
  if (part.number < 1 || part.number > part.count || part.count > kMaxGgufParts)
    return std::nullopt;
  return part;
}

// How many parts the model of `file` has: 1 if its metadata does not tell, or tells of 0, as files
// do whose parts were merged.
[[nodiscard]] inline Result<int64_t> gguf_part_count(const GgufFile& file) {
  const auto value = file.metadata().find(kGgufSplitCount);
  if (!value) return int64_t{1};
  PENSEE_ASSIGN_OR_RETURN(const int64_t count, value->as_int(0, kMaxGgufParts));
  return std::max<int64_t>(count, 1);
}

// Checks that `file` is what its name says.
[[nodiscard]] inline Result<void> check_gguf_part(const GgufFile& file, const GgufPartName& name) {
  PENSEE_ASSIGN_OR_RETURN(const int64_t count, gguf_part_count(file));
  int64_t number = 1;
  if (count > 1) {
    PENSEE_ASSIGN_OR_RETURN(const GgufValue value, file.metadata().at(kGgufSplitNumber));
    PENSEE_ASSIGN_OR_RETURN(number, value.as_int(0, count - 1));
    ++number;
  }
  if (count == name.count && number == name.number) return {};
  return corrupt_file(file.path() + ": expected part " + std::to_string(name.number) + " of " +
                      std::to_string(name.count) + ", as its name says, found part " +
                      std::to_string(number) + " of " + std::to_string(count));
}

}  // namespace pensee
