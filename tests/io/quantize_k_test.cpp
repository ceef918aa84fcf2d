// quantize_test.cpp has what no block holds exactly.
#include "pensee/io/quantize_k.hpp"

#include <doctest/doctest.h>

#include <cstdint>

#include "io/representable.hpp"

using pensee_test::check_representable;
using pensee_test::put_f16;

TEST_CASE("what a block of 256 can hold comes back exactly") {
  using namespace pensee::quantize_detail;  // NOLINT: the test is of it
  using K = pensee::KernelType;
  // Every group has codes at both ends of the range, and some group has the largest scale.
  const auto ends_of_q = [](uint8_t* qs, int bytes_a_pair) {
    for (int at = 0; at < 128; at += bytes_a_pair) {
      qs[at] = 0;
      qs[at + 1] = 0xff;
    }
  };
  check_representable<K::kQ4_K>(encode_q45_k<false>, [&](uint8_t* b) {
    put_f16(b, 0.01F);
    put_f16(b + 2, 0.02F);
    for (int g = 0; g < 8; ++g) b[4 + g] |= 32;
    b[4] = b[8] = 63;
    ends_of_q(b + 16, 32);
  });
  check_representable<K::kQ5_K>(encode_q45_k<true>, [&](uint8_t* b) {
    put_f16(b, 0.01F);
    put_f16(b + 2, 0.02F);
    for (int g = 0; g < 8; ++g) b[4 + g] |= 32;
    b[4] = b[8] = 63;
    ends_of_q(b + 48, 32);
    b[16] = 0;
    b[17] = 0xff;
  });
  check_representable<K::kQ2_K>(encode_q2_k, [](uint8_t* b) {
    put_f16(b + 80, 0.01F);
    put_f16(b + 82, 0.02F);
    for (int g = 0; g < 16; ++g) b[g] |= 0x88;
    b[0] = 0xff;
    for (int at = 16; at < 80; at += 16) {
      b[at] = 0;
      b[at + 1] = 0xff;
    }
  });
  check_representable<K::kQ3_K>(encode_q3_k, [](uint8_t* b) {
    put_f16(b + 108, 0.01F);
    b[96] &= 0xf0;  // the first scale is -32
    b[104] &= 0xfc;
    for (int at = 32; at < 96; at += 16) b[at] = 0;
    b[0] = b[16] = 0;
  });
  check_representable<K::kQ6_K>(encode_q6_k, [](uint8_t* b) {
    put_f16(b + 208, 0.01F);
    b[192] = 0x80;
    for (int at = 0; at < 128; at += 16) b[at] = 0;
    for (int at = 128; at < 192; at += 16) b[at] = 0;
  });
  check_representable<K::kIQ4_XS>(encode_iq4_xs, [](uint8_t* b) {
    put_f16(b, 0.01F);
    b[2] &= 0xfc;
    b[4] &= 0xf0;
    for (int at = 8; at < 136; at += 16) b[at] = 0xf0;
  });
}
