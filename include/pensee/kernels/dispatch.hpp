// The kernel tables that this machine can run, best first. Needs the compiled library
// (pensee::pensee); header-only users have reference_kernels().
#pragma once

#include <span>

#include "pensee/kernels/table.hpp"

namespace pensee {

// Every compiled table whose instruction set both the processor and the operating system support,
// best first. Never empty: the last one is reference_kernels(). Decided once, at the first call,
// and the same for the life of the program; safe from any thread.
//
// The environment variable PENSEE_MAX_CPU_ISA, one of "reference", "avx2", "avxvnni", "avx512",
// "amx", leaves out every better table. Unset or empty, it changes nothing. Any other value leaves
// the reference table alone: whoever sets a limit wants no instruction set that was not named, and
// a misspelt limit then shows in the name of the table instead of passing unnoticed.
[[nodiscard]] std::span<const KernelTable* const> compiled_kernels();

// The first of compiled_kernels().
[[nodiscard]] const KernelTable& best_kernels();

}  // namespace pensee
