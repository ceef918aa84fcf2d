// Reads a model's configuration from config.json and checks it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/model/config.hpp"

namespace pensee {
namespace config_detail {

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

// What an absent key means for the family.
template <class Owner, class T>
T default_of(ModelFamily family, const Row<Owner, T>& row) {
#define PENSEE_X(of, list_key, value)                                     \
  if (family == ModelFamily::of && std::string_view(row.key) == list_key) \
    return static_cast<T>(value);
  PENSEE_CONFIG_DEFAULTS(PENSEE_X)
#undef PENSEE_X
  return row.fallback;
}

// The key of a list that `object` has for it; the family's first one if it has none.
inline std::string_view key_in(const JsonView& object, ModelFamily family, std::string_view key) {
#define PENSEE_X(of, list_key, own_key) \
  if (family == ModelFamily::of && key == list_key && object.contains(own_key)) return own_key;
  PENSEE_CONFIG_ALIASES(PENSEE_X)
#undef PENSEE_X
  return key_of(family, key);
}

// Fills the members of those `rows` that are of the family from `object`.
template <class Owner, class T, size_t n>
Result<void> read_rows(const JsonView& object, ModelFamily family, const Row<Owner, T> (&rows)[n],
                       Owner& owner) {
  for (const Row<Owner, T>& row : rows) {
    if ((row.families & static_cast<unsigned>(family)) == 0) continue;
    const std::string_view key = key_in(object, family, row.key);
    // No value is below `least`: such a fallback marks a required key.
    const bool is_required = row.fallback < row.least;
    if (!object.contains(key) && !is_required) {
      owner.*row.member = default_of(family, row);
      continue;
    }
    PENSEE_ASSIGN_OR_RETURN(const JsonView value, object.at(key));
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
#define PENSEE_X(enumerator, bit, type)      \
  if (name == #type) {                       \
    config.family = ModelFamily::enumerator; \
    config.model_type = #type;               \
  }                                          \
  known += known.empty() ? #type : ", " #type;
  PENSEE_MODEL_FAMILIES(PENSEE_X)
#undef PENSEE_X
  if (config.model_type.empty()) return unsupported_value(value, "one of: " + known);
  return {};
}

inline Result<void> read_topk_method(const JsonView& root, Config& config) {
  config.topk_method = config.is_one_of(kDeepseekV3) ? TopkMethod::kNoauxTc : TopkMethod::kGreedy;
  const auto value = root.find("topk_method");
  if (!config.is_one_of(kDeepseekV2) || !value) return {};
  for (const TopkMethod method : {TopkMethod::kGreedy, TopkMethod::kGroupLimitedGreedy}) {
    if (!value->is(name_of(method))) continue;
    config.topk_method = method;
    return {};
  }
  return unsupported_value(*value, "\"greedy\" or \"group_limited_greedy\"");
}

inline Result<RopeScaling> read_yarn(const JsonView& rope) {
  RopeScaling yarn;
  PENSEE_RETURN_IF_ERROR(read_rows(rope, ModelFamily{kAll}, kYarnDoubles, yarn));
  if (yarn.beta_fast <= yarn.beta_slow) {
    return corrupt_file(rope.where() + ".beta_fast: expected more than beta_slow (" +
                        number_text(yarn.beta_slow) + "), found " + number_text(yarn.beta_fast));
  }
  PENSEE_RETURN_IF_ERROR(expect_fixed(rope, "truncate", true, true));
  PENSEE_RETURN_IF_ERROR(expect_fixed(rope, "extrapolation_factor", 1.0, 1.0));
  return yarn;
}

inline Result<RopeScaling> read_llama3(const JsonView& rope) {
  RopeScaling llama3;
  llama3.type = RopeScaling::Type::kLlama3;
  PENSEE_RETURN_IF_ERROR(read_rows(rope, ModelFamily{kAll}, kLlama3Doubles, llama3));
  if (llama3.high_freq_factor <= llama3.low_freq_factor) {
    return corrupt_file(rope.where() + ".high_freq_factor: expected more than low_freq_factor (" +
                        number_text(llama3.low_freq_factor) + "), found " +
                        number_text(llama3.high_freq_factor));
  }
  return llama3;
}

// `rope_scaling`, or `rope_parameters` as newer files have it; the former wins, as in Hugging Face.
inline Result<void> read_rope(const JsonView& root, Config& config) {
  PENSEE_RETURN_IF_ERROR(expect_fixed(root, "partial_rotary_factor", 1.0, 1.0));
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
  PENSEE_RETURN_IF_ERROR(expect_fixed(*rope, "partial_rotary_factor", 1.0, 1.0));
  auto type = rope->find("rope_type");
  if (!type) type = rope->find("type");
  if (!type) return {};
  PENSEE_ASSIGN_OR_RETURN(const std::string_view name, type->as_string());
  if (name == "default") return {};
  const bool is_llama3 = name == "llama3" && !config.has_mla();
  if (name != "yarn" && !is_llama3) {
    return unsupported_value(*type, config.has_mla() ? "\"default\" or \"yarn\""
                                                     : "\"default\", \"yarn\" or \"llama3\"");
  }
  PENSEE_ASSIGN_OR_RETURN(RopeScaling scaling, is_llama3 ? read_llama3(*rope) : read_yarn(*rope));
  // As in transformers, what YaRN begins with may be left out.
  scaling.original_max_position_embeddings = config.max_position_embeddings;
  const char* const kOriginal = "original_max_position_embeddings";
  if (is_llama3 || rope->find(kOriginal)) {
    PENSEE_ASSIGN_OR_RETURN(const JsonView original, rope->at(kOriginal));
    PENSEE_ASSIGN_OR_RETURN(scaling.original_max_position_embeddings, original.as_int(1, 1 << 28));
  }
  config.rope_scaling = scaling;
  return {};
}

inline Result<void> read_tokens(const JsonView& root, Config& config) {
  if (config.is_one_of(kDeepseekV3)) {  // the other families' defaults fit no checkpoint there is
    config.bos_token_id = 0;
    config.eos_token_id = {1};
  }
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
  if (const auto value = root.find("eos_token_id")) {
    PENSEE_ASSIGN_OR_RETURN(config.eos_token_id, value->as_token_ids(config.vocab_size));
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
  if (c.topk_method == TopkMethod::kGreedy) {
    return range("num_experts_per_tok", c.num_experts_per_tok, 1, c.n_routed_experts,
                 "at most the routed experts");
  }
  if (c.topk_method == TopkMethod::kNoauxTc) {
    // A group's score is the sum of its two largest, so a group has two or more.
    PENSEE_RETURN_IF_ERROR(range("n_group", c.n_group, 1, c.n_routed_experts / 2,
                                 "at least two of n_routed_experts in a group"));
  } else {
    PENSEE_RETURN_IF_ERROR(
        range("n_group", c.n_group, 1, c.n_routed_experts, "at most n_routed_experts"));
  }
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

inline Result<void> check_heads(const std::string& file, const Config& c) {
  if (c.has_mla()) {
    return expect_range(file, "num_key_value_heads", c.n_kv_heads, c.n_heads, c.n_heads,
                        "num_attention_heads");
  }
  if (c.n_heads % c.n_kv_heads != 0) {
    return corrupt_file(file + ": num_attention_heads: expected a multiple of " +
                        "num_key_value_heads (" + std::to_string(c.n_kv_heads) + "), found " +
                        std::to_string(c.n_heads));
  }
  return {};
}

// Checks what depends on more than one field.
inline Result<void> check(const std::string& file, const Config& c) {
  PENSEE_RETURN_IF_ERROR(check_heads(file, c));
  if (c.rope_dim() % 2 != 0) {
    return corrupt_file(file + (c.has_mla() ? ": qk_rope_head_dim" : ": head_dim") +
                        ": expected an even number, found " + std::to_string(c.rope_dim()));
  }
  return c.has_moe() ? check_experts(file, c) : Result<void>();
}

// Fields whose defaults are other fields.
inline Result<void> derive(const std::string& file, Config& c) {
  if (c.n_kv_heads == 0) c.n_kv_heads = c.n_heads;
  c.rope_interleave = c.has_mla();
  if (c.has_mla() || c.head_dim != 0) return {};
  if (c.hidden_size % c.n_heads != 0) {
    return corrupt_file(file + ": hidden_size: expected a multiple of num_attention_heads (" +
                        std::to_string(c.n_heads) + "), as there is no head_dim, found " +
                        std::to_string(c.hidden_size));
  }
  c.head_dim = c.hidden_size / c.n_heads;
  return {};
}

}  // namespace config_detail

inline Result<Config> Config::from_json(std::string_view json, const std::string& file) {
  PENSEE_ASSIGN_OR_RETURN(const JsonDocument tree, parse_json(json, file));
  return from_json(JsonView(tree, file));
}

inline Result<Config> Config::from_json(const JsonView& root) {
  PENSEE_RETURN_IF_ERROR(root.expect_object());
  Config config;
  PENSEE_RETURN_IF_ERROR(config_detail::read_model_type(root, config));
  const ModelFamily family = config.family;
  PENSEE_RETURN_IF_ERROR(config_detail::read_rows(root, family, config_detail::kInts, config));
  PENSEE_RETURN_IF_ERROR(config_detail::read_rows(root, family, config_detail::kDoubles, config));
  PENSEE_RETURN_IF_ERROR(config_detail::read_rows(root, family, config_detail::kBools, config));
#define PENSEE_X(key, set, fallback, supported) \
  if (config.is_one_of(families::set))          \
    PENSEE_RETURN_IF_ERROR(config_detail::expect_fixed(root, key, fallback, supported));
  PENSEE_CONFIG_FIXED(PENSEE_X)
#undef PENSEE_X
  PENSEE_RETURN_IF_ERROR(config_detail::read_topk_method(root, config));
  PENSEE_RETURN_IF_ERROR(config_detail::read_rope(root, config));
  PENSEE_RETURN_IF_ERROR(config_detail::read_tokens(root, config));
  PENSEE_RETURN_IF_ERROR(config_detail::read_types(root, config));
  PENSEE_RETURN_IF_ERROR(config_detail::derive(root.where(), config));
  PENSEE_RETURN_IF_ERROR(config_detail::check(root.where(), config));
  return config;
}

}  // namespace pensee
