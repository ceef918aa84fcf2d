// The configuration of a checkpoint, wherever its format has it.
#pragma once

#include <string>

#include "pensee/base/result.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/model/config_gguf.hpp"
#include "pensee/model/config_json.hpp"

namespace pensee {

inline constexpr const char* kConfigFile = "config.json";

// From the metadata of a GGUF file, else from config.json. Errors: those of config_from_gguf,
// Checkpoint::read_text and Config::from_json.
[[nodiscard]] inline Result<Config> read_config(const Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) return config_from_gguf(*checkpoint.gguf(), checkpoint);
  PENSEE_ASSIGN_OR_RETURN(const std::string json, checkpoint.read_text(kConfigFile));
  return Config::from_json(json, checkpoint.path_of(kConfigFile));
}

}  // namespace pensee
