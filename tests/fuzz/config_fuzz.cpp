// config.json, and what a session of such a model would need.
#include <array>

#include "fuzz.hpp"
#include "pensee/model/config_json.hpp"
#include "pensee/model/sequence.hpp"

std::span<const std::string_view> pensee::fuzz::words() {
  static constexpr auto kWords =
      std::to_array<std::string_view>({"\"model_type\":",
                                       "\"deepseek_v3\"",
                                       "\"deepseek_v2\"",
                                       "\"qwen2\"",
                                       "\"llama\"",
                                       "\"qwen3\"",
                                       "\"qwen3_moe\"",
                                       "\"hidden_size\":",
                                       "\"num_hidden_layers\":",
                                       "\"num_attention_heads\":",
                                       "\"num_key_value_heads\":",
                                       "\"head_dim\":",
                                       "\"vocab_size\":",
                                       "\"max_position_embeddings\":",
                                       "\"rope_scaling\":{",
                                       "\"rope_type\":",
                                       "\"yarn\"",
                                       "\"llama3\"",
                                       "\"factor\":",
                                       "\"original_max_position_embeddings\":",
                                       "\"eos_token_id\":[",
                                       "\"n_group\":",
                                       "\"topk_group\":",
                                       "\"n_routed_experts\":",
                                       "\"kv_lora_rank\":",
                                       "\"q_lora_rank\":null",
                                       "\"tie_word_embeddings\":true",
                                       "null",
                                       "true",
                                       "false",
                                       "{}",
                                       "[]",
                                       "-1",
                                       "1e400",
                                       "0.0",
                                       "1e-320",
                                       "\"quantization_config\":{",
                                       "[128,128]",
                                       "\\ud800"});
  return kWords;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pensee;
  const auto config = Config::from_json(fuzz::text_of(data, size), "f");
  if (!config) {
    FUZZ_CHECK_ERROR(config.error());
    return 0;
  }
  FUZZ_CHECK(!config->fields().empty());
  for (const int64_t context : {int64_t{0}, int64_t{1}, config->max_position_embeddings}) {
    SequenceOptions options;
    options.context_length = context;
    const auto bytes = Sequence::estimate_memory(*config, options, 8);
    FUZZ_CHECK(bytes.ok() ? *bytes > 0 : !bytes.error().message.empty());
  }
  return 0;
}
