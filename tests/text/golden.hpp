// Reads the fixtures of the text tests and repeats the generator's random draws.
#pragma once

#include <doctest/doctest.h>
#include <zlib.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/text/tokenizer.hpp"
#include "split_mix.hpp"

namespace pensee::test {

inline std::string golden_path(const std::string& name) {
  return std::string(PENSEE_TEST_DATA) + "/text/" + name;
}

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The contents of a gzip file.
inline std::string read_gz(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  REQUIRE_MESSAGE(file != nullptr, path);
  std::string text;
  std::array<char, 65536> buffer;
  int n = 0;
  while ((n = gzread(file, buffer.data(), buffer.size())) > 0) {
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  REQUIRE(gzclose(file) == Z_OK);
  REQUIRE(n == 0);
  return text;
}

inline Json read_json(const std::string& path) {
  auto json = parse_json(read_file(path), path);
  REQUIRE_MESSAGE(json, json.error().message);
  return *json;
}

inline Tokenizer load_tokenizer(const std::string& name) {
  auto tokenizer =
      name == "tiny_r1"
          ? Tokenizer::from_json(read_file(std::string(PENSEE_TINY_R1) + "/tokenizer.json"), name)
          : Tokenizer::from_json(read_gz(golden_path(name + "_tokenizer.json.gz")), name);
  REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
  return std::move(tokenizer).value();
}

// One tokenizer of each file for all tests: loading the large one takes a second.
inline const Tokenizer& tiny_r1() {
  static const Tokenizer tokenizer = load_tokenizer("tiny_r1");
  return tokenizer;
}
inline const Tokenizer& deepseek_v3() {
  static const Tokenizer tokenizer = load_tokenizer("deepseek_v3");
  return tokenizer;
}

inline void append_utf8_character(char32_t c, std::string& out) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
    return;
  }
  const int tail = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;  // bytes after the first
  out.push_back(static_cast<char>((0xFF00U >> (tail + 1) & 0xFFU) | c >> (6 * tail)));
  for (int i = tail - 1; i >= 0; --i) {
    out.push_back(static_cast<char>(0x80U | (c >> (6 * i) & 0x3FU)));
  }
}

// String number `seed` of the generator; `kinds` is random_kinds.json.
inline std::string random_string(uint64_t seed, const Json& kinds) {
  SplitMix64 random(seed);
  const Json& kind = kinds[random.below(kinds.size())];
  const Json& ranges = kind["ranges"];
  const Json& words = kind["words"];
  std::string out;
  const uint64_t n = 1 + random.below(40);
  for (uint64_t i = 0; i < n; ++i) {
    const uint64_t choice = random.below(ranges.size() + words.size());
    std::string item;
    if (choice < ranges.size()) {
      const auto first = ranges[choice][0].get<uint64_t>();
      const auto last = ranges[choice][1].get<uint64_t>();
      append_utf8_character(static_cast<char32_t>(first + random.below(last - first + 1)), item);
    } else {
      item = words[choice - ranges.size()].get<std::string>();
    }
    const uint64_t times = random.below(16) == 0 ? 1 + random.below(20) : 1;
    for (uint64_t k = 0; k < times; ++k) out += item;
  }
  return out;
}

// Sequence number `seed` of ids for decoding.
inline std::vector<int32_t> random_ids(uint64_t seed, uint64_t vocab_size) {
  SplitMix64 random(seed + (uint64_t{1} << 32));
  std::vector<int32_t> ids(1 + random.below(30));
  for (int32_t& id : ids) id = static_cast<int32_t>(random.below(vocab_size + vocab_size / 50));
  return ids;
}

inline constexpr uint64_t kFnvStart = 0xCBF29CE484222325U;

inline uint64_t fnv1a(std::string_view bytes, uint64_t value = kFnvStart) {
  for (const char c : bytes) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return value;
}

inline uint32_t hash_text(std::string_view text) {
  return static_cast<uint32_t>(fnv1a(text));
}

inline uint32_t hash_ids(std::span<const int32_t> ids) {
  std::string bytes;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(id >> shift));
  }
  return hash_text(bytes);
}

}  // namespace pensee::test
