// Which CPUs the program runs on.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pensee/base/result.hpp"

namespace pensee::cli {

// The CPUs that this process may use, in order. Error: kInternal.
[[nodiscard]] Result<std::vector<int>> available_cpus();

// "0-3,8" as numbers, in order. kInvalidArgument if it is no such list, or names a CPU that this
// process may not use.
[[nodiscard]] Result<std::vector<int>> parse_cpus(std::string_view text);
// The reverse.
[[nodiscard]] std::string format_cpus(std::span<const int> cpus);

// Lets the calling thread, and those that it starts from now on, run on these CPUs alone.
[[nodiscard]] Result<void> use_cpus(std::span<const int> cpus);

// Ties each thread that the process has now to one of the CPUs, in turn.
[[nodiscard]] Result<void> pin_threads(std::span<const int> cpus);

}  // namespace pensee::cli
