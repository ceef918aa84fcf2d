// Reads the expected values under tests/golden/models (format: tests/golden/README.md). A file
// that is missing or malformed throws, which fails the test that asked for it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace pensee::golden {

inline const std::string kModels = std::string(PENSEE_TEST_DATA) + "/models";

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline nlohmann::json read_json(const std::string& path) {
  return nlohmann::json::parse(read_file(path));
}

// A float32 array in row-major order.
struct Array {
  std::vector<int64_t> shape;
  std::vector<float> values;

  // Values of the last axis at an index of the flattened other axes.
  [[nodiscard]] std::span<const float> row(int64_t i) const {
    const auto width = static_cast<size_t>(shape.back());
    return std::span<const float>(values).subspan(static_cast<size_t>(i) * width, width);
  }
};

// NumPy's .npy format 1.0 (magic, version, header length in 16 bits, a Python dict as text), only
// little-endian float32 in C order.
inline Array read_npy(const std::string& path) {
  constexpr size_t kPreamble = 10;
  const std::string bytes = read_file(path);
  const auto fail = [&](const char* what) { throw std::runtime_error(path + ": " + what); };
  if (bytes.size() < kPreamble || bytes.compare(0, 8, std::string("\x93NUMPY\x01\x00", 8)) != 0) {
    fail("not an .npy file of format 1.0");
  }
  const size_t length = static_cast<unsigned char>(bytes[8]) +
                        256U * static_cast<size_t>(static_cast<unsigned char>(bytes[9]));
  const std::string header = bytes.substr(kPreamble, length);
  if (header.find("'<f4'") == std::string::npos) fail("expected float32");
  if (header.find("'fortran_order': False") == std::string::npos) fail("expected C order");
  Array array;
  size_t count = 1;
  size_t at = header.find('(') + 1;
  while (at < header.size() && header[at] >= '0' && header[at] <= '9') {
    size_t digits = 0;
    array.shape.push_back(std::stoll(header.substr(at), &digits));
    count *= static_cast<size_t>(array.shape.back());
    at += digits;
    while (at < header.size() && (header[at] == ',' || header[at] == ' ')) ++at;
  }
  if (array.shape.empty() || bytes.size() != kPreamble + length + count * sizeof(float)) {
    fail("size does not match its header");
  }
  array.values.resize(count);
  std::memcpy(array.values.data(), bytes.data() + kPreamble + length, count * sizeof(float));
  return array;
}

// What one checkpoint computes, by transformers in float32 from the dequantised weights.
struct Model {
  std::string directory;
  std::vector<int32_t> prompt;
  std::vector<int32_t> greedy;  // greedy tokens after the prompt
  // (rows, vocab_size): row i after feeding token i of prompt + greedy. Random checkpoints have a
  // row for every token, the tiny R1 for the prompt.
  Array logits;
  // (rows - 1, vocab_size): row i from the hidden state of token i and from token i + 1, about
  // token i + 2. Empty where the checkpoint has no multi-token-prediction layer, or no such file.
  Array mtp_logits;

  [[nodiscard]] int64_t rows() const { return logits.shape.at(0); }
  [[nodiscard]] int64_t vocab_size() const { return logits.shape.at(1); }
  [[nodiscard]] std::vector<int32_t> tokens() const {
    std::vector<int32_t> all = prompt;
    all.insert(all.end(), greedy.begin(), greedy.end());
    return all;
  }
};

// `directory` holds expected.json and the arrays; for random checkpoints the weights too.
inline Model read_model(const std::string& directory) {
  const nlohmann::json json = read_json(directory + "/expected.json");
  Model model;
  model.directory = directory;
  model.prompt = json.at("prompt").get<std::vector<int32_t>>();
  model.greedy = json.at("greedy").get<std::vector<int32_t>>();
  const auto read = [&](const nlohmann::json& array) {
    Array found = read_npy(directory + "/" + array.at("file").get<std::string>());
    if (found.shape != array.at("shape").get<std::vector<int64_t>>()) {
      throw std::runtime_error(directory + ": logits do not have the shape in expected.json");
    }
    return found;
  };
  model.logits = read(json.at("logits"));
  if (json.contains("mtp_logits")) model.mtp_logits = read(json.at("mtp_logits"));
  return model;
}

// One row of models/index.json: a checkpoint and what it must compute.
struct IndexRow {
  std::string name;
  std::string model_type;  // as in config.json
  std::string stored;      // type of the weights: "f32", "bf16", "f16", "fp8", "blocks" (GGUF)
  std::string checkpoint;  // directory or file to open
  std::string expected;    // directory to read_model() from
};

// `models` is the directory tests/golden/models.
inline std::vector<IndexRow> read_index(const std::string& models) {
  std::vector<IndexRow> rows;
  for (const nlohmann::json& row : read_json(models + "/index.json")) {
    const auto text = [&](const char* key) { return row.at(key).get<std::string>(); };
    rows.push_back({text("name"), text("model_type"), text("stored"),
                    models + "/" + text("checkpoint"), models + "/" + text("expected")});
  }
  return rows;
}

// Largest |a - b|; infinity where one is NaN or the lengths differ.
inline float max_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return INFINITY;
  float largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float difference = std::fabs(a[i] - b[i]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
  }
  return largest;
}

// Kullback-Leibler divergence of softmax(found) from softmax(expected), in nats.
inline double kl_divergence(std::span<const float> expected, std::span<const float> found) {
  if (expected.size() != found.size()) return INFINITY;
  const auto log_sum_exp = [](std::span<const float> x) {
    double largest = -INFINITY;
    for (const float v : x) largest = std::fmax(largest, static_cast<double>(v));
    double sum = 0;
    for (const float v : x) sum += std::exp(static_cast<double>(v) - largest);
    return largest + std::log(sum);
  };
  const double expected_norm = log_sum_exp(expected);
  const double found_norm = log_sum_exp(found);
  double sum = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double p = static_cast<double>(expected[i]) - expected_norm;
    const double q = static_cast<double>(found[i]) - found_norm;
    sum += std::exp(p) * (p - q);
  }
  return sum;
}

}  // namespace pensee::golden
