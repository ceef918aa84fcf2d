#include "work.hpp"

#include <algorithm>
#include <cmath>

namespace pensee::cli {
namespace {

constexpr double kMultiplyAdd = 2;  // operations

// A matrix of which a share is read, and by which `rows` inputs are multiplied.
void add_matrix(const Matrix& w, double share, double rows, Work& work) {
  if (w.data == nullptr) return;
  const double operations =
      kMultiplyAdd * rows * static_cast<double>(w.rows) * static_cast<double>(w.cols);
  work.weight_bytes += share * static_cast<double>(w.rows) * static_cast<double>(w.row_bytes);
  if (is_block_type(w.dtype)) {
    work.int8_operations += operations;
  } else {
    (w.dtype == DType::kF32 ? work.f32_operations : work.bf16_operations) += operations;
  }
}

void add_ffn(const FfnWeights& w, double share, double rows, Work& work) {
  for (const Matrix* matrix : {&w.gate_proj, &w.up_proj, &w.down_proj}) {
    add_matrix(*matrix, share, rows, work);
  }
}

void add_moe(const Config& c, const MoeWeights& w, double n, Work& work) {
  const auto experts = static_cast<double>(c.n_routed_experts);
  const auto chosen = static_cast<double>(c.num_experts_per_tok);
  add_matrix(w.gate, 1, n, work);
  add_ffn(w.shared_experts, 1, n, work);
  const double share = 1 - std::pow(1 - chosen / experts, n);  // of an expert having a token
  for (const FfnWeights& expert : w.experts) {
    add_ffn(expert, share, n * chosen / experts, work);
  }
}

// Multiply-adds of scores and sums in one layer.
double attention_multiply_adds(const Config& c, double n, double cached) {
  const double pairs = n * cached + n * (n + 1) / 2;
  const auto heads = static_cast<double>(c.n_heads);
  if (!c.has_mla()) return pairs * heads * 2 * static_cast<double>(c.head_dim);
  // The cheaper form; kv_b_proj's products for the new tokens are counted with the matrices.
  const auto latent = static_cast<double>(c.kv_lora_rank);
  const auto rope = static_cast<double>(c.qk_rope_head_dim);
  const auto dims = static_cast<double>(c.qk_nope_head_dim + c.v_head_dim);
  const double absorbed = pairs * heads * (2 * latent + rope);
  const double expanded = pairs * heads * (dims + rope) + cached * heads * dims * latent;
  return std::min(absorbed, expanded);
}

}  // namespace

double Work::read_seconds(const MachineLimits& machine) const {
  return bytes() / machine.read_bytes_per_second;
}

double Work::compute_seconds(const MachineLimits& machine) const {
  // Machines without bf16 instructions compute in f32 instead.
  const PeakLimit& bf16 = machine.bf16.per_second ? machine.bf16 : machine.f32;
  double seconds = 0;
  for (const auto& [operations, peak] :
       {std::pair{int8_operations, &machine.int8}, std::pair{bf16_operations, &bf16},
        std::pair{f32_operations, &machine.f32}}) {
    if (operations == 0) continue;
    if (!peak->per_second) return 0;
    seconds += operations / *peak->per_second;
  }
  return seconds;
}

Work work_of(const Transformer& model, const Pass& pass) {
  const Config& c = model.config();
  const Weights& w = model.weights();
  const auto sequences = static_cast<double>(pass.sequences);
  const auto tokens = static_cast<double>(pass.tokens);
  const auto cached = static_cast<double>(pass.cached);
  const double rows = sequences * tokens;
  Work work;
  work.weight_bytes += rows * static_cast<double>(w.embed_tokens.row_bytes);
  const double last_rows = pass.all_rows ? rows : sequences;
  add_matrix(w.lm_head, 1, last_rows, work);
  work.cache_bytes =
      sequences * (cached + tokens) * static_cast<double>(pass.cache_bytes_per_token);
  for (const LayerWeights& layer : w.layers) {
    const MlaWeights& mla = layer.mla;
    const GqaWeights& gqa = layer.gqa;
    for (const Matrix* matrix :
         {&mla.q_proj, &mla.q_a_proj, &mla.q_b_proj, &mla.kv_a_proj_with_mqa, &mla.kv_b_proj,
          &mla.k_b_proj, &mla.v_b_proj, &gqa.q_proj, &gqa.k_proj, &gqa.v_proj}) {
      add_matrix(*matrix, 1, rows, work);
    }
    // Behind its attention, the last layer goes on with the rows whose logits are wanted.
    const double left = &layer == &w.layers.back() ? last_rows : rows;
    add_matrix(mla.o_proj, 1, left, work);
    add_matrix(gqa.o_proj, 1, left, work);
    if (layer.moe != nullptr) {
      add_moe(c, *layer.moe, left, work);
    } else {
      add_ffn(layer.mlp, 1, left, work);
    }
    work.bf16_operations += kMultiplyAdd * sequences * attention_multiply_adds(c, tokens, cached);
  }
  return work;
}

}  // namespace pensee::cli
