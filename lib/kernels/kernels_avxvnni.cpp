// The kernel table for AVX2 with FMA, F16C and AVX-VNNI, which multiplies and adds four codes at
// once.
#include "pensee/kernels/table.hpp"
#include "table_avx2-inl.hpp"

namespace pensee::avxvnni {

extern const KernelTable kTable;
const KernelTable kTable = make_narrow_table("avxvnni");

}  // namespace pensee::avxvnni
