#include "pensee/io/gguf_other_types.hpp"

#include <doctest/doctest.h>

#include <string>

#include "pensee/io/gguf.hpp"

TEST_CASE("types that are not read have their names, and none of them is read") {
  CHECK(pensee::describe_other_type(34) == "type TQ1_0 (34) is not supported");
  CHECK(pensee::describe_other_type(40) == "type NVFP4 (40) is not supported");
  CHECK(pensee::describe_other_type(340) ==
        "type IQ5_K_R4 (340) is one of ik_llama.cpp's own, which are not supported; files of "
        "mainline llama.cpp load");
  CHECK(pensee::describe_other_type(400) == "unknown tensor type 400");
#define PENSEE_X(number, name) CHECK(!pensee::dtype_from_gguf(number));
  PENSEE_GGML_OTHER_TYPES(PENSEE_X)
  PENSEE_IK_LLAMA_TYPES(PENSEE_X)
#undef PENSEE_X
}
