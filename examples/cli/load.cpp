#include "load.hpp"

#include <filesystem>
#include <system_error>

#include "terminal.hpp"

namespace pensee::cli {

std::string model_path(const ModelOptions& options) {
  if (!options.path.empty()) return options.path;
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  return (program.parent_path() / PENSEE_MODEL_FROM_BIN).lexically_normal().string();
}

Result<std::shared_ptr<const Checkpoint>> open_checkpoint(const ModelOptions& options) {
  ProgressBar bar("opening");
  return Checkpoint::open(model_path(options), [&](double fraction) {
    bar.show(fraction);
    return true;
  });
}

Result<std::shared_ptr<const Transformer>> load_transformer(const ModelOptions& options) {
  PENSEE_ASSIGN_OR_RETURN(auto checkpoint, open_checkpoint(options));
  PENSEE_ASSIGN_OR_RETURN(Config config, read_config(*checkpoint));
  ProgressBar bar("loading");
  TransformerOptions transformer;
  transformer.kernels = &best_kernels();
  transformer.threads = options.threads;
  transformer.progress = [&](double fraction) {
    bar.show(fraction);
    return true;
  };
  return Transformer::load(std::move(checkpoint), std::move(config), transformer);
}

}  // namespace pensee::cli
