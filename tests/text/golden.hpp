// Reads the fixtures of the text tests and repeats the generator's random draws.
#pragma once

#include <doctest/doctest.h>
#include <zlib.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
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

// NAME_settings.json with the vocabulary and the merges that NAME_merges.bin.gz keeps: see
// make_compact in make_tokenizer_golden.py.
inline Json read_compact(const std::string& name) {
  Json json = read_json(golden_path(name + "_settings.json"));
  const std::string planes = read_gz(golden_path(name + "_merges.bin.gz"));
  const size_t n = planes.size() / 6;
  REQUIRE(planes.size() == 6 * n);
  Json& vocab = json["model"]["vocab"];
  std::vector<std::string> tokens(vocab.size());
  for (const auto& [token, id] : vocab.items()) tokens[id.get<size_t>()] = token;
  std::vector<Json> merges;
  const auto id_at = [&](size_t plane, size_t i) {
    size_t id = 0;
    for (size_t byte = 0; byte < 3; ++byte) {
      id |= size_t{static_cast<unsigned char>(planes[(plane + byte) * n + i])} << (8 * byte);
    }
    return id;
  };
  for (size_t i = 0; i < n; ++i) {
    const std::string left = tokens.at(id_at(0, i));
    const std::string right = tokens.at(id_at(3, i));
    merges.push_back(Json::array({left, right}));
    vocab[left + right] = tokens.size();
    tokens.push_back(left + right);
  }
  json["model"]["merges"] = std::move(merges);
  return json;
}

// Tokenizers of other people that are not in the repository: CMake's PENSEE_TOKENIZERS.
inline std::string outside_path(const std::string& name) {
  return std::string(PENSEE_TOKENIZERS) + "/" + name;
}

// The text of tokenizer.json of `name`, which is also the name of its expected values: "tiny_r1",
// "deepseek_v3", "qwen3", "variants/...", or of a directory of PENSEE_TOKENIZERS.
inline std::string read_tokenizer_json(const std::string& name) {
  if (name == "tiny_r1") return read_file(std::string(PENSEE_TINY_R1) + "/tokenizer.json");
  if (name == "deepseek_v3") return read_gz(golden_path(name + "_tokenizer.json.gz"));
  if (name == "qwen3") return read_compact(name).dump();
  if (name.starts_with("variants/")) return read_file(golden_path(name + ".json"));
  return read_file(outside_path(name + "/tokenizer.json"));
}

inline Tokenizer load_tokenizer(const std::string& name) {
  auto tokenizer = Tokenizer::from_json(read_tokenizer_json(name), name);
  REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
  return std::move(tokenizer).value();
}

// One tokenizer of each file for all tests: loading a large one takes a second.
inline const Tokenizer& tokenizer_of(const std::string& name) {
  static std::map<std::string, Tokenizer> loaded;
  const auto known = loaded.find(name);
  return known != loaded.end() ? known->second
                               : loaded.emplace(name, load_tokenizer(name)).first->second;
}
inline const Tokenizer& tiny_r1() {
  return tokenizer_of("tiny_r1");
}
inline const Tokenizer& deepseek_v3() {
  return tokenizer_of("deepseek_v3");
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

// What the generator makes of the ids and texts of one group: the lower half of their FNV-1a.
class GroupHash {
 public:
  void add(std::span<const int32_t> ids) {
    for (const int32_t id : ids) add_id(static_cast<uint32_t>(id));
    add_id(UINT32_MAX);
  }
  void add(std::string_view text) { value_ = fnv1a("\xff", fnv1a(text, value_)); }
  [[nodiscard]] uint32_t value() const { return static_cast<uint32_t>(value_); }

 private:
  void add_id(uint32_t id) {
    std::array<char, 4> bytes;
    for (size_t i = 0; i < 4; ++i) bytes[i] = static_cast<char>(id >> (8 * i));
    value_ = fnv1a({bytes.data(), bytes.size()}, value_);
  }
  uint64_t value_ = kFnvStart;
};

inline constexpr uint64_t kStrings = 50000;   // random strings of the generator
inline constexpr uint64_t kSequences = 2000;  // random id sequences of the generator
inline constexpr uint64_t kGroup = 25;        // strings or sequences behind one hash
inline constexpr uint64_t kStep = kGroup * PENSEE_TEST_EVERY;  // to the next group that is tested

// The path, without its ending, of the expected values of a tokenizer.
inline std::string expected_path(const std::string& name) {
  return golden_path(name.starts_with("variants/") ? name + "_expected" : name);
}

// The hashes of NAME.bin: two for each group of strings (encode, encode_ordinary), then two for
// each group of sequences (decode without and with skipping).
inline std::vector<uint32_t> read_hashes(const std::string& name) {
  const std::string bytes = read_file(expected_path(name) + ".bin");
  REQUIRE(bytes.size() == 4 * 2 * (kStrings + kSequences) / kGroup);
  std::vector<uint32_t> hashes(bytes.size() / 4);
  for (size_t i = 0; i < bytes.size(); ++i) {
    hashes[i / 4] |= uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * (i % 4));
  }
  return hashes;
}

}  // namespace pensee::test
