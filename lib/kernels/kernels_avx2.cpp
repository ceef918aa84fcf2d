// The kernel table for AVX2 with FMA and F16C.
#include "pensee/kernels/table.hpp"
#include "table_avx2-inl.hpp"

namespace pensee::avx2 {

extern const KernelTable kTable;
const KernelTable kTable = make_narrow_table("avx2");

}  // namespace pensee::avx2
