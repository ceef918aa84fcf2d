/* Register-resident loops that reach a core's arithmetic peak. Like the kernel table, plain C
 * declarations only: the files that define them are compiled with their own flags. */
#pragma once

#include <stdint.h>

/* Runs `rounds` rounds on the calling thread; returns the operations done, where a multiplication
 * and the addition of its product count as two. The machine must have the instructions. */
typedef uint64_t (*PeakFn)(uint64_t rounds);

uint64_t peak_f32_avx2(uint64_t rounds);     /* AVX2, FMA */
uint64_t peak_int8_avx2(uint64_t rounds);    /* AVX2: maddubs, added in 16 bits */
uint64_t peak_int8_avxvnni(uint64_t rounds); /* AVX-VNNI */
uint64_t peak_f32_avx512(uint64_t rounds);   /* AVX512F */
uint64_t peak_int8_avx512(uint64_t rounds);  /* AVX512_VNNI */
uint64_t peak_bf16_avx512(uint64_t rounds);  /* AVX512_BF16 */

/* The sum of the 64-bit words of `bytes` bytes at `data`, both multiples of 512: reads as fast as
 * the machine allows. */
typedef uint64_t (*ReadFn)(const void* data, uint64_t bytes);

uint64_t read_avx2(const void* data, uint64_t bytes);
uint64_t read_avx512(const void* data, uint64_t bytes);
