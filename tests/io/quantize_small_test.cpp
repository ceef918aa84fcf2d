// quantize_test.cpp has what no block holds exactly.
#include "pensee/io/quantize_small.hpp"

#include <doctest/doctest.h>

#include <cstdint>

#include "io/representable.hpp"

using pensee_test::check_representable;
using pensee_test::put_f16;

TEST_CASE("what a block of 32 can hold comes back exactly") {
  using namespace pensee::quantize_detail;  // NOLINT: the test is of it
  using K = pensee::KernelType;
  // The first code is at the end of the range, as the largest number always is.
  check_representable<K::kQ8_0>(encode_q8_0, [](uint8_t* b) {
    put_f16(b, 0.01F);
    for (int e = 2; e < 34; ++e) b[e] = b[e] == 128 ? 129 : b[e];
    b[2] = 127;
  });
  check_representable<K::kQ4_0>(encode_offset<false>, [](uint8_t* b) {
    put_f16(b, 0.01F);
    b[2] = 0;
  });
  check_representable<K::kQ5_0>(encode_offset<true>, [](uint8_t* b) {
    put_f16(b, -0.01F);
    b[2] &= 0xfe;
    b[6] &= 0xf0;
  });
  check_representable<K::kQ4_1>(encode_min<false>, [](uint8_t* b) {
    put_f16(b, 0.01F);
    put_f16(b + 2, 0.25F);
    b[4] = 0xf0;
  });
  check_representable<K::kQ5_1>(encode_min<true>, [](uint8_t* b) {
    put_f16(b, 0.01F);
    put_f16(b + 2, -0.25F);
    b[8] = 0xf0;
    b[4] &= 0xfe;
    b[6] |= 1;
  });
  check_representable<K::kIQ4_NL>(encode_iq4_nl, [](uint8_t* b) {
    put_f16(b, 0.01F);
    b[2] = 0xf0;
  });
  check_representable<K::kMXFP4>(encode_mxfp4, [](uint8_t* b) {
    b[0] = 120;
    b[1] = 0xf7;
  });
}
