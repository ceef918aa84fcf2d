// The choice of kernels, made once at run time. The only file of the library that reads the
// environment, but for the time zone, where a chat template asks for the date.
#include "pensee/kernels/dispatch.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string_view>

#if PENSEE_HAVE_AVX2
#  include <cpuid.h>
#endif
#if PENSEE_HAVE_AVX512
#  include <sys/syscall.h>
#  include <unistd.h>
#endif

#include "pensee/kernels/onednn_matmul.hpp"
#include "pensee/kernels/reference.hpp"

namespace pensee {

// Defined by the kernel files, each compiled for its own instruction set.
#if PENSEE_HAVE_AVX2
namespace avx2 {
extern const KernelTable kTable;
}
#endif
#if PENSEE_HAVE_AVXVNNI
namespace avxvnni {
extern const KernelTable kTable;
}
#endif
#if PENSEE_HAVE_AVX512
namespace avx512 {
extern const KernelTable kTable;
extern const KernelTable kHalvedTable;
extern const KernelTable kTiledTable;
}  // namespace avx512
#endif

namespace {

// The conditions name the flags in cmake/isa_flags.cmake. __builtin_cpu_supports also asks whether
// the operating system saves the wide registers.
#if PENSEE_HAVE_AVX2
struct Cpuid {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
};
// For features by their bits: GCC 12 and Clang 14 do not know all of their names. Zeros where the
// processor has no such leaf.
Cpuid cpuid(unsigned leaf, unsigned subleaf) {
  Cpuid found;
  __get_cpuid_count(leaf, subleaf, &found.eax, &found.ebx, &found.ecx, &found.edx);
  return found;
}
#endif
#if PENSEE_HAVE_AVX512
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}
// Zen 4, the only processor of its family with AVX-512, carries it out in halves.
bool has_halved_avx512() {
  return has_avx512() && __builtin_cpu_is("amdfam19h");
}
bool has_whole_avx512() {
  return has_avx512() && !has_halved_avx512();
}
// Whether the processor has AMX with bfloat16, Linux lets processes that ask use it, and oneDNN
// will.
bool has_amx() {
  constexpr unsigned kFeatures = (1U << 22) | (1U << 24);  // AMX-BF16, AMX-TILE
  if (!has_whole_avx512() || (cpuid(7, 0).edx & kFeatures) != kFeatures) return false;
  constexpr int kGetSupported = 0x1021;  // ARCH_GET_XCOMP_SUPP, since Linux 5.16
  constexpr uint64_t kTiles = (uint64_t{1} << 17) | (uint64_t{1} << 18);
  uint64_t supported = 0;
  return ::syscall(SYS_arch_prctl, kGetSupported, &supported) == 0 &&
         (supported & kTiles) == kTiles && onednn_uses_amx();
}
#endif
#if PENSEE_HAVE_AVX2
bool has_avx2() {
  constexpr unsigned kF16c = 1U << 29;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         (cpuid(1, 0).ecx & kF16c) != 0;
}
#endif
#if PENSEE_HAVE_AVXVNNI
bool has_avxvnni() {
  constexpr unsigned kAvxVnni = 1U << 4;
  return has_avx2() && cpuid(7, 0).eax >= 1 && (cpuid(7, 1).eax & kAvxVnni) != 0;
}
#endif

struct Candidate {
  const KernelTable* table;
  bool (*supported)();
};

// Best first.
constexpr Candidate kCandidates[] = {
#if PENSEE_HAVE_AVX512
    {&avx512::kTiledTable, has_amx},
    {&avx512::kTable, has_whole_avx512},
    {&avx512::kHalvedTable, has_halved_avx512},
#endif
#if PENSEE_HAVE_AVXVNNI
    {&avxvnni::kTable, has_avxvnni},
#endif
#if PENSEE_HAVE_AVX2
    {&avx2::kTable, has_avx2},
#endif
    {nullptr, [] { return true; }},  // stands for the reference table, which is no constant
};

// Names of instruction sets, best first, compiled in or not.
constexpr std::string_view kIsaNames[] = {"amx", "avx512", "avxvnni", "avx2", "reference"};

// Whether `cap`, the value of PENSEE_MAX_CPU_ISA, allows the instruction set.
bool allowed(std::string_view isa, std::string_view cap) {
  if (cap.empty()) return true;
  bool cap_seen = false;
  for (const std::string_view name : kIsaNames) {
    cap_seen = cap_seen || name == cap;
    if (name == isa) return cap_seen;
  }
  return false;
}

struct Choice {
  std::array<const KernelTable*, std::size(kCandidates)> tables{};
  size_t count = 0;

  Choice() {
    const char* variable = std::getenv("PENSEE_MAX_CPU_ISA");
    const std::string_view cap = variable == nullptr ? "" : variable;
#if PENSEE_HAVE_AVX2
    __builtin_cpu_init();
#endif
    for (const Candidate& candidate : kCandidates) {
      const bool is_reference = candidate.table == nullptr;
      const KernelTable* table = is_reference ? &reference_kernels() : candidate.table;
      if (is_reference || (allowed(table->name, cap) && candidate.supported())) {
        tables[count++] = table;
      }
    }
  }
};

}  // namespace

std::span<const KernelTable* const> compiled_kernels() {
  static const Choice choice;
  return {choice.tables.data(), choice.count};
}

const KernelTable& best_kernels() {
  return *compiled_kernels().front();
}

}  // namespace pensee
