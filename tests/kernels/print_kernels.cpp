// Prints the names of the tables that this process may run, best first, one a line.
#include <cstdio>

#include "pensee/kernels/dispatch.hpp"

int main() {
  for (const pensee::KernelTable* table : pensee::compiled_kernels()) std::puts(table->name);
  return pensee::compiled_kernels().front() == &pensee::best_kernels() ? 0 : 1;
}
