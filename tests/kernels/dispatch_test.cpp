// The list of kernel tables. What PENSEE_MAX_CPU_ISA does to it is tested by kernels_choice.
#include "pensee/kernels/dispatch.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "kernels/tables.hpp"

namespace pensee::test {

TEST_CASE("The list is best first, without repetition, and ends with the reference") {
  const std::vector<std::string> order = {"amx", "avx512", "avxvnni", "avx2", "reference"};
  size_t next = 0;
  for (const KernelTable* table : compiled_kernels()) {
    while (next < order.size() && order[next] != table->name) ++next;
    CHECK_MESSAGE(next < order.size(), "unexpected or misplaced table ", table->name);
    ++next;
  }
  CHECK(compiled_kernels().back() == &reference_kernels());
  CHECK(&best_kernels() == compiled_kernels().front());
  CHECK(compiled_kernels().data() == compiled_kernels().data());
}

#if PENSEE_TEST_AVX512
TEST_CASE("Zen 4 has the table for processors that halve operations") {
  const KernelTable* best = &best_kernels();
  if (best != &avx512::kTable && best != &avx512::kHalvedTable) return;
  std::ifstream file("/proc/cpuinfo");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const bool is_zen4 =
      text.find("AuthenticAMD") != text.npos && text.find("cpu family\t: 25\n") != text.npos;
  CHECK((best == &avx512::kHalvedTable) == is_zen4);
}
#endif

TEST_CASE("Every table is complete") {
  for (const KernelTable* table : compiled_kernels()) {
    for (int type = 0; type < kKernelTypes; ++type) {
      CHECK((table->dot_rows[type] != nullptr));
      CHECK((table->add_rows[type] != nullptr));
      CHECK((table->unpack_rows[type] != nullptr));
      CHECK((table->dot_rows_q8[type] != nullptr) == is_block(type));
    }
    CHECK((table->quantize_q8 != nullptr));
    CHECK((table->quantize_q8_part != nullptr));
    CHECK((table->find_q8_levels != nullptr));
    CHECK((table->rms_norm != nullptr));
    CHECK((table->silu_mul != nullptr));
    CHECK((table->block_max != nullptr));
    CHECK((table->block_sum_exp != nullptr));
    for (const AttentionKernels* attention : {&table->attention, &table->attention_f32}) {
      for (int storage = 0; storage < CacheStorage::kCount; ++storage) {
        CHECK((attention->pack_transposed[storage] != nullptr));
        CHECK((attention->pack_right[storage] != nullptr));
      }
      CHECK((attention->pack_left != nullptr));
      CHECK((attention->pack_left_rest != nullptr) == (attention->pair == 2));
      CHECK((attention->multiply != nullptr));
      CHECK((attention->soften != nullptr));
    }
    CHECK(table->attention_f32.pair == 1);
  }
}

TEST_CASE("No two tables share a kernel") {
  std::set<DotRowsFn> seen;
  std::vector<NamedTable> tables = fast_tables();
  tables.push_back({"reference", &reference_kernels()});
  for (const NamedTable& named : tables) {
    for (int type = 0; type < kKernelTypes; ++type) {
      CHECK_MESSAGE(seen.insert(named.table->dot_rows[type]).second, named.name);
    }
  }
}

}  // namespace pensee::test
