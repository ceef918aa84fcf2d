#include "bench_layer.hpp"

#include <sys/mman.h>

#include <cstring>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/convert/type_choice.hpp"
#include "pensee/io/gguf_header.hpp"
#include "pensee/io/quantize.hpp"

namespace pensee::cli {
namespace {

// DeepSeek-R1's config.json.
constexpr int64_t kHidden = 7168;
constexpr int64_t kExpertSize = 2048;
constexpr int64_t kExpertsPerToken = 8;
constexpr int64_t kExpertGroups = 8;  // of which a token chooses from half
constexpr int64_t kContext = 163840;

// What a layer is not about: as small as the types allow, but with as many embeddings as tokens in
// the longest default prompt, so that each finds experts of its own.
constexpr int64_t kVocabulary = 512;
constexpr int64_t kSmall = 32;  // one block
constexpr DType kSmallType = DType::kQ8_0;

struct Attention {
  int64_t heads, q_lora, kv_lora, nope, rope, value;
};
constexpr Attention kR1Attention = {128, 1536, 512, 128, 64, 128};
constexpr Attention kSmallAttention = {1, kSmall, kSmall, kSmall, kSmall, kSmall};

void set_keys(const Attention& a, bool has_experts, int64_t experts, GgufHeader& h) {
  const auto set = [&](const char* key, int64_t value) {
    h.set("deepseek2." + std::string(key), static_cast<uint32_t>(value));
  };
  h.set("general.architecture", "deepseek2");
  h.set("tokenizer.ggml.model", "no_vocab");
  set("block_count", 1);
  set("context_length", kContext);
  set("embedding_length", kHidden);
  set("feed_forward_length", kSmall);
  set("attention.head_count", a.heads);
  set("attention.q_lora_rank", a.q_lora);
  set("attention.kv_lora_rank", a.kv_lora);
  set("attention.key_length", a.nope + a.rope);
  set("attention.value_length", a.value);
  set("rope.dimension_count", a.rope);
  set("leading_dense_block_count", has_experts ? 0 : 1);
  set("expert_gating_func", 2);  // sigmoid
  h.set("deepseek2.attention.layer_norm_rms_epsilon", 1e-6F);
  h.set("deepseek2.rope.freq_base", 10000.0F);
  if (!has_experts) return;
  set("expert_count", experts);
  set("expert_used_count", kExpertsPerToken);
  set("expert_shared_count", 1);
  set("expert_feed_forward_length", kExpertSize);
  set("expert_group_count", kExpertGroups);
  set("expert_group_used_count", kExpertGroups / 2);
  h.set("deepseek2.expert_weights_scale", 2.5F);
  h.set("deepseek2.expert_weights_norm", true);
}

Result<void> add_tensors(const Attention& a, bool has_experts, int64_t experts, DType type,
                         GgufHeader& h) {
  Result<void> result;
  const auto add = [&](const std::string& name, DType dtype, std::initializer_list<int64_t> dims) {
    Shape shape;
    for (const int64_t dim : dims) shape.dims[static_cast<size_t>(shape.rank++)] = dim;
    if (result) result = h.add_tensor(name, dtype, shape);
  };
  const DType attention = has_experts ? kSmallType : type;
  const auto layer = [](const char* name) { return "blk.0." + std::string(name) + ".weight"; };
  add("token_embd.weight", kSmallType, {kVocabulary, kHidden});
  add("output.weight", kSmallType, {kVocabulary, kHidden});
  add("output_norm.weight", DType::kF32, {kHidden});
  add(layer("attn_norm"), DType::kF32, {kHidden});
  add(layer("ffn_norm"), DType::kF32, {kHidden});
  add(layer("attn_q_a"), attention, {a.q_lora, kHidden});
  add(layer("attn_q_a_norm"), DType::kF32, {a.q_lora});
  add(layer("attn_q_b"), attention, {a.heads * (a.nope + a.rope), a.q_lora});
  add(layer("attn_kv_a_mqa"), attention, {a.kv_lora + a.rope, kHidden});
  add(layer("attn_kv_a_norm"), DType::kF32, {a.kv_lora});
  add(layer("attn_kv_b"), attention, {a.heads * (a.nope + a.value), a.kv_lora});
  add(layer("attn_output"), attention, {kHidden, a.heads * a.value});
  if (!has_experts) {
    add(layer("ffn_gate"), kSmallType, {kSmall, kHidden});
    add(layer("ffn_up"), kSmallType, {kSmall, kHidden});
    add(layer("ffn_down"), kSmallType, {kHidden, kSmall});
    return result;
  }
  add(layer("ffn_gate_inp"), DType::kF32, {experts, kHidden});
  add("blk.0.exp_probs_b.bias", DType::kF32, {experts});
  add(layer("ffn_gate_exps"), type, {experts, kExpertSize, kHidden});
  add(layer("ffn_up_exps"), type, {experts, kExpertSize, kHidden});
  add(layer("ffn_down_exps"), type, {experts, kHidden, kExpertSize});
  add(layer("ffn_gate_shexp"), type, {kExpertSize, kHidden});
  add(layer("ffn_up_shexp"), type, {kExpertSize, kHidden});
  add(layer("ffn_down_shexp"), type, {kHidden, kExpertSize});
  return result;
}

// Rows of small random numbers of the tensor's type. Some are made, and then come again: speed
// depends on types and places, not on values. But no two experts choose alike: all the router's
// rows are made, and of the embeddings too.
void fill(const GgufHeader::Tensor& tensor, std::mt19937& random, std::byte* out) {
  constexpr int64_t kRowsMade = 64;
  const int64_t cols = tensor.shape[tensor.shape.rank - 1];
  const auto row_bytes = static_cast<size_t>(dtype_row_bytes(tensor.dtype, cols));
  const auto rows = static_cast<int64_t>(tensor.bytes / row_bytes);
  const bool is_norm = tensor.name.ends_with("norm.weight");
  const bool all = tensor.dtype == DType::kF32 || rows <= kVocabulary;
  std::normal_distribution<float> normal(is_norm ? 1.0F : 0.0F, is_norm ? 0.0F : 0.02F);
  std::vector<float> row(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    std::byte* at = out + static_cast<size_t>(r) * row_bytes;
    if (!all && r >= kRowsMade) {
      std::memcpy(at, at - kRowsMade * static_cast<int64_t>(row_bytes), row_bytes);
      continue;
    }
    for (float& x : row) x = normal(random);
    quantize_row(tensor.dtype, row.data(), cols, at);
  }
}

}  // namespace

Result<LayerFile> LayerFile::make(const BenchOptions& options) {
  const bool has_experts = options.layer == "moe";
  if (options.experts < 2 * kExpertsPerToken || options.experts % kExpertGroups != 0) {
    return invalid_argument("--experts: expected a multiple of " + std::to_string(kExpertGroups) +
                            " from " + std::to_string(2 * kExpertsPerToken) + " on, found " +
                            std::to_string(options.experts));
  }
  PENSEE_ASSIGN_OR_RETURN(const DType type, parse_quantizer_name(options.layer_type));
  const Attention& attention = has_experts ? kSmallAttention : kR1Attention;
  GgufHeader header;
  set_keys(attention, has_experts, options.experts, header);
  PENSEE_RETURN_IF_ERROR(add_tensors(attention, has_experts, options.experts, type, header));
  const std::string start = header.encode();
  const size_t bytes = start.size() + static_cast<size_t>(header.data_bytes());
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return Error{Status::kOutOfMemory,
                 "bench: cannot get " + std::to_string(bytes) + " bytes for the layer"};
  }
  LayerFile file(static_cast<std::byte*>(memory), bytes);
  std::memcpy(file.data_, start.data(), start.size());
  std::mt19937 random(1);
  for (const GgufHeader::Tensor& tensor : header.tensors()) {
    fill(tensor, random, file.data_ + start.size() + tensor.offset);
  }
  return file;
}

LayerFile::LayerFile(LayerFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}

LayerFile::~LayerFile() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

NamedBuffer LayerFile::buffer() const {
  return {"layer.gguf", {data_, bytes_}};
}

}  // namespace pensee::cli
