// Which type each tensor of a quantised file gets.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/dtype.hpp"
#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/io/quantize.hpp"
#include "pensee/text/regex.hpp"

namespace pensee {

// X(type, number of files that are mostly of it, llama.cpp's general.file_type, type for rows that
// its blocks do not divide). The number and the last column are as llama.cpp has them.
#define PENSEE_FILE_TYPES(X) \
  X(kF32, 0, kF32)           \
  X(kF16, 1, kF16)           \
  X(kBF16, 32, kBF16)        \
  X(kQ8_0, 7, kF16)          \
  X(kQ4_0, 2, kF16)          \
  X(kQ4_1, 3, kF16)          \
  X(kQ5_0, 8, kF16)          \
  X(kQ5_1, 9, kF16)          \
  X(kQ2_K, 10, kIQ4_NL)      \
  X(kQ3_K, 11, kIQ4_NL)      \
  X(kQ4_K, 14, kQ5_0)        \
  X(kQ5_K, 16, kQ5_1)        \
  X(kQ6_K, 18, kQ8_0)        \
  X(kIQ4_NL, 25, kF16)       \
  X(kIQ4_XS, 30, kIQ4_NL)    \
  X(kMXFP4, 38, kF16)

[[nodiscard]] constexpr uint32_t gguf_file_type(DType type) noexcept {
  constexpr uint32_t kGuessed = 1024;
#define PENSEE_X(of, number, fallback) \
  if (type == DType::of) return number;
  PENSEE_FILE_TYPES(PENSEE_X)
#undef PENSEE_X
  return kGuessed;
}

// `type`, or the next in line whose blocks divide a row of `cols`.
[[nodiscard]] constexpr DType type_that_divides(DType type, int64_t cols) noexcept {
  while (cols % dtype_block_elements(type) != 0) {
    DType next = DType::kF16;
#define PENSEE_X(of, number, fallback) \
  if (type == DType::of) next = DType::fallback;
    PENSEE_FILE_TYPES(PENSEE_X)
#undef PENSEE_X
    type = next;
  }
  return type;
}

// The types that can be written, for messages: "f32, f16, ...".
[[nodiscard]] inline std::string quantizer_names() {
  std::string names;
  for (const std::string_view name : {
#define PENSEE_X(type, function) dtype_name(DType::type),
           PENSEE_QUANTIZER_LIST(PENSEE_X)
#undef PENSEE_X
       }) {
    names += names.empty() ? "" : ", ";
    for (const char c : name) names += static_cast<char>(std::tolower(c));
  }
  return names;
}

// A type by its name in either case, "q4_k" say; kUnsupported, naming those that are, for another.
[[nodiscard]] inline Result<DType> parse_quantizer_name(std::string_view text) {
  const auto is_same = [&](std::string_view name) {
    return std::equal(name.begin(), name.end(), text.begin(), text.end(), [](char a, char b) {
      return a == std::toupper(static_cast<unsigned char>(b));
    });
  };
#define PENSEE_X(type, function) \
  if (is_same(dtype_name(DType::type))) return DType::type;
  PENSEE_QUANTIZER_LIST(PENSEE_X)
#undef PENSEE_X
  return unsupported("cannot write type \"" + printable(text) + "\", only " + quantizer_names());
}

// Rules in the order in which they count: the first override whose pattern occurs in the name; what
// must be exact (vectors, routers) as F32; embeddings and output; the type of all others.
class TypeChoice {
 public:
  explicit TypeChoice(DType type) : type_(type) {}

  void set_embedding(DType type) { embedding_ = type; }
  void set_output(DType type) { output_ = type; }
  // `rule`: "PATTERN=TYPE", such as "ffn_down.*=q6_k". The pattern is a regex that is searched for
  // in the names of GGUF tensors. Errors: kInvalidArgument for another form, kUnsupported for a
  // type that cannot be written, those of Regex::compile.
  Result<void> add_override(std::string_view rule) {
    const size_t equals = rule.rfind('=');
    if (equals == rule.npos || equals == 0) {
      return invalid_argument("expected PATTERN=TYPE, found \"" + printable(rule) + "\"");
    }
    PENSEE_ASSIGN_OR_RETURN(const DType type, parse_quantizer_name(rule.substr(equals + 1)));
    const std::string_view pattern = rule.substr(0, equals);
    PENSEE_ASSIGN_OR_RETURN(Regex regex, Regex::compile(pattern, std::string(pattern)));
    overrides_.emplace_back(std::move(regex), type);
    return {};
  }

  [[nodiscard]] DType type() const noexcept { return type_; }

  // `is_tied`: the embeddings are the output too. Errors: kInvalidArgument where an override does
  // not suit the tensor; kOutOfMemory; kInternal if the regex of one gives up on the name.
  // Precondition: the name is UTF-8.
  [[nodiscard]] Result<DType> choose(const std::string& name, const Shape& shape,
                                     bool is_tied) const {
    const int64_t cols = shape.rank > 0 ? shape[shape.rank - 1] : 1;
    const RegexScratch scratch;
    if (!scratch.ok()) return Error{Status::kOutOfMemory, "no memory for patterns"};
    for (const auto& [regex, type] : overrides_) {
      PENSEE_ASSIGN_OR_RETURN(const Regex::Match match, regex.find(name, 0, scratch));
      if (match.begin == match.end) continue;
      if (cols % dtype_block_elements(type) == 0 && (shape.rank > 1 || !is_block_type(type))) {
        return type;
      }
      return invalid_argument("tensor " + printable(name) + ": expected rows of whole blocks for " +
                              std::string(dtype_name(type)) + ", found " + shape.to_string());
    }
    if (shape.rank <= 1 || name.find("ffn_gate_inp.") != name.npos) return DType::kF32;
    return type_that_divides(wish(name, is_tied), cols);
  }

 private:
  [[nodiscard]] DType wish(const std::string& name, bool is_tied) const noexcept {
    const bool is_embedding = name == "token_embd.weight";
    if (is_embedding && embedding_) return *embedding_;
    if (name == "output.weight" || (is_embedding && is_tied))
      return output_.value_or(output_default());
    return type_;
  }
  // The logits suffer most, so that the output is not written in fewer than six bits unless asked.
  [[nodiscard]] DType output_default() const noexcept {
    const bool is_small = dtype_block_bytes(type_) * 256 < dtype_block_elements(type_) * 210;
    return is_small ? DType::kQ6_K : type_;
  }

  DType type_;
  std::optional<DType> embedding_;
  std::optional<DType> output_;
  std::vector<std::pair<Regex, DType>> overrides_;
};

}  // namespace pensee
