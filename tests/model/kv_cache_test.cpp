#include "pensee/model/kv_cache.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "compute.hpp"
#include "pensee/kernels/dispatch.hpp"

namespace pensee {
namespace {

using pensee_test::random_floats;

constexpr CacheType kCacheTypes[] = {CacheType::kBF16, CacheType::kF32, CacheType::kQ8};

// Largest error beside the largest of 32 neighbours: half a step, and of q8 that of its scale.
double allowed(CacheType type) {
  return type == CacheType::kF32    ? 0.0
         : type == CacheType::kBF16 ? 1.0 / 256
                                    : 0.5 / 127 + 1.0 / 2048;
}

void check_rows(const Config& config, int64_t first_size, int64_t second_size) {
  constexpr int64_t kTokens = 3;
  for (const CacheType type : kCacheTypes) {
    CAPTURE(std::string(cache_type_name(type)));
    Arena measure;
    (void)KvCache::layout(measure, config, kTokens, type);
    Arena arena = *Arena::create(measure.used());
    const KvCache cache = KvCache::layout(arena, config, kTokens, type);
    const std::vector<float> x = random_floats(first_size + second_size, 1);
    std::byte* rows = cache.layer(1);
    CHECK(rows == cache.plane(cache.planes));
    const int64_t plane = cache.planes - 1;
    cache.store(best_kernels(), rows, plane, 2, 0, x.data(), first_size);
    cache.store(best_kernels(), rows, plane, 2, cache.second, x.data() + first_size, second_size);
    const KernelMatrix row = cache.matrix(rows, plane, 0, cache.row_size);
    std::vector<float> found(static_cast<size_t>(cache.row_size));
    best_kernels().unpack_rows[static_cast<size_t>(cache_dtype(type))](&row, 2, 3, found.data(),
                                                                       cache.row_size);
    for (int64_t i = 0; i < cache.row_size; ++i) {
      const bool is_first = i < cache.second;
      const int64_t at = is_first ? i : i - cache.second;
      const int64_t size = is_first ? first_size : second_size;
      const float* part = x.data() + (is_first ? 0 : first_size);
      const float value = found[static_cast<size_t>(i)];
      if (at >= size) {
        CHECK(value == 0.0F);
        continue;
      }
      double largest = 0.0;
      for (int64_t k = at / 32 * 32; k < std::min(at / 32 * 32 + 32, size); ++k) {
        largest = std::fmax(largest, std::fabs(part[k]));
      }
      CHECK(std::fabs(value - part[at]) <= largest * allowed(type));
    }
  }
}

TEST_CASE("rows of every type give back what was put in, and zeros where blocks are filled up") {
  Config mla;
  mla.n_layers = 2;
  mla.kv_lora_rank = 300;
  mla.qk_rope_head_dim = 10;
  check_rows(mla, 300, 10);
  Config gqa;
  gqa.family = ModelFamily::kQwen2;
  gqa.n_layers = 2;
  gqa.n_kv_heads = 3;
  gqa.head_dim = 64;
  check_rows(gqa, 64, 64);
  gqa.head_dim = 20;
  check_rows(gqa, 20, 20);
}

TEST_CASE("the sizes of DeepSeek-R1's rows") {
  Config r1;
  r1.n_layers = 61;
  r1.kv_lora_rank = 512;
  r1.qk_rope_head_dim = 64;
  const auto bytes = [&](CacheType type) {
    Arena measure;
    return KvCache::layout(measure, r1, 1, type).row_bytes;
  };
  CHECK(bytes(CacheType::kF32) == 2304);
  CHECK(bytes(CacheType::kBF16) == 1152);
  CHECK(bytes(CacheType::kQ8) == 612);
}

TEST_CASE("a cache that cannot be addressed is refused") {
  Config config;
  config.family = ModelFamily::kLlama;
  config.n_layers = 1024;
  config.n_kv_heads = 4096;
  config.head_dim = 4096;
  for (const CacheType type : kCacheTypes) {
    for (const int64_t capacity : {int64_t{1} << 28, int64_t{1} << 60}) {
      Arena measure;
      (void)KvCache::layout(measure, config, capacity, type);
      CHECK(measure.overflow());
    }
  }
}

TEST_CASE("types go by their names") {
  for (const CacheType type : kCacheTypes) {
    CHECK(cache_type_from_name(cache_type_name(type)).value() == type);
  }
  const auto unknown = cache_type_from_name("q4");
  REQUIRE(!unknown.ok());
  CHECK(unknown.error().message == "cache type: expected one of bf16, f32, q8, found q4");
}

}  // namespace
}  // namespace pensee
