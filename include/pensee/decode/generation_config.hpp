// What a checkpoint's authors advise: how tokens are chosen, and which end a reply.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/decode/sampler_options.hpp"
#include "pensee/io/checkpoint.hpp"

namespace pensee {

// X(setting of the sampler, key in generation_config.json, key in the metadata of a GGUF file, by
// llama.cpp's names)
#define PENSEE_SAMPLING_ADVICE(X)                                       \
  X(temperature, "temperature", "general.sampling.temp")                \
  X(top_k, "top_k", "general.sampling.top_k") /* 0 or -1: all tokens */ \
  X(top_p, "top_p", "general.sampling.top_p")                           \
  X(min_p, "min_p", "general.sampling.min_p")                           \
  X(repetition_penalty, "repetition_penalty", "general.sampling.penalty_repeat")

struct GenerationConfig {
  SamplerOverrides sampler;                          // unset where nothing is advised
  std::optional<std::vector<int32_t>> eos_token_id;  // of generation_config.json alone
};

namespace generation_config_detail {

// The number of `value`, a JsonView or a GgufValue of any number type, as a setting.
template <class Value>
Result<void> read(const Value& value, std::optional<float>& out) {
  PENSEE_ASSIGN_OR_RETURN(const double number, value.as_double());
  out = static_cast<float>(number);
  return {};
}
template <class Value>
Result<void> read(const Value& value, std::optional<int32_t>& out) {
  PENSEE_ASSIGN_OR_RETURN(const double number, value.as_double());
  if (number != std::floor(number) || number < -1 || number > INT32_MAX) {
    return value.expected("a whole number from -1 to " + std::to_string(INT32_MAX));
  }
  out = std::max(static_cast<int32_t>(number), 0);
  return {};
}

// kCorruptFile, beginning with `where`, for what the sampler would refuse.
inline Result<void> check(const SamplerOverrides& sampler, const std::string& where) {
  const Result<void> valid = validate(sampler.over({}));
  return valid ? valid : corrupt_file(where + ": " + valid.error().message);
}

inline Result<GenerationConfig> from_json(const JsonView& root, int64_t n_tokens) {
  PENSEE_RETURN_IF_ERROR(root.expect_object());
  GenerationConfig config;
  if (const auto eos = root.find("eos_token_id")) {
    PENSEE_ASSIGN_OR_RETURN(config.eos_token_id, eos->as_token_ids(n_tokens));
  }
#define PENSEE_X(name, key, gguf_key)                          \
  if (const auto value = root.find(key)) {                     \
    PENSEE_RETURN_IF_ERROR(read(*value, config.sampler.name)); \
  }
  PENSEE_SAMPLING_ADVICE(PENSEE_X)
#undef PENSEE_X
  if (const auto do_sample = root.find("do_sample")) {
    PENSEE_ASSIGN_OR_RETURN(const bool samples, do_sample->as_bool());
    if (!samples) config.sampler.temperature = 0.0F;
  }
  PENSEE_RETURN_IF_ERROR(check(config.sampler, root.where()));
  return config;
}

inline Result<GenerationConfig> from_gguf(const GgufMetadata& metadata) {
  GenerationConfig config;
#define PENSEE_X(name, key, gguf_key)                              \
  if (const auto value = metadata.find(gguf_key)) {                \
    PENSEE_RETURN_IF_ERROR(read(*value, config.sampler.name));     \
    PENSEE_RETURN_IF_ERROR(check(config.sampler, value->where())); \
  }
  PENSEE_SAMPLING_ADVICE(PENSEE_X)
#undef PENSEE_X
  return config;
}

}  // namespace generation_config_detail

// From generation_config.json, which may be missing, or from the metadata of a GGUF file, which
// stands for itself, whatever lies beside it. kCorruptFile for what is malformed or out of range,
// such as tokens from `n_tokens` on, and the errors of Checkpoint::read_text.
[[nodiscard]] inline Result<GenerationConfig> read_generation_config(
    const Checkpoint& checkpoint, int64_t n_tokens = int64_t{INT32_MAX} + 1) {
  namespace detail = generation_config_detail;
  if (checkpoint.gguf() != nullptr) return detail::from_gguf(*checkpoint.gguf());
  constexpr const char* kFile = "generation_config.json";
  const Result<std::string> text = checkpoint.read_text(kFile);
  if (!text && text.error().status == Status::kNotFound) return GenerationConfig{};
  if (!text) return text.error();
  const std::string file = checkpoint.path_of(kFile);
  PENSEE_ASSIGN_OR_RETURN(const JsonDocument json, parse_json(*text, file));
  return detail::from_json(JsonView(json, file), n_tokens);
}

}  // namespace pensee
