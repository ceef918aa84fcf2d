// The model's configuration: config.json of a Hugging Face checkpoint, read and checked.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"

namespace pensee {

// The fields are the keys of config.json; members differ only in n_layers, n_heads, n_kv_heads.
// These lists are the one source of truth: the members, parsing, checks and printing come from
// them. An absent key has the value that Hugging Face's DeepseekV3Config gives it, but sizes
// without which nothing can be loaded are required (kRequired), and no q_lora_rank means none.
// `null` means 0 where 0 is allowed. The limits keep products of sizes in int64: all expert weights
// of all layers, in float32, stay below 2^63 bytes, and so does a cache of max_position_embeddings
// tokens. The experts' fields are checked against each other only if has_moe().
//
// X(member, key, value when absent, least, most)
#define PENSEE_CONFIG_INTS(X)                                                                  \
  X(vocab_size, "vocab_size", kRequired, 1, 1 << 24)                                           \
  X(hidden_size, "hidden_size", kRequired, 1, 1 << 17)                                         \
  X(intermediate_size, "intermediate_size", kRequired, 1, 1 << 19)    /* of dense layers */    \
  X(moe_intermediate_size, "moe_intermediate_size", 2048, 0, 1 << 19) /* of one expert */      \
  X(n_layers, "num_hidden_layers", kRequired, 1, 1024)                                         \
  X(n_heads, "num_attention_heads", kRequired, 1, 4096)                                        \
  X(n_kv_heads, "num_key_value_heads", 0, 0, 4096) /* absent: n_heads */                       \
  X(n_shared_experts, "n_shared_experts", 1, 0, 64)                                            \
  X(n_routed_experts, "n_routed_experts", kRequired, 0, 8192) /* 0: every layer is dense */    \
  X(num_experts_per_tok, "num_experts_per_tok", 8, 0, 8192)                                    \
  X(n_group, "n_group", 8, 0, 8192)                                                            \
  X(topk_group, "topk_group", 4, 0, 8192)                                                      \
  X(first_k_dense_replace, "first_k_dense_replace", 3, 0, 1 << 20) /* dense layers in front */ \
  X(kv_lora_rank, "kv_lora_rank", kRequired, 1, 1 << 15)                                       \
  X(q_lora_rank, "q_lora_rank", 0, 0, 1 << 15) /* 0: one q_proj instead of two */              \
  X(qk_nope_head_dim, "qk_nope_head_dim", kRequired, 1, 4096)                                  \
  X(qk_rope_head_dim, "qk_rope_head_dim", kRequired, 2, 4096)                                  \
  X(v_head_dim, "v_head_dim", kRequired, 1, 4096)                                              \
  X(max_position_embeddings, "max_position_embeddings", 4096, 1, 1 << 28) /* tokens */         \
  X(num_nextn_predict_layers, "num_nextn_predict_layers", 1, 0, 64)

// X(member, key, value when absent, least, most)
#define PENSEE_CONFIG_DOUBLES(X)                                    \
  X(rms_norm_eps, "rms_norm_eps", 1e-6, 1e-30, 1.0)                 \
  X(routed_scaling_factor, "routed_scaling_factor", 2.5, 1e-6, 1e6) \
  X(rope_theta, "rope_theta", 10000.0, 1.001, 1e15) /* rope_parameters may hold it */

// X(member, key, value when absent)
#define PENSEE_CONFIG_BOOLS(X)              \
  X(norm_topk_prob, "norm_topk_prob", true) \
  X(tie_word_embeddings, "tie_word_embeddings", false)

// What the forward pass has one form of: any other value is kUnsupported.
// X(key, value when absent, the one supported value), both as JSON values
#define PENSEE_CONFIG_FIXED(X)             \
  X("hidden_act", "silu", "silu")          \
  X("scoring_func", "sigmoid", "sigmoid")  \
  X("topk_method", "noaux_tc", "noaux_tc") \
  X("attention_bias", false, false)        \
  X("rope_interleave", true, true)         \
  X("moe_layer_freq", 1, 1)

// YaRN (arXiv:2309.00071): rotary angles beyond the context that the model was first trained on.
// X(member, key, value when absent, least, most)
#define PENSEE_YARN_DOUBLES(X)                                          \
  X(factor, "factor", kRequiredDouble, 1.0, 1e6)                        \
  X(beta_fast, "beta_fast", 32.0, 1e-3, 1e6)                            \
  X(beta_slow, "beta_slow", 1.0, 1e-3, 1e6)                             \
  X(mscale, "mscale", 0.0, 0.0, 100.0)                 /* 0: not set */ \
  X(mscale_all_dim, "mscale_all_dim", 0.0, 0.0, 100.0) /* 0: not set */

struct RopeScaling {
#define PENSEE_X(member, key, fallback, least, most) double member = 0.0;
  PENSEE_YARN_DOUBLES(PENSEE_X)
#undef PENSEE_X
  int64_t original_max_position_embeddings = 0;  // tokens
};

// X(model_type): the families this version computes.
#define PENSEE_MODEL_TYPES(X) X(deepseek_v3)

struct Config {
  std::string model_type;
#define PENSEE_X(member, key, fallback, least, most) int64_t member = 0;
  PENSEE_CONFIG_INTS(PENSEE_X)
#undef PENSEE_X
#define PENSEE_X(member, key, fallback, least, most) double member = 0.0;
  PENSEE_CONFIG_DOUBLES(PENSEE_X)
#undef PENSEE_X
#define PENSEE_X(member, key, fallback) bool member = false;
  PENSEE_CONFIG_BOOLS(PENSEE_X)
#undef PENSEE_X
  std::optional<RopeScaling> rope_scaling;  // none: plain rotary angles
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_id;  // any of them ends a text; may be empty
  std::string torch_dtype;            // for information; the tensors' own types count
  std::string quant_method;           // "fp8" (e4m3, 128 x 128 blocks), or empty

  // Reads and checks config.json. `file` is for messages, which name the key, what was expected
  // and what was found. kUnsupported for what this version cannot compute, kCorruptFile for what
  // no version could.
  static Result<Config> from_json(std::string_view json, const std::string& file);

  // Every field by its key in config.json, in words, for people.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> fields() const;

  [[nodiscard]] int64_t qk_head_dim() const noexcept {
    return qk_nope_head_dim + qk_rope_head_dim;
  }
  // Layer n_layers and up are the multi-token-prediction layers.
  [[nodiscard]] bool is_moe_layer(int64_t layer) const noexcept {
    return n_routed_experts > 0 && layer >= first_k_dense_replace;
  }
  // Whether any of the n_layers layers is one.
  [[nodiscard]] bool has_moe() const noexcept {
    return is_moe_layer(n_layers - 1);
  }
};

namespace config_detail {

inline constexpr int64_t kRequired = std::numeric_limits<int64_t>::min();
inline constexpr double kRequiredDouble = -std::numeric_limits<double>::infinity();

// One row of a list above, as data. T: int64_t, double or bool.
template <class Owner, class T>
struct Row {
  T Owner::*member;
  const char* key;
  T fallback;
  T least;
  T most;
};

#define PENSEE_X(member, key, fallback, least, most) {&Config::member, key, fallback, least, most},
inline constexpr Row<Config, int64_t> kInts[] = {PENSEE_CONFIG_INTS(PENSEE_X)};
inline constexpr Row<Config, double> kDoubles[] = {PENSEE_CONFIG_DOUBLES(PENSEE_X)};
#undef PENSEE_X
#define PENSEE_X(member, key, fallback, least, most) \
  {&RopeScaling::member, key, fallback, least, most},
inline constexpr Row<RopeScaling, double> kYarnDoubles[] = {PENSEE_YARN_DOUBLES(PENSEE_X)};
#undef PENSEE_X
#define PENSEE_X(member, key, fallback) {&Config::member, key, fallback, false, true},
inline constexpr Row<Config, bool> kBools[] = {PENSEE_CONFIG_BOOLS(PENSEE_X)};
#undef PENSEE_X

// The shortest text that reads back as the same number.
inline std::string number_text(double value) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return std::string(buffer.data(), end);
}

inline Result<int64_t> read(const JsonView& value, const Row<Config, int64_t>& row) {
  if (value.is_null() && row.least == 0) return int64_t{0};
  return value.as_int(row.least, row.most);
}
template <class Owner>
Result<double> read(const JsonView& value, const Row<Owner, double>& row) {
  if (value.is_null() && row.least == 0.0) return 0.0;
  PENSEE_ASSIGN_OR_RETURN(const double number, value.as_double());
  if (number >= row.least && number <= row.most) return number;
  return value.expected("a number from " + number_text(row.least) + " to " + number_text(row.most));
}
inline Result<bool> read(const JsonView& value, const Row<Config, bool>& /*row*/) {
  return value.as_bool();
}

// Fills the members of `rows` from `object`.
template <class Owner, class T, size_t n>
Result<void> read_rows(const JsonView& object, const Row<Owner, T> (&rows)[n], Owner& owner) {
  for (const Row<Owner, T>& row : rows) {
    // No value is below `least`: such a fallback marks a required key.
    const bool is_required = row.fallback < row.least;
    if (!object.contains(row.key) && !is_required) {
      owner.*row.member = row.fallback;
      continue;
    }
    PENSEE_ASSIGN_OR_RETURN(const JsonView value, object.at(row.key));
    PENSEE_ASSIGN_OR_RETURN(owner.*row.member, read(value, row));
  }
  return {};
}

inline Error unsupported_value(const JsonView& value, const std::string& expected) {
  return unsupported(value.where() + ": expected " + expected + ", found " + value.found());
}

// Refuses `key` of `object` unless it is absent (then `fallback` counts) or `supported`.
inline Result<void> expect_fixed(const JsonView& object, const char* key, const Json& fallback,
                                 const Json& supported) {
  const auto value = object.find(key);
  if ((value ? value->json() : fallback) == supported) return {};
  if (value) return unsupported_value(*value, supported.dump());
  return unsupported(object.where() + ": " + key + ": expected " + supported.dump() +
                     ", found nothing");
}

inline Result<void> read_model_type(const JsonView& root, Config& config) {
  PENSEE_ASSIGN_OR_RETURN(const JsonView value, root.at("model_type"));
  PENSEE_ASSIGN_OR_RETURN(const std::string_view name, value.as_string());
  std::string known;
#define PENSEE_X(type)                          \
  if (name == #type) config.model_type = #type; \
  known += known.empty() ? #type : ", " #type;
  PENSEE_MODEL_TYPES(PENSEE_X)
#undef PENSEE_X
  if (config.model_type.empty()) return unsupported_value(value, "one of: " + known);
  return {};
}

// `rope_scaling`, or `rope_parameters` as newer files have it; the former wins, as in Hugging Face.
inline Result<void> read_rope(const JsonView& root, Config& config) {
  auto rope = root.find("rope_scaling");
  if (!rope) rope = root.find("rope_parameters");
  if (!rope) return {};
  PENSEE_RETURN_IF_ERROR(rope->expect_object());
  if (const auto theta = rope->find("rope_theta")) {
    for (const auto& row : kDoubles) {
      if (row.key != std::string_view("rope_theta")) continue;
      PENSEE_ASSIGN_OR_RETURN(config.rope_theta, read(*theta, row));
    }
  }
  auto type = rope->find("rope_type");
  if (!type) type = rope->find("type");
  if (!type) return {};
  PENSEE_ASSIGN_OR_RETURN(const std::string_view name, type->as_string());
  if (name == "default") return {};
  if (name != "yarn") return unsupported_value(*type, "\"default\" or \"yarn\"");

  RopeScaling yarn;
  PENSEE_RETURN_IF_ERROR(read_rows(*rope, kYarnDoubles, yarn));
  PENSEE_ASSIGN_OR_RETURN(const JsonView original, rope->at("original_max_position_embeddings"));
  PENSEE_ASSIGN_OR_RETURN(yarn.original_max_position_embeddings, original.as_int(1, 1 << 28));
  if (yarn.beta_fast <= yarn.beta_slow) {
    return corrupt_file(rope->where() + ".beta_fast: expected more than beta_slow (" +
                        number_text(yarn.beta_slow) + "), found " + number_text(yarn.beta_fast));
  }
  PENSEE_RETURN_IF_ERROR(expect_fixed(*rope, "truncate", true, true));
  PENSEE_RETURN_IF_ERROR(expect_fixed(*rope, "attention_factor", nullptr, nullptr));
  config.rope_scaling = yarn;
  return {};
}

inline Result<void> read_tokens(const JsonView& root, Config& config) {
  config.bos_token_id = 0;
  config.eos_token_id = {1};
  const auto id = [&](const JsonView& value) { return value.as_int(0, config.vocab_size - 1); };
  if (root.contains("bos_token_id")) {
    config.bos_token_id.reset();
    if (const auto value = root.find("bos_token_id")) {
      PENSEE_ASSIGN_OR_RETURN(const int64_t token, id(*value));
      config.bos_token_id = static_cast<int32_t>(token);
    }
  }
  if (!root.contains("eos_token_id")) return {};
  config.eos_token_id.clear();
  const auto value = root.find("eos_token_id");
  if (!value) return {};
  for (size_t i = 0; i < (value->is_array() ? value->size() : 1); ++i) {
    PENSEE_ASSIGN_OR_RETURN(const int64_t token, id(value->is_array() ? (*value)[i] : *value));
    config.eos_token_id.push_back(static_cast<int32_t>(token));
  }
  return {};
}

inline Result<void> read_types(const JsonView& root, Config& config) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (const auto value = root.find(key)) {
      PENSEE_ASSIGN_OR_RETURN(config.torch_dtype, value->as_string());
    }
  }
  const auto quantization = root.find("quantization_config");
  if (!quantization) return {};
  PENSEE_RETURN_IF_ERROR(quantization->expect_object());
  PENSEE_RETURN_IF_ERROR(expect_fixed(*quantization, "quant_method", nullptr, "fp8"));
  PENSEE_RETURN_IF_ERROR(expect_fixed(*quantization, "fmt", "e4m3", "e4m3"));
  PENSEE_RETURN_IF_ERROR(expect_fixed(*quantization, "activation_scheme", "dynamic", "dynamic"));
  const JsonDocument blocks({kScaleBlock, kScaleBlock});
  PENSEE_RETURN_IF_ERROR(expect_fixed(*quantization, "weight_block_size", blocks, blocks));
  config.quant_method = "fp8";
  return {};
}

// Checks `found`, the value of `key`, against a range that other fields give.
inline Result<void> expect_range(const std::string& file, const char* key, int64_t found,
                                 int64_t least, int64_t most, const char* reason) {
  if (found >= least && found <= most) return {};
  return corrupt_file(file + ": " + key + ": expected " + std::to_string(least) +
                      (most == least ? "" : " to " + std::to_string(most)) + " (" + reason +
                      "), found " + std::to_string(found));
}

inline Result<void> check_experts(const std::string& file, const Config& c) {
  const auto range = [&](const char* key, int64_t found, int64_t least, int64_t most,
                         const char* reason) {
    return expect_range(file, key, found, least, most, reason);
  };
  PENSEE_RETURN_IF_ERROR(range("moe_intermediate_size", c.moe_intermediate_size, 1, 1 << 19,
                               "the model has routed experts"));
  // A group's score is the sum of its two largest, so a group has two or more.
  PENSEE_RETURN_IF_ERROR(range("n_group", c.n_group, 1, c.n_routed_experts / 2,
                               "at least two of n_routed_experts in a group"));
  if (c.n_routed_experts % c.n_group != 0) {
    return corrupt_file(file + ": n_routed_experts: expected a multiple of n_group (" +
                        std::to_string(c.n_group) + "), found " +
                        std::to_string(c.n_routed_experts));
  }
  PENSEE_RETURN_IF_ERROR(range("topk_group", c.topk_group, 1, c.n_group, "at most n_group"));
  return range("num_experts_per_tok", c.num_experts_per_tok, 1,
               c.topk_group * (c.n_routed_experts / c.n_group),
               "at most the experts in topk_group groups");
}

// Checks what depends on more than one field.
inline Result<void> check(const std::string& file, const Config& c) {
  PENSEE_RETURN_IF_ERROR(expect_range(file, "num_key_value_heads", c.n_kv_heads, c.n_heads,
                                      c.n_heads, "num_attention_heads"));
  if (c.qk_rope_head_dim % 2 != 0) {
    return corrupt_file(file + ": qk_rope_head_dim: expected an even number, found " +
                        std::to_string(c.qk_rope_head_dim));
  }
  return c.has_moe() ? check_experts(file, c) : Result<void>();
}

}  // namespace config_detail

inline Result<Config> Config::from_json(std::string_view json, const std::string& file) {
  PENSEE_ASSIGN_OR_RETURN(const JsonDocument tree, parse_json(json, file));
  const JsonView root(tree, file);
  PENSEE_RETURN_IF_ERROR(root.expect_object());
  Config config;
  PENSEE_RETURN_IF_ERROR(config_detail::read_model_type(root, config));
  PENSEE_RETURN_IF_ERROR(config_detail::read_rows(root, config_detail::kInts, config));
  PENSEE_RETURN_IF_ERROR(config_detail::read_rows(root, config_detail::kDoubles, config));
  PENSEE_RETURN_IF_ERROR(config_detail::read_rows(root, config_detail::kBools, config));
#define PENSEE_X(key, fallback, supported) \
  PENSEE_RETURN_IF_ERROR(config_detail::expect_fixed(root, key, fallback, supported));
  PENSEE_CONFIG_FIXED(PENSEE_X)
#undef PENSEE_X
  PENSEE_RETURN_IF_ERROR(config_detail::read_rope(root, config));
  PENSEE_RETURN_IF_ERROR(config_detail::read_tokens(root, config));
  PENSEE_RETURN_IF_ERROR(config_detail::read_types(root, config));
  if (config.n_kv_heads == 0) config.n_kv_heads = config.n_heads;
  PENSEE_RETURN_IF_ERROR(config_detail::check(file, config));
  return config;
}

inline std::vector<std::pair<std::string, std::string>> Config::fields() const {
  std::vector<std::pair<std::string, std::string>> out{{"model_type", model_type}};
  for (const auto& row : config_detail::kInts) {
    out.emplace_back(row.key, std::to_string(this->*row.member));
  }
  for (const auto& row : config_detail::kDoubles) {
    out.emplace_back(row.key, config_detail::number_text(this->*row.member));
  }
  for (const auto& row : config_detail::kBools) {
    out.emplace_back(row.key, this->*row.member ? "true" : "false");
  }
#define PENSEE_X(key, fallback, supported) out.emplace_back(key, Json(supported).dump());
  PENSEE_CONFIG_FIXED(PENSEE_X)
#undef PENSEE_X
  std::string rope = "none";
  if (rope_scaling) {
    rope = "yarn, original_max_position_embeddings " +
           std::to_string(rope_scaling->original_max_position_embeddings);
    for (const auto& row : config_detail::kYarnDoubles) {
      rope += std::string(", ") + row.key + " " +
              config_detail::number_text((*rope_scaling).*row.member);
    }
  }
  out.emplace_back("rope_scaling", rope);
  out.emplace_back("bos_token_id", bos_token_id ? std::to_string(*bos_token_id) : "none");
  std::string eos;
  for (const int32_t id : eos_token_id) eos += (eos.empty() ? "" : ", ") + std::to_string(id);
  out.emplace_back("eos_token_id", eos.empty() ? "none" : eos);
  out.emplace_back("torch_dtype", torch_dtype.empty() ? "none" : torch_dtype);
  out.emplace_back("quant_method", quant_method.empty() ? "none" : quant_method);
  return out;
}

}  // namespace pensee
