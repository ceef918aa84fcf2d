// The types of tensors in GGUF files that are not read here, by their names, for messages.
#pragma once

#include <cstdint>
#include <string>

namespace pensee {

// Those of ggml, as llama.cpp has it. X(number in files, name)
#define PENSEE_GGML_OTHER_TYPES(X) \
  X(9, "Q8_1")                     \
  X(15, "Q8_K")                    \
  X(31, "Q4_0_4_4")                \
  X(32, "Q4_0_4_8")                \
  X(33, "Q4_0_8_8")                \
  X(34, "TQ1_0")                   \
  X(35, "TQ2_0")                   \
  X(40, "NVFP4")                   \
  X(41, "Q1_0")                    \
  X(42, "Q2_0")

// Those that ik_llama.cpp, a fork of it, has of its own: by its ggml.h. "_R4" and the like have
// rows interleaved.
#define PENSEE_IK_LLAMA_TYPES(X) \
  X(36, "I2_S")                  \
  X(133, "Q6_0")                 \
  X(134, "IQ1_BN")               \
  X(135, "IQ2_BN")               \
  X(137, "IQ2_K")                \
  X(138, "IQ3_K")                \
  X(139, "IQ4_K")                \
  X(140, "IQ5_K")                \
  X(141, "IQ6_K")                \
  X(144, "IQ4_KS")               \
  X(145, "IQ2_KS")               \
  X(146, "IQ4_KSS")              \
  X(151, "Q8_KV")                \
  X(152, "IQ5_KS")               \
  X(153, "IQ2_KT")               \
  X(154, "IQ3_KT")               \
  X(155, "IQ4_KT")               \
  X(156, "IQ3_KS")               \
  X(157, "IQ2_KL")               \
  X(158, "IQ1_KT")               \
  X(202, "Q4_0_R8")              \
  X(206, "Q5_0_R4")              \
  X(208, "Q8_0_R8")              \
  X(210, "Q2_K_R4")              \
  X(211, "Q3_K_R4")              \
  X(212, "Q4_K_R4")              \
  X(213, "Q5_K_R4")              \
  X(214, "Q6_K_R4")              \
  X(216, "IQ2_XXS_R4")           \
  X(217, "IQ2_XS_R4")            \
  X(218, "IQ3_XXS_R4")           \
  X(219, "IQ1_S_R4")             \
  X(220, "IQ4_NL_R4")            \
  X(221, "IQ3_S_R4")             \
  X(222, "IQ2_S_R4")             \
  X(223, "IQ4_XS_R8")            \
  X(229, "IQ1_M_R4")             \
  X(230, "BF16_R16")             \
  X(233, "Q6_0_R4")              \
  X(335, "IQ2_BN_R4")            \
  X(337, "IQ2_K_R4")             \
  X(338, "IQ3_K_R4")             \
  X(339, "IQ4_K_R4")             \
  X(340, "IQ5_K_R4")             \
  X(344, "IQ4_KS_R4")            \
  X(352, "IQ5_KS_R4")            \
  X(353, "MXFP4_R8")             \
  X(397, "Q8_K_R16")             \
  X(398, "Q8_KV_R8")             \
  X(399, "Q8_K_R8")

// What is wrong with a type that is not read, naming it where its number is known.
[[nodiscard]] inline std::string describe_other_type(uint32_t number) {
  const std::string in_brackets = " (" + std::to_string(number) + ")";
  switch (number) {
#define PENSEE_X(value, name) \
  case value:                 \
    return "type " name + in_brackets + " is not supported";
    PENSEE_GGML_OTHER_TYPES(PENSEE_X)
#undef PENSEE_X
#define PENSEE_X(value, name)                                                                     \
  case value:                                                                                     \
    return "type " name + in_brackets +                                                           \
           " is one of ik_llama.cpp's own, which are not supported; files of mainline llama.cpp " \
           "load";
    PENSEE_IK_LLAMA_TYPES(PENSEE_X)
#undef PENSEE_X
    default:
      return "unknown tensor type " + std::to_string(number);
  }
}

}  // namespace pensee
