// Rotary position embedding with YaRN (arXiv:2309.00071), interleaved pairs.
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

// The rotation speeds of one model, and what YaRN multiplies cosines and sines by.
struct RotaryTable {
  std::vector<float> inv_freq;  // (qk_rope_head_dim / 2), radians a token
  float attention_factor = 1.0F;

  static RotaryTable create(const Config& config) {
    const int64_t pairs = config.qk_rope_head_dim / 2;
    const double dim = static_cast<double>(config.qk_rope_head_dim);
    const double log_theta = std::log(static_cast<double>(config.rope_theta));
    RotaryTable table;
    table.inv_freq.resize(static_cast<size_t>(pairs));
    for (int64_t i = 0; i < pairs; ++i) {
      table.inv_freq[static_cast<size_t>(i)] =
          static_cast<float>(std::exp(-log_theta * 2.0 * static_cast<double>(i) / dim));
    }
    if (config.rope_scaling) table.apply_yarn(*config.rope_scaling, dim, log_theta);
    return table;
  }

  // Angles of one position as cos, sin: out (2, qk_rope_head_dim / 2). The angle is a float32
  // product because the models were trained with exactly that.
  void angles(int64_t position, float* out) const {
    const size_t pairs = inv_freq.size();
    for (size_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(position) * inv_freq[i];
      out[i] = std::cos(angle) * attention_factor;
      out[pairs + i] = std::sin(angle) * attention_factor;
    }
  }

  // Rotates x (qk_rope_head_dim), whose pairs are (2i, 2i + 1), in place.
  void rotate(const float* angles_of_position, float* x) const {
    const size_t pairs = inv_freq.size();
    for (size_t i = 0; i < pairs; ++i) {
      const float cosine = angles_of_position[i];
      const float sine = angles_of_position[pairs + i];
      const float a = x[2 * i];
      const float b = x[2 * i + 1];
      x[2 * i] = a * cosine - b * sine;
      x[2 * i + 1] = a * sine + b * cosine;
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
    if (yarn.mscale != 0.0 && yarn.mscale_all_dim != 0.0) {
      attention_factor = static_cast<float>(yarn_mscale(yarn.factor, yarn.mscale) /
                                            yarn_mscale(yarn.factor, yarn.mscale_all_dim));
    } else {
      attention_factor = static_cast<float>(yarn_mscale(yarn.factor, 1.0));
    }
  }
};

// What attention scores are multiplied by: head_dim^-0.5, times m^2 under YaRN.
[[nodiscard]] inline float softmax_scale(const Config& config) {
  const double head_dim = static_cast<double>(config.qk_nope_head_dim + config.qk_rope_head_dim);
  double scale = 1.0 / std::sqrt(head_dim);
  if (config.rope_scaling && config.rope_scaling->mscale_all_dim != 0.0) {
    const double m = yarn_mscale(config.rope_scaling->factor, config.rope_scaling->mscale_all_dim);
    scale *= m * m;
  }
  return static_cast<float>(scale);
}

}  // namespace pensee
