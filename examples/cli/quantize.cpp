// quantize: writes a model as a GGUF file of other types.
#include "commands.hpp"
#include "load.hpp"
#include "pensee/convert/quantize_file.hpp"
#include "terminal.hpp"

namespace pensee::cli {
namespace {

Result<TypeChoice> read_types(const QuantizeCommand& command) {
  PENSEE_ASSIGN_OR_RETURN(const DType type, parse_quantizer_name(command.type));
  TypeChoice types(type);
  if (command.output_type) {
    PENSEE_ASSIGN_OR_RETURN(const DType output, parse_quantizer_name(*command.output_type));
    types.set_output(output);
  }
  if (command.embedding_type) {
    PENSEE_ASSIGN_OR_RETURN(const DType embedding, parse_quantizer_name(*command.embedding_type));
    types.set_embedding(embedding);
  }
  for (const std::string& rule : command.overrides) {
    PENSEE_RETURN_IF_ERROR(types.add_override(rule));
  }
  return types;
}

}  // namespace

Result<int> run_quantize(const QuantizeCommand& command) {
  QuantizeOptions options;
  PENSEE_ASSIGN_OR_RETURN(options.types, read_types(command));
  options.mtp = command.mtp;
  options.threads = command.model.threads;
  options.kernels = &best_kernels();
  PENSEE_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(command.model));
  QuantizeReport report;
  {
    ProgressBar bar("writing");
    options.progress = [&](double fraction) {
      bar.show(fraction);
      return true;
    };
    PENSEE_ASSIGN_OR_RETURN(report, quantize_file(*checkpoint, command.out, options));
  }
  if (report.tensors_kept > 0) {
    write_error("went on after " + std::to_string(report.tensors_kept) + " of " +
                std::to_string(report.tensors) + " tensors\n");
  }
  write_out(command.out + ": " + std::to_string(report.tensors) + " tensors, " +
            mebibytes(report.bytes) + ", before " + mebibytes(checkpoint->bytes()) + "\n");
  return 0;
}

}  // namespace pensee::cli
