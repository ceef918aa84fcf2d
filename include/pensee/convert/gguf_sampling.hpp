// What generation_config.json advises, as GGUF files say it: generation_config.hpp reads it back.
#pragma once

#include "pensee/base/result.hpp"
#include "pensee/decode/generation_config.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/gguf_header.hpp"

namespace pensee {

// Sets a key for each setting that the checkpoint advises. Errors: those of read_generation_config.
[[nodiscard]] inline Result<void> set_sampling_keys(const Checkpoint& checkpoint,
                                                    GgufHeader& header) {
  PENSEE_ASSIGN_OR_RETURN(const GenerationConfig config, read_generation_config(checkpoint));
#define PENSEE_X(name, key, gguf_key) \
  if (config.sampler.name) header.set(gguf_key, *config.sampler.name);
  PENSEE_SAMPLING_ADVICE(PENSEE_X)
#undef PENSEE_X
  return {};
}

}  // namespace pensee
