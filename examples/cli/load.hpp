// Opens what the command line names, with a progress bar.
#pragma once

#include <memory>

#include "pensee/kernels/dispatch.hpp"
#include "pensee/model/read_config.hpp"
#include "pensee/model/transformer.hpp"
#include "run_options.hpp"

namespace pensee::cli {

// The path given, or the bundled model's.
[[nodiscard]] std::string model_path(const ModelOptions& options);

[[nodiscard]] Result<std::shared_ptr<const Checkpoint>> open_checkpoint(
    const ModelOptions& options);
[[nodiscard]] Result<std::shared_ptr<const Transformer>> load_transformer(
    const ModelOptions& options);

}  // namespace pensee::cli
