/* The element types that weight matrices may have. A list of its own, and plain C, because the
 * kernel files see it too. */
#pragma once

/* X(enumerator, bytes a block, elements a block, name). A row of a matrix holds whole blocks. The
 * types with one element a block are named as in safetensors files, the others as ggml names them
 * and exactly as GGUF files hold them. */
#define PENSEE_WEIGHT_TYPE_LIST(X) \
  X(kF32, 4, 1, "F32")             \
  X(kF16, 2, 1, "F16")             \
  X(kBF16, 2, 1, "BF16")           \
  X(kF8E4M3, 1, 1, "F8_E4M3")      \
  X(kQ8_0, 34, 32, "Q8_0")         \
  X(kQ4_0, 18, 32, "Q4_0")         \
  X(kQ4_1, 20, 32, "Q4_1")         \
  X(kQ5_0, 22, 32, "Q5_0")         \
  X(kQ5_1, 24, 32, "Q5_1")         \
  X(kQ2_K, 84, 256, "Q2_K")        \
  X(kQ3_K, 110, 256, "Q3_K")       \
  X(kQ4_K, 144, 256, "Q4_K")       \
  X(kQ5_K, 176, 256, "Q5_K")       \
  X(kQ6_K, 210, 256, "Q6_K")       \
  X(kIQ1_S, 50, 256, "IQ1_S")      \
  X(kIQ1_M, 56, 256, "IQ1_M")      \
  X(kIQ2_XXS, 66, 256, "IQ2_XXS")  \
  X(kIQ2_XS, 74, 256, "IQ2_XS")    \
  X(kIQ2_S, 82, 256, "IQ2_S")      \
  X(kIQ3_XXS, 98, 256, "IQ3_XXS")  \
  X(kIQ3_S, 110, 256, "IQ3_S")     \
  X(kIQ4_NL, 18, 32, "IQ4_NL")     \
  X(kIQ4_XS, 136, 256, "IQ4_XS")   \
  X(kMXFP4, 17, 32, "MXFP4")
