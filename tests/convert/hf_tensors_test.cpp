#include "pensee/convert/hf_tensors.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "convert/pairs.hpp"
#include "pensee/kernels/reference.hpp"
#include "pensee/model/read_config.hpp"

using pensee::ConvertedTensor;

namespace {

// All numbers of a tensor, `step` rows at a time.
std::vector<float> numbers_of(const ConvertedTensor& tensor, int64_t step) {
  std::vector<float> out(static_cast<size_t>(tensor.rows() * tensor.cols()));
  for (int64_t row = 0; row < tensor.rows(); row += step) {
    tensor.read(pensee::reference_kernels(), row, std::min(row + step, tensor.rows()),
                out.data() + row * tensor.cols());
  }
  return out;
}

std::vector<float> numbers_of(const pensee::TensorView& view) {
  pensee::Matrix matrix{view.data, nullptr, view.dtype, 1, view.shape[view.shape.rank - 1], 0};
  for (int d = 0; d + 1 < view.shape.rank; ++d) matrix.rows *= view.shape[d];
  matrix.row_bytes = pensee::dtype_row_bytes(matrix.dtype, matrix.cols);
  return numbers_of(ConvertedTensor::whole("", view.shape, matrix), matrix.rows);
}

}  // namespace

TEST_CASE("tensors are converted as the gguf package has them") {
  for (const pensee_test::Pair& pair : pensee_test::kPairs) {
    CAPTURE(pair.hf);
    const auto hf = pensee_test::open_hf(pair);
    const auto gguf = pensee_test::open_gguf(pair);
    const auto config = pensee::read_config(*hf);
    REQUIRE_MESSAGE(config.ok(), config.error().message);
    const auto tensors = pensee::HfTensors::load(*hf, *config, pair.mtp);
    REQUIRE_MESSAGE(tensors.ok(), tensors.error().message);
    // The layer's embeddings and head, which the file has again, are copies of the model's.
    CHECK(tensors->list().size() == gguf->tensors().size() - (pair.mtp ? 2 : 0));
    for (const ConvertedTensor& tensor : tensors->list()) {
      CAPTURE(tensor.name);
      const pensee::TensorView* expected = gguf->find(tensor.name);
      REQUIRE(expected != nullptr);
      CHECK(tensor.shape == expected->shape);
      const std::vector<float> values = numbers_of(*expected);
      const std::vector<float> ours = numbers_of(tensor, 3);
      REQUIRE(ours.size() == values.size());
      if (tensor.name != "rope_freqs.weight") {
        CHECK(ours == values);
        continue;
      }
      // Computed, not copied.
      for (size_t i = 0; i < values.size(); ++i) {
        CHECK(ours[i] == doctest::Approx(values[i]).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("a layer of multi-token prediction is missed where it is wanted") {
  const auto hf = pensee_test::open_checkpoint(PENSEE_TEST_DATA "/models/qwen3_f32");
  const auto none = pensee::HfTensors::load(*hf, pensee::read_config(*hf).value(), true);
  REQUIRE(!none.ok());
  CHECK(none.error().status == pensee::Status::kUnsupported);
  CHECK(none.error().message.find("multi-token prediction, found none") != std::string::npos);
}

TEST_CASE("FP8 weights are multiplied by their scales, also where heads are turned") {
  const auto fp8 = pensee_test::open_checkpoint(PENSEE_TEST_DATA "/models/mla_yarn_fp8");
  const auto config = pensee::read_config(*fp8).value();
  const auto tensors = pensee::HfTensors::load(*fp8, config, false).value();
  // Through the weights as the model reads them.
  pensee::Weights weights = pensee::Weights::load(*fp8, config, {}).value();
  const pensee::Matrix& kv_b = weights.layers[0].mla.kv_b_proj;
  const std::vector<float> whole =
      numbers_of(ConvertedTensor::whole("", {{kv_b.rows, kv_b.cols}, 2}, kv_b), kv_b.rows);
  const int64_t nope = config.qk_nope_head_dim;
  const int64_t head = nope + config.v_head_dim;
  int found = 0;
  for (const ConvertedTensor& tensor : tensors.list()) {
    if (tensor.name == "blk.0.attn_k_b.weight") {
      const std::vector<float> keys = numbers_of(tensor, 5);
      for (size_t i = 0; i < keys.size(); ++i) {
        const auto n = static_cast<int64_t>(i);
        const int64_t row = n / (nope * kv_b.cols) * head + n % nope;
        const int64_t column = n / nope % kv_b.cols;
        REQUIRE(keys[i] == whole[static_cast<size_t>(row * kv_b.cols + column)]);
      }
      ++found;
    } else if (tensor.name == "blk.0.attn_v_b.weight") {
      const std::vector<float> values = numbers_of(tensor, 5);
      for (size_t i = 0; i < values.size(); ++i) {
        const int64_t row = static_cast<int64_t>(i) / kv_b.cols;
        const int64_t from = row / config.v_head_dim * head + nope + row % config.v_head_dim;
        REQUIRE(values[i] ==
                whole[static_cast<size_t>(from * kv_b.cols) + i % static_cast<size_t>(kv_b.cols)]);
      }
      ++found;
    }
  }
  CHECK(found == 2);
}
