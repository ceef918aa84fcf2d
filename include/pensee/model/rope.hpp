// Rotary position embedding, plain, with YaRN (arXiv:2309.00071) or as Llama 3 scales it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "pensee/model/config.hpp"

namespace pensee {

// YaRN's attention temperature: 0.1 * mscale * ln(factor) + 1 (section 3.4 of the paper).
[[nodiscard]] inline double yarn_mscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

// What YaRN multiplies cosines and sines by. transformers overlooks attn_factor, by which
// DeepSeek-R1-0528-Qwen3-8B takes the formula back; vLLM and SGLang do not.
[[nodiscard]] inline double yarn_attention_factor(const RopeScaling& yarn) noexcept {
  if (yarn.attention_factor != 0.0) return yarn.attention_factor * yarn.attn_factor;
  if (yarn.mscale == 0.0 || yarn.mscale_all_dim == 0.0) {
    return yarn_mscale(yarn.factor, 1.0) * yarn.attn_factor;
  }
  return yarn_mscale(yarn.factor, yarn.mscale) / yarn_mscale(yarn.factor, yarn.mscale_all_dim) *
         yarn.attn_factor;
}

// The rotation speeds of one model, and what YaRN multiplies cosines and sines by.
struct RotaryTable {
  std::vector<float> inv_freq;  // (rope_dim / 2), radians a token
  float attention_factor = 1.0F;
  bool interleaved = true;  // Config::rope_interleave

  static RotaryTable create(const Config& config) {
    const int64_t pairs = config.rope_dim() / 2;
    const double dim = static_cast<double>(config.rope_dim());
    const double log_theta = std::log(static_cast<double>(config.rope_theta));
    RotaryTable table;
    table.inv_freq.resize(static_cast<size_t>(pairs));
    for (int64_t i = 0; i < pairs; ++i) {
      table.inv_freq[static_cast<size_t>(i)] =
          static_cast<float>(std::exp(-log_theta * 2.0 * static_cast<double>(i) / dim));
    }
    table.interleaved = config.rope_interleave;
    if (!config.rope_scaling) return table;
    if (config.rope_scaling->type == RopeScaling::Type::kYarn) {
      table.apply_yarn(*config.rope_scaling, dim, log_theta);
    } else {
      table.apply_llama3(*config.rope_scaling);
    }
    return table;
  }

  // Divides the speeds by `factors` (rope_dim / 2), or leaves them where there are none.
  void slow_down(const std::vector<float>& factors) {
    for (size_t i = 0; i < factors.size(); ++i) inv_freq[i] /= factors[i];
  }

  // Angles of one position as cos, sin: out (2, rope_dim / 2). The angle is a float32
  // product because the models were trained with exactly that.
  void angles(int64_t position, float* out) const {
    const size_t pairs = inv_freq.size();
    for (size_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(position) * inv_freq[i];
      out[i] = std::cos(angle) * attention_factor;
      out[pairs + i] = std::sin(angle) * attention_factor;
    }
  }

  // Rotates x (rope_dim) in place. Its pairs are (2i, 2i + 1) when interleaved, else
  // (i, i + rope_dim / 2).
  void rotate(const float* angles_of_position, float* x) const {
    const size_t pairs = inv_freq.size();
    const size_t step = interleaved ? 2 : 1;
    const size_t apart = interleaved ? 1 : pairs;
    for (size_t i = 0; i < pairs; ++i) {
      const float cosine = angles_of_position[i];
      const float sine = angles_of_position[pairs + i];
      float& first = x[step * i];
      float& second = x[step * i + apart];
      const float a = first;
      const float b = second;
      first = a * cosine - b * sine;
      second = a * sine + b * cosine;
    }
  }

 private:
  // Slow rotations are interpolated by `factor`, fast ones kept, with a linear ramp between the
  // dimensions that turn beta_fast and beta_slow times within the original context.
  void apply_yarn(const RopeScaling& yarn, double dim, double log_theta) {
    const auto dimension_of_turns = [&](double turns) {
      const double context = static_cast<double>(yarn.original_max_position_embeddings);
      return dim * std::log(context / (turns * 2.0 * std::numbers::pi)) / (2.0 * log_theta);
    };
    const double low = std::max(std::floor(dimension_of_turns(yarn.beta_fast)), 0.0);
    double high = std::min(std::ceil(dimension_of_turns(yarn.beta_slow)), dim - 1.0);
    if (high == low) high += 0.001;  // the reference's guard against a division by zero
    for (size_t i = 0; i < inv_freq.size(); ++i) {
      const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
      const double speed = inv_freq[i];
      inv_freq[i] = static_cast<float>(speed / yarn.factor * ramp + speed * (1.0 - ramp));
    }
    attention_factor = static_cast<float>(yarn_attention_factor(yarn));
  }

  // Rotations with a wave longer than the original context / low_freq_factor are slowed by
  // `factor`, those shorter than the context / high_freq_factor kept, and between them blended
  // (Llama 3.1's published code).
  void apply_llama3(const RopeScaling& llama3) {
    const double context = static_cast<double>(llama3.original_max_position_embeddings);
    const double low = llama3.low_freq_factor;
    const double high = llama3.high_freq_factor;
    for (float& frequency : inv_freq) {
      const double speed = frequency;
      const double turns = context * speed / (2.0 * std::numbers::pi);
      const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
      frequency = static_cast<float>((1.0 - kept) * speed / llama3.factor + kept * speed);
    }
  }
};

// What attention scores are multiplied by: head_dim^-0.5, times m^2 where mscale_all_dim is set and
// attention is DeepSeek's.
[[nodiscard]] inline float softmax_scale(const Config& config) {
  const double head_dim = static_cast<double>(config.qk_head_dim());
  double scale = 1.0 / std::sqrt(head_dim);
  if (config.has_mla() && config.rope_scaling && config.rope_scaling->mscale_all_dim != 0.0) {
    const double m = yarn_mscale(config.rope_scaling->factor, config.rope_scaling->mscale_all_dim);
    scale *= m * m;
  }
  return static_cast<float>(scale);
}

}  // namespace pensee
