#include "pensee/convert/type_choice.hpp"

#include <doctest/doctest.h>

#include <string>

using pensee::DType;
using pensee::Shape;
using pensee::Status;
using pensee::TypeChoice;

namespace {

DType chosen(const TypeChoice& types, const std::string& name, const Shape& shape,
             bool is_tied = false) {
  const auto type = types.choose(name, shape, is_tied);
  REQUIRE_MESSAGE(type.ok(), type.error().message);
  return *type;
}

}  // namespace

TEST_CASE("which type a tensor gets") {
  TypeChoice types(DType::kQ4_K);
  const Shape matrix{{512, 512}, 2};
  CHECK(chosen(types, "blk.0.attn_q.weight", matrix) == DType::kQ4_K);
  CHECK(chosen(types, "blk.0.ffn_down_exps.weight", {{4, 512, 512}, 3}) == DType::kQ4_K);
  CHECK(chosen(types, "blk.0.attn_norm.weight", {{512}, 1}) == DType::kF32);
  CHECK(chosen(types, "blk.0.attn_q.bias", {{512}, 1}) == DType::kF32);
  CHECK(chosen(types, "blk.0.ffn_gate_inp.weight", matrix) == DType::kF32);
  CHECK(chosen(types, "token_embd.weight", matrix) == DType::kQ4_K);
  CHECK(chosen(types, "token_embd.weight", matrix, true) == DType::kQ6_K);
  CHECK(chosen(types, "output.weight", matrix) == DType::kQ6_K);
  CHECK(chosen(TypeChoice(DType::kQ8_0), "output.weight", matrix) == DType::kQ8_0);
  CHECK(chosen(TypeChoice(DType::kF16), "output.weight", matrix) == DType::kF16);
  types.set_output(DType::kQ8_0);
  types.set_embedding(DType::kF16);
  CHECK(chosen(types, "output.weight", matrix) == DType::kQ8_0);
  CHECK(chosen(types, "token_embd.weight", matrix, true) == DType::kF16);
}

TEST_CASE("rows that blocks do not divide") {
  const TypeChoice types(DType::kQ4_K);
  CHECK(chosen(types, "t", {{8, 128}, 2}) == DType::kQ5_0);
  CHECK(chosen(types, "t", {{8, 100}, 2}) == DType::kF16);
  CHECK(pensee::type_that_divides(DType::kQ6_K, 64) == DType::kQ8_0);
  CHECK(pensee::type_that_divides(DType::kQ2_K, 64) == DType::kIQ4_NL);
  CHECK(pensee::type_that_divides(DType::kF32, 3) == DType::kF32);
#define PENSEE_X(type, function) CHECK(pensee::gguf_file_type(DType::type) < 1024);
  PENSEE_QUANTIZER_LIST(PENSEE_X)
#undef PENSEE_X
}

TEST_CASE("overrides, the first that occurs in the name") {
  TypeChoice types(DType::kQ4_K);
  REQUIRE(types.add_override("ffn_down.*=q6_k").ok());
  REQUIRE(types.add_override("blk\\.0\\.=F16").ok());
  REQUIRE(types.add_override("norm=bf16").ok());
  const Shape matrix{{512, 512}, 2};
  CHECK(chosen(types, "blk.0.ffn_down.weight", matrix) == DType::kQ6_K);
  CHECK(chosen(types, "blk.0.ffn_gate.weight", matrix) == DType::kF16);
  CHECK(chosen(types, "blk.10.ffn_gate.weight", matrix) == DType::kQ4_K);
  CHECK(chosen(types, "output_norm.weight", {{512}, 1}) == DType::kBF16);
  const auto odd = types.choose("blk.1.ffn_down.weight", {{512, 100}, 2}, false);
  CHECK(odd.error().status == Status::kInvalidArgument);
  CHECK(odd.error().message ==
        "tensor blk.1.ffn_down.weight: expected rows of whole blocks for Q6_K, found (512, 100)");
  REQUIRE(types.add_override("vector=q8_0").ok());
  CHECK(!types.choose("vector", {{512}, 1}, false).ok());
}

TEST_CASE("rules that are none") {
  TypeChoice types(DType::kQ8_0);
  CHECK(types.add_override("ffn_down").error().message ==
        "expected PATTERN=TYPE, found \"ffn_down\"");
  CHECK(types.add_override("=q8_0").error().status == Status::kInvalidArgument);
  CHECK(types.add_override("x=iq1_s").error().status == Status::kUnsupported);
  CHECK(!types.add_override("(=q8_0").ok());
  CHECK(pensee::parse_quantizer_name("Q4_k").value() == DType::kQ4_K);
  CHECK(pensee::parse_quantizer_name("iq2_xs").error().message ==
        "cannot write type \"iq2_xs\", only f32, f16, bf16, q8_0, q4_0, q5_0, q4_1, q5_1, q2_k, "
        "q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, mxfp4");
  CHECK(!pensee::parse_quantizer_name("").ok());
}
