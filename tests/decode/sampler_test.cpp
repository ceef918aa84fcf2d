#include "pensee/decode/sampler.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <new>
#include <string>
#include <vector>
#include <xtensor/xmath.hpp>
#include <xtensor/xsort.hpp>
#include <xtensor/xtensor.hpp>

// Counts allocations, for the rule that sampling does not allocate.
static std::atomic<long> g_allocations{0};
// Not inlined: the compiler must not see malloc() where it expects operator new.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++g_allocations;
  if (void* p = std::malloc(bytes > 0 ? bytes : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept {
  std::free(p);
}

namespace pensee {
namespace {

using Vector = xt::xtensor<double, 1>;  // (vocab_size)
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> random_logits(int n, uint64_t seed, double spread = 3) {
  SplitMix64 random(seed);
  std::vector<float> logits;
  for (int i = 0; i < n; ++i)
    logits.push_back(static_cast<float>(spread * (random.uniform() - 0.5)));
  return logits;
}

// The distribution that the documented order of operations gives, written naively.
Vector oracle(const std::vector<float>& logits, const SamplerOptions& o,
              const std::vector<int32_t>& prompt, const std::vector<int32_t>& reply) {
  const size_t n = logits.size();
  Vector x = xt::zeros<double>({n});
  for (size_t i = 0; i < n; ++i) x(i) = logits[i];
  std::map<int32_t, int> count;
  for (const int32_t t : reply) ++count[t];
  for (size_t i = 0; i < n; ++i) {
    const auto t = static_cast<int32_t>(i);
    const bool seen = count.contains(t) || std::count(prompt.begin(), prompt.end(), t) > 0;
    if (seen) x(i) = x(i) > 0 ? x(i) / o.repetition_penalty : x(i) * o.repetition_penalty;
    if (count.contains(t))
      x(i) -= static_cast<double>(o.frequency_penalty) * count[t] + o.presence_penalty;
  }
  x = x / static_cast<double>(o.temperature);
  const auto normalise = [](const Vector& p) { return Vector(p / xt::sum(p)()); };
  Vector p = normalise(xt::exp(x - xt::amax(x)()));
  const xt::xtensor<size_t, 1> order = xt::argsort(Vector(-p));
  if (o.top_k > 0) {
    for (size_t r = static_cast<size_t>(o.top_k); r < n; ++r) p(order(r)) = 0;
    p = normalise(p);
  }
  double before = 0;
  for (size_t r = 0; r < n; ++r) {
    const double mine = p(order(r));
    if (before >= o.top_p) p(order(r)) = 0;
    before += mine;
  }
  p = normalise(p);
  const double best = xt::amax(p)();
  return normalise(xt::where(p < o.min_p * best, 0.0, p));
}

std::vector<SamplerOptions> option_grid() {
  return {
      {.temperature = 1},
      {.temperature = 0.6F, .top_p = 0.95F},
      {.temperature = 2, .top_k = 5},
      {.temperature = 1, .top_k = 1},
      {.temperature = 0.8F, .top_k = 9, .top_p = 0.7F},
      {.temperature = 1, .min_p = 0.3F},
      {.temperature = 1.5F, .top_k = 12, .top_p = 0.9F, .min_p = 0.1F},
      {.temperature = 1, .repetition_penalty = 1.7F},
      {.temperature = 1, .top_p = 0.8F, .presence_penalty = 1.1F, .frequency_penalty = 0.4F},
      {.temperature = 0.7F,
       .top_p = 0.9F,
       .repetition_penalty = 0.8F,
       .presence_penalty = -0.5F,
       .frequency_penalty = -0.2F},
  };
}

TEST_CASE("draws follow the naive distribution") {
  constexpr int kVocabSize = 20;
  constexpr int kDraws = 20000;
  const std::vector<int32_t> prompt = {1, 4, 4, 19};
  const std::vector<int32_t> reply = {4, 7, 7, 7, 12};
  uint64_t seed = 100;
  for (SamplerOptions options : option_grid()) {
    CAPTURE(seed);
    options.seed = ++seed;
    const std::vector<float> logits = random_logits(kVocabSize, seed * 7);
    const Vector expected = oracle(logits, options, prompt, reply);
    Sampler sampler = Sampler::create(kVocabSize, options).value();
    for (const int32_t t : prompt) sampler.accept_prompt(t);
    for (const int32_t t : reply) sampler.accept(t);
    std::vector<int> counts(kVocabSize);
    for (int i = 0; i < kDraws; ++i) ++counts[static_cast<size_t>(sampler.sample(logits)->token)];
    double chi_square = 0;
    for (size_t t = 0; t < kVocabSize; ++t) {
      CAPTURE(t);
      if (expected(t) == 0) {
        CHECK(counts[t] == 0);
      } else {
        const double mean = expected(t) * kDraws;
        REQUIRE(mean > 5);
        CHECK(counts[t] > 0);
        chi_square += (counts[t] - mean) * (counts[t] - mean) / mean;
      }
    }
    CHECK(chi_square < 45.3);  // 19 degrees of freedom: exceeded once in 1600; the seed is fixed
  }
}

TEST_CASE("a large vocabulary is cut where the naive filters cut it") {
  constexpr int kVocabSize = 5000;
  for (const float top_p : {0.1F, 0.5F, 0.9F}) {
    const SamplerOptions options{.temperature = 1, .top_p = top_p, .seed = 5};
    const std::vector<float> logits = random_logits(kVocabSize, 77, 30);
    const Vector expected = oracle(logits, options, {}, {});
    Sampler sampler = Sampler::create(kVocabSize, options).value();
    std::vector<int> counts(kVocabSize);
    for (int i = 0; i < 3000; ++i) ++counts[static_cast<size_t>(sampler.sample(logits)->token)];
    for (size_t t = 0; t < kVocabSize; ++t) {
      if (counts[t] > 0) CHECK(expected(t) > 0);
      if (expected(t) > 0.01) CHECK(counts[t] > 0);
    }
  }
}

TEST_CASE("greedy takes the most probable token, the lowest id of equals") {
  Sampler sampler = Sampler::create(4, {.temperature = 0}).value();
  CHECK(sampler.sample(std::vector<float>{1, 3, 3, 2})->token == 1);
  CHECK(sampler.sample(std::vector<float>{-kInf, -5, -kInf, -kInf})->token == 1);
  // Penalties count in greedy decoding too.
  sampler = Sampler::create(4, {.temperature = 0, .presence_penalty = 2}).value();
  sampler.accept(1);
  CHECK(sampler.sample(std::vector<float>{1, 3, 3, 2})->token == 2);
  sampler.reset(0);
  CHECK(sampler.sample(std::vector<float>{1, 3, 3, 2})->token == 1);
}

TEST_CASE("the log-probability is that of the unmodified logits") {
  const std::vector<float> logits = random_logits(50, 3, 8);
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x));
  for (const SamplerOptions& options : option_grid()) {
    Sampler sampler = Sampler::create(50, options).value();
    sampler.accept(3);
    const Sample sample = sampler.sample(logits).value();
    const double expected = logits[static_cast<size_t>(sample.token)] - std::log(sum);
    CHECK(sample.log_prob == doctest::Approx(expected).epsilon(1e-6));
  }
  // Large logits do not overflow; an excluded token has probability zero.
  CHECK(log_prob(std::vector<float>{1e30F, -1e30F}, 0) == 0);
  CHECK(log_prob(std::vector<float>{0, -kInf}, 0) == doctest::Approx(0));
  CHECK(log_prob(std::vector<float>{0, -kInf}, 1) == -kInf);
}

TEST_CASE("the same seed gives the same tokens, another seed others") {
  const std::vector<float> logits = random_logits(100, 9);
  const auto tokens = [&](uint64_t seed) {
    Sampler sampler =
        Sampler::create(100, {.temperature = 1, .top_p = 0.95F, .seed = seed}).value();
    std::vector<int32_t> out;
    for (int i = 0; i < 50; ++i) out.push_back(sampler.sample(logits)->token);
    return out;
  };
  CHECK(tokens(1) == tokens(1));
  CHECK(tokens(1) != tokens(2));
  // The published first outputs of SplitMix64 for the state 1234567.
  SplitMix64 random(1234567);
  CHECK(random.next() == 6457827717110365317U);
  CHECK(random.next() == 3203168211198807973U);
  CHECK(random.next() == 9817491932198370423U);
}

TEST_CASE("reset and reseed restart the stream; set_options does not") {
  const std::vector<float> logits = random_logits(100, 9);
  Sampler sampler = Sampler::create(100, {.seed = 4}).value();
  const int32_t first = sampler.sample(logits)->token;
  const int32_t second = sampler.sample(logits)->token;
  sampler.reset(4);
  CHECK(sampler.sample(logits)->token == first);
  REQUIRE(sampler.set_options({.temperature = 1, .seed = 99}).ok());
  CHECK(sampler.sample(logits)->token == second);
  sampler.reseed(4);
  CHECK(sampler.sample(logits)->token == first);
}

TEST_CASE("broken logits are errors that name the token") {
  Sampler sampler = Sampler::create(3, {}).value();
  const auto error = [&](std::vector<float> logits) {
    const Result<Sample> sample = sampler.sample(logits);
    REQUIRE(!sample.ok());
    return sample.error();
  };
  CHECK(error({0, std::nanf(""), 0}).status == Status::kInternal);
  CHECK(error({0, std::nanf(""), 0}).message.find("token 1") != std::string::npos);
  CHECK(error({0, 0, kInf}).message.find("token 2") != std::string::npos);
  CHECK(error({-kInf, -kInf, -kInf}).message.find("every token") != std::string::npos);
  CHECK(error({0, 0}).status == Status::kInvalidArgument);
  CHECK(sampler.sample(std::vector<float>{0, -kInf, 0}).ok());
}

TEST_CASE("extreme settings give no infinities") {
  const std::vector<float> logits = {3e38F, -3e38F, 1, -kInf};
  for (const float penalty : {1e-30F, 1e30F}) {
    for (const float temperature : {1e-38F, 1e38F}) {
      Sampler sampler =
          Sampler::create(4, {.temperature = temperature, .repetition_penalty = penalty}).value();
      for (int32_t t = 0; t < 4; ++t) sampler.accept(t);
      for (int i = 0; i < 100; ++i) {
        const int32_t token = sampler.sample(logits)->token;
        CHECK(token >= 0);
        CHECK(token < 3);
      }
    }
  }
}

TEST_CASE("options out of range are named") {
  const auto message = [](SamplerOptions options) {
    const auto sampler = Sampler::create(3, options);
    REQUIRE(!sampler.ok());
    CHECK(sampler.error().status == Status::kInvalidArgument);
    return sampler.error().message.substr(0, sampler.error().message.find(':'));
  };
  const float nan = std::nanf("");
  CHECK(message({.temperature = -0.1F}) == "temperature");
  CHECK(message({.temperature = kInf}) == "temperature");
  CHECK(message({.temperature = nan}) == "temperature");
  CHECK(message({.top_k = -1}) == "top_k");
  CHECK(message({.top_p = 0}) == "top_p");
  CHECK(message({.top_p = 1.01F}) == "top_p");
  CHECK(message({.top_p = nan}) == "top_p");
  CHECK(message({.min_p = -0.1F}) == "min_p");
  CHECK(message({.min_p = 1.1F}) == "min_p");
  CHECK(message({.repetition_penalty = 0}) == "repetition_penalty");
  CHECK(message({.repetition_penalty = kInf}) == "repetition_penalty");
  CHECK(message({.presence_penalty = 2.1F}) == "presence_penalty");
  CHECK(message({.presence_penalty = nan}) == "presence_penalty");
  CHECK(message({.frequency_penalty = -2.1F}) == "frequency_penalty");
  CHECK(!Sampler::create(0, {}).ok());
}

TEST_CASE("overrides replace what they set") {
  const SamplerOptions base{.temperature = 0.6F, .top_p = 0.95F, .seed = 3};
  CHECK(SamplerOverrides{}.over(base) == base);
  const SamplerOptions merged = SamplerOverrides{.temperature = 0.0F, .top_k = 7}.over(base);
  CHECK(merged == SamplerOptions{.temperature = 0, .top_k = 7, .top_p = 0.95F, .seed = 3});
}

TEST_CASE("sampling does not allocate") {
  const std::vector<float> logits = random_logits(3000, 21);
  for (const SamplerOptions& options : option_grid()) {
    Sampler sampler = Sampler::create(3000, options).value();
    const long before = g_allocations;
    for (int32_t i = 0; i < 50; ++i) {
      sampler.accept_prompt(i);
      const Result<Sample> sample = sampler.sample(logits);
      sampler.accept(sample->token);
    }
    CHECK(g_allocations == before);
  }
}

}  // namespace
}  // namespace pensee
