// The commands of the program. Each returns the exit code, or an error that main prints.
#pragma once

#include <string>

#include "pensee/base/result.hpp"
#include "run_options.hpp"

namespace pensee::cli {

[[nodiscard]] Result<int> run_ask(const AskOptions& options);
[[nodiscard]] Result<int> run_chat(const AskOptions& options);
[[nodiscard]] Result<int> run_info(const InfoOptions& options);
[[nodiscard]] Result<int> run_quantize(const QuantizeCommand& command);
[[nodiscard]] Result<int> run_tokenize(const ModelOptions& options, const std::string& text);
[[nodiscard]] Result<int> run_logits(const LogitsOptions& options);
[[nodiscard]] Result<int> run_bench(BenchOptions options);

}  // namespace pensee::cli
