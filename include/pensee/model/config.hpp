// The model's configuration, by the names of Hugging Face's config.json. config_json.hpp reads it
// from there, config_gguf.hpp from the metadata of a GGUF file.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"

namespace pensee {

// The families this version computes; a value is a bit, so that a list can name several.
// X(enumerator, bit, model_type)
#define PENSEE_MODEL_FAMILIES(X) \
  X(kDeepseekV3, 1, deepseek_v3) \
  X(kDeepseekV2, 2, deepseek_v2) \
  X(kQwen2, 4, qwen2)            \
  X(kLlama, 8, llama)            \
  X(kQwen3, 16, qwen3)           \
  X(kQwen3Moe, 32, qwen3_moe)

enum class ModelFamily : unsigned {
#define PENSEE_X(enumerator, bit, type) enumerator = bit,
  PENSEE_MODEL_FAMILIES(PENSEE_X)
#undef PENSEE_X
};

// Sets of families, for the lists below.
namespace families {
#define PENSEE_X(enumerator, bit, type) inline constexpr unsigned enumerator = bit;
PENSEE_MODEL_FAMILIES(PENSEE_X)
#undef PENSEE_X
inline constexpr unsigned kMla = kDeepseekV3 | kDeepseekV2;  // multi-head latent attention
inline constexpr unsigned kQwen = kQwen2 | kQwen3 | kQwen3Moe;
inline constexpr unsigned kGqa = kQwen | kLlama;  // grouped-query attention
inline constexpr unsigned kMoe = kMla | kQwen3Moe;
inline constexpr unsigned kAll = kMla | kGqa;
inline constexpr unsigned kSaysBias = kAll & ~kQwen2;  // Qwen2 has biases without saying so
}  // namespace families

// The fields are the keys of config.json; members differ only in n_layers, n_heads, n_kv_heads.
// These lists are the one source of truth: the members, parsing, checks and printing come from
// them. A field that is not of a model's family is 0 or false. An absent key has the value that
// Hugging Face's configuration classes give it (PENSEE_CONFIG_DEFAULTS has those of the other
// families, PENSEE_CONFIG_ALIASES their other keys), but sizes without which nothing can be loaded
// are required (kRequired), and no q_lora_rank means none. `null` means 0 where 0 is allowed. The
// limits keep products of sizes in int64: all expert weights of all layers, in float32, stay below
// 2^63 bytes, and so does a cache of one token. The experts' fields are checked against each other
// only if has_moe().
//
// X(member, key, families, value when absent, least, most)
#define PENSEE_CONFIG_INTS(X)                                                                     \
  X(vocab_size, "vocab_size", kAll, kRequired, 1, 1 << 24)                                        \
  X(hidden_size, "hidden_size", kAll, kRequired, 1, 1 << 17)                                      \
  X(intermediate_size, "intermediate_size", kAll, kRequired, 1, 1 << 19)    /* of dense layers */ \
  X(moe_intermediate_size, "moe_intermediate_size", kMoe, 2048, 0, 1 << 19) /* of one expert */   \
  X(n_layers, "num_hidden_layers", kAll, kRequired, 1, 1024)                                      \
  X(n_heads, "num_attention_heads", kAll, kRequired, 1, 4096)                                     \
  X(n_kv_heads, "num_key_value_heads", kAll, 0, 0, 4096) /* absent: n_heads */                    \
  X(head_dim, "head_dim", kGqa, 0, 0, 4096)              /* absent: hidden_size / n_heads */      \
  X(n_shared_experts, "n_shared_experts", kMla, 1, 0, 64)                                         \
  X(n_routed_experts, "n_routed_experts", kMoe, kRequired, 0, 8192) /* 0: all dense */            \
  X(num_experts_per_tok, "num_experts_per_tok", kMoe, 8, 0, 8192)                                 \
  X(n_group, "n_group", kMla, 8, 0, 8192)                                                         \
  X(topk_group, "topk_group", kMla, 4, 0, 8192)                                                   \
  X(first_k_dense_replace, "first_k_dense_replace", kMla, 3, 0, 1 << 20) /* dense in front */     \
  X(kv_lora_rank, "kv_lora_rank", kMla, kRequired, 1, 1 << 15)                                    \
  X(q_lora_rank, "q_lora_rank", kMla, 0, 0, 1 << 15) /* 0: one q_proj instead of two */           \
  X(qk_nope_head_dim, "qk_nope_head_dim", kMla, kRequired, 1, 4096)                               \
  X(qk_rope_head_dim, "qk_rope_head_dim", kMla, kRequired, 2, 4096)                               \
  X(v_head_dim, "v_head_dim", kMla, kRequired, 1, 4096)                                           \
  X(max_position_embeddings, "max_position_embeddings", kAll, 4096, 1, 1 << 28) /* tokens */      \
  X(num_nextn_predict_layers, "num_nextn_predict_layers", kDeepseekV3, 1, 0, 64)

// X(member, key, families, value when absent, least, most)
#define PENSEE_CONFIG_DOUBLES(X)                                          \
  X(rms_norm_eps, "rms_norm_eps", kAll, 1e-6, 1e-30, 1.0)                 \
  X(routed_scaling_factor, "routed_scaling_factor", kMoe, 2.5, 1e-6, 1e6) \
  X(rope_theta, "rope_theta", kAll, 10000.0, 1.001, 1e15) /* rope_parameters may hold it */

// X(member, key, families, value when absent)
#define PENSEE_CONFIG_BOOLS(X)                    \
  X(norm_topk_prob, "norm_topk_prob", kMoe, true) \
  X(tie_word_embeddings, "tie_word_embeddings", kAll, false)

// Values of absent keys, where a family's differ from the lists above.
// X(family, key, value)
#define PENSEE_CONFIG_DEFAULTS(X)                                          \
  X(kDeepseekV2, "moe_intermediate_size", 1407)                            \
  X(kDeepseekV2, "n_shared_experts", 2)                                    \
  X(kDeepseekV2, "first_k_dense_replace", 0)                               \
  X(kDeepseekV2, "n_group", 1)                                             \
  X(kDeepseekV2, "topk_group", 1)                                          \
  X(kDeepseekV2, "routed_scaling_factor", 1.0)                             \
  X(kDeepseekV2, "norm_topk_prob", false)                                  \
  X(kDeepseekV2, "max_position_embeddings", 2048)                          \
  X(kQwen2, "max_position_embeddings", 32768)                              \
  X(kLlama, "max_position_embeddings", 2048)                               \
  X(kQwen3, "max_position_embeddings", 32768)                              \
  X(kQwen3, "head_dim", 128)                                               \
  X(kQwen3Moe, "max_position_embeddings", 32768)                           \
  X(kQwen3Moe, "moe_intermediate_size", 768)                               \
  X(kQwen3Moe, "routed_scaling_factor", 1.0) /* not a key of the family */ \
  X(kQwen3Moe, "norm_topk_prob", false)

// Where a family's key is another one; of several the first that is there counts.
// X(family, key of the lists above, key in its config.json)
#define PENSEE_CONFIG_ALIASES(X)                  \
  X(kQwen3Moe, "n_routed_experts", "num_experts") \
  X(kQwen3Moe, "n_routed_experts", "num_local_experts") /* as transformers 5 writes it */

// What the forward pass has one form of: any other value is kUnsupported.
// X(key, families, value when absent, the one supported value), both as JSON values
#define PENSEE_CONFIG_FIXED(X)                          \
  X("hidden_act", kAll, "silu", "silu")                 \
  X("scoring_func", kDeepseekV3, "sigmoid", "sigmoid")  \
  X("scoring_func", kDeepseekV2, "softmax", "softmax")  \
  X("topk_method", kDeepseekV3, "noaux_tc", "noaux_tc") \
  X("attention_bias", kSaysBias, false, false)          \
  X("mlp_bias", kLlama, false, false)                   \
  X("use_sliding_window", kQwen, false, false)          \
  X("rope_interleave", kMla, true, true)                \
  X("moe_layer_freq", kMla, 1, 1)                       \
  X("decoder_sparse_step", kQwen3Moe, 1, 1)             \
  X("mlp_only_layers", kQwen3Moe, Json::array(), Json::array())

// How a token's experts are chosen: see router.hpp. DeepSeek-V3 has the first, and sigmoid scores;
// the others softmax scores, and DeepSeek-V2 says which of the two.
// X(enumerator, name)
#define PENSEE_TOPK_METHODS(X) \
  X(kNoauxTc, noaux_tc)        \
  X(kGreedy, greedy)           \
  X(kGroupLimitedGreedy, group_limited_greedy)

enum class TopkMethod {
#define PENSEE_X(enumerator, name) enumerator,
  PENSEE_TOPK_METHODS(PENSEE_X)
#undef PENSEE_X
};

// Rotary angles beyond the context that the model was first trained on: YaRN (arXiv:2309.00071),
// or Llama 3's way, which slows the slow rotations alone.
// X(member, key, value when absent, least, most)
#define PENSEE_YARN_DOUBLES(X)                                               \
  X(factor, "factor", kRequiredDouble, 1.0, 1e6)                             \
  X(beta_fast, "beta_fast", 32.0, 1e-3, 1e6)                                 \
  X(beta_slow, "beta_slow", 1.0, 1e-3, 1e6)                                  \
  X(mscale, "mscale", 0.0, 0.0, 100.0)                     /* 0: not set */  \
  X(mscale_all_dim, "mscale_all_dim", 0.0, 0.0, 100.0)     /* 0: not set */  \
  X(attention_factor, "attention_factor", 0.0, 0.0, 100.0) /* 0: computed */ \
  X(attn_factor, "attn_factor", 1.0, 1e-3, 100.0)
#define PENSEE_LLAMA3_DOUBLES(X)                                    \
  X(factor, "factor", kRequiredDouble, 1.0, 1e6)                    \
  X(low_freq_factor, "low_freq_factor", kRequiredDouble, 1e-3, 1e6) \
  X(high_freq_factor, "high_freq_factor", kRequiredDouble, 1e-3, 1e6)

struct RopeScaling {
  enum class Type { kYarn, kLlama3 };
  Type type = Type::kYarn;
  double factor = 0.0;
  double beta_fast = 0.0;  // YaRN, as the next five
  double beta_slow = 0.0;
  double mscale = 0.0;
  double mscale_all_dim = 0.0;
  double attention_factor = 0.0;  // of cosines and sines; 0: YaRN's formula
  double attn_factor = 1.0;       // multiplies that
  double low_freq_factor = 0.0;   // Llama 3, as the next
  double high_freq_factor = 0.0;
  int64_t original_max_position_embeddings = 0;  // tokens
};

struct Config {
  ModelFamily family = ModelFamily::kDeepseekV3;
  std::string model_type;  // the family's name
#define PENSEE_X(member, key, families, fallback, least, most) int64_t member = 0;
  PENSEE_CONFIG_INTS(PENSEE_X)
#undef PENSEE_X
#define PENSEE_X(member, key, families, fallback, least, most) double member = 0.0;
  PENSEE_CONFIG_DOUBLES(PENSEE_X)
#undef PENSEE_X
#define PENSEE_X(member, key, families, fallback) bool member = false;
  PENSEE_CONFIG_BOOLS(PENSEE_X)
#undef PENSEE_X
  TopkMethod topk_method = TopkMethod::kNoauxTc;
  std::optional<RopeScaling> rope_scaling;  // none: plain rotary angles
  // Whether rotated pairs are neighbours (2i, 2i + 1), or half a head apart: follows from the
  // family and from the file's format, as GGUF files of the llama architecture have their rows
  // reordered.
  bool rope_interleave = false;
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_id;  // any of them ends a text; may be empty
  std::string torch_dtype;            // for information; the tensors' own types count
  std::string quant_method;           // "fp8" (e4m3, 128 x 128 blocks), or empty

  // Reads and checks config.json; defined in config_json.hpp. `file` is for messages, which name
  // the key, what was expected and what was found. kUnsupported for what this version cannot
  // compute, kCorruptFile for what no version could.
  static Result<Config> from_json(std::string_view json, const std::string& file);
  static Result<Config> from_json(const JsonView& root);

  // Every field of the family by its key in config.json, in words, for people.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> fields() const;

  [[nodiscard]] bool is_one_of(unsigned set) const noexcept {
    return (static_cast<unsigned>(family) & set) != 0;
  }
  // Multi-head latent attention; otherwise grouped-query attention.
  [[nodiscard]] bool has_mla() const noexcept {
    return is_one_of(families::kMla);
  }
  [[nodiscard]] bool has_qkv_bias() const noexcept {
    return is_one_of(families::kQwen2);
  }
  // RMSNorm of each head of queries and keys before they are rotated.
  [[nodiscard]] bool has_qk_norm() const noexcept {
    return is_one_of(families::kQwen3 | families::kQwen3Moe);
  }
  [[nodiscard]] int64_t qk_head_dim() const noexcept {
    return has_mla() ? qk_nope_head_dim + qk_rope_head_dim : head_dim;
  }
  // Tokens that the model can have before it: YaRN slows the rotations for more of them, whatever
  // max_position_embeddings says.
  [[nodiscard]] int64_t context_limit() const noexcept {
    if (!rope_scaling || rope_scaling->type != RopeScaling::Type::kYarn) {
      return max_position_embeddings;
    }
    constexpr double kMost = 1 << 28;
    const double slowed =
        rope_scaling->factor * static_cast<double>(rope_scaling->original_max_position_embeddings);
    return std::max(max_position_embeddings, static_cast<int64_t>(std::min(slowed, kMost)));
  }
  // The dimensions of each head that are rotated.
  [[nodiscard]] int64_t rope_dim() const noexcept {
    return has_mla() ? qk_rope_head_dim : head_dim;
  }
  // Inputs of o_proj.
  [[nodiscard]] int64_t attention_size() const noexcept {
    return n_heads * (has_mla() ? v_head_dim : head_dim);
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
  unsigned families;
  T fallback;
  T least;
  T most;
};

using namespace families;  // for the lists
#define PENSEE_X(member, key, families, fallback, least, most) \
  {&Config::member, key, families, fallback, least, most},
inline constexpr Row<Config, int64_t> kInts[] = {PENSEE_CONFIG_INTS(PENSEE_X)};
inline constexpr Row<Config, double> kDoubles[] = {PENSEE_CONFIG_DOUBLES(PENSEE_X)};
#undef PENSEE_X
#define PENSEE_X(member, key, families, fallback) \
  {&Config::member, key, families, fallback, false, true},
inline constexpr Row<Config, bool> kBools[] = {PENSEE_CONFIG_BOOLS(PENSEE_X)};
#undef PENSEE_X
#define PENSEE_X(member, key, fallback, least, most) \
  {&RopeScaling::member, key, kAll, fallback, least, most},
inline constexpr Row<RopeScaling, double> kYarnDoubles[] = {PENSEE_YARN_DOUBLES(PENSEE_X)};
inline constexpr Row<RopeScaling, double> kLlama3Doubles[] = {PENSEE_LLAMA3_DOUBLES(PENSEE_X)};
#undef PENSEE_X

// The key of a list above as the family's config.json has it.
inline std::string_view key_of(ModelFamily family, std::string_view key) {
#define PENSEE_X(of, list_key, own_key) \
  if (family == ModelFamily::of && key == list_key) return own_key;
  PENSEE_CONFIG_ALIASES(PENSEE_X)
#undef PENSEE_X
  return key;
}

inline std::string_view name_of(TopkMethod method) {
#define PENSEE_X(enumerator, name) \
  if (method == TopkMethod::enumerator) return #name;
  PENSEE_TOPK_METHODS(PENSEE_X)
#undef PENSEE_X
  return "";
}

// The shortest text that reads back as the same number.
inline std::string number_text(double value) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return std::string(buffer.data(), end);
}

// The value of a row, in words.
inline std::string text_of(int64_t value) {
  return std::to_string(value);
}
inline std::string text_of(double value) {
  return number_text(value);
}
inline std::string text_of(bool value) {
  return value ? "true" : "false";
}

inline std::string text_of(const std::optional<RopeScaling>& scaling) {
  if (!scaling) return "none";
  const bool is_yarn = scaling->type == RopeScaling::Type::kYarn;
  std::string text = std::string(is_yarn ? "yarn" : "llama3") +
                     ", original_max_position_embeddings " +
                     std::to_string(scaling->original_max_position_embeddings);
  const auto rows = is_yarn ? std::span<const Row<RopeScaling, double>>(kYarnDoubles)
                            : std::span<const Row<RopeScaling, double>>(kLlama3Doubles);
  for (const auto& row : rows) {
    text += std::string(", ") + row.key + " " + number_text((*scaling).*row.member);
  }
  return text;
}

}  // namespace config_detail

inline std::vector<std::pair<std::string, std::string>> Config::fields() const {
  using config_detail::text_of;
  std::vector<std::pair<std::string, std::string>> out{{"model_type", model_type}};
  const auto add_rows = [&](const auto& rows) {
    for (const auto& row : rows) {
      if (!is_one_of(row.families)) continue;
      out.emplace_back(config_detail::key_of(family, row.key), text_of(this->*row.member));
    }
  };
  add_rows(config_detail::kInts);
  add_rows(config_detail::kDoubles);
  add_rows(config_detail::kBools);
  if (is_one_of(families::kDeepseekV2)) {
    out.emplace_back("topk_method", config_detail::name_of(topk_method));
  }
#define PENSEE_X(key, set, fallback, supported) \
  if (is_one_of(families::set)) out.emplace_back(key, Json(supported).dump());
  PENSEE_CONFIG_FIXED(PENSEE_X)
#undef PENSEE_X
  out.emplace_back("rope_scaling", text_of(rope_scaling));
  out.emplace_back("bos_token_id", bos_token_id ? std::to_string(*bos_token_id) : "none");
  std::string eos;
  for (const int32_t id : eos_token_id) eos += (eos.empty() ? "" : ", ") + std::to_string(id);
  out.emplace_back("eos_token_id", eos.empty() ? "none" : eos);
  out.emplace_back("torch_dtype", torch_dtype.empty() ? "none" : torch_dtype);
  out.emplace_back("quant_method", quant_method.empty() ? "none" : quant_method);
  return out;
}

}  // namespace pensee
