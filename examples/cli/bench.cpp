// bench: the machine's limits, then how near the model comes to them.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench_text.hpp"
#include "commands.hpp"
#include "load.hpp"
#include "machine_limits.hpp"
#include "pensee/text/load_tokenizer.hpp"
#include "terminal.hpp"

namespace pensee::cli {
namespace {

constexpr int64_t kDecodePrompt = 32;     // tokens; decoding starts behind them
constexpr size_t kTextBytes = 4'000'000;  // to tokenize, at least

struct Rate {
  int64_t tokens = 0;
  double per_second = 0;
};

struct TokenizerRate {
  size_t bytes = 0;
  size_t tokens = 0;
  double bytes_per_second = 0;
};

struct BenchReport {
  std::string model;
  std::string kernels;
  size_t file_bytes = 0;
  MachineLimits machine;
  std::vector<Rate> prefill;
  Rate decode;
  std::optional<TokenizerRate> tokenizer;  // none for a file without vocabulary
};

// Token ids that are all in the vocabulary and seldom equal, so that many experts are used.
std::vector<int32_t> some_tokens(int64_t n, int64_t vocab) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  uint64_t state = 1;
  for (int32_t& id : ids) {
    state = state * 6364136223846793005U + 1442695040888963407U;  // Knuth's MMIX generator
    id = static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocab));
  }
  return ids;
}

// The median of `repeats` runs after one that is not counted, in `amount` a second.
template <class Run>
Result<double> measure(double amount, int repeats, Run run) {
  std::vector<double> rates;
  for (int i = 0; i <= repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    PENSEE_RETURN_IF_ERROR(run());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (i > 0) rates.push_back(amount / seconds.count());
  }
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

// Tokenizes English on one core.
Result<void> measure_tokenizer(const Checkpoint& checkpoint, int repeats, BenchReport& report) {
  PENSEE_ASSIGN_OR_RETURN(const std::optional<Tokenizer> tokenizer, load_tokenizer(checkpoint));
  if (!tokenizer) return {};
  std::string text;
  while (text.size() < kTextBytes) text += kBenchText;
  TokenizerRate rate{text.size(), 0, 0};
  PENSEE_ASSIGN_OR_RETURN(rate.bytes_per_second,
                          measure(static_cast<double>(text.size()), repeats, [&]() -> Result<void> {
                            PENSEE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                                                    tokenizer->encode(text));
                            rate.tokens = ids.size();
                            return {};
                          }));
  report.tokenizer = rate;
  return {};
}

Result<void> measure_model(const Transformer& transformer, Sequence& sequence,
                           const BenchOptions& options, BenchReport& report) {
  const int64_t vocab = transformer.config().vocab_size;
  for (const int64_t length : options.prefill) {
    const std::vector<int32_t> ids = some_tokens(length, vocab);
    Rate rate{length, 0};
    PENSEE_ASSIGN_OR_RETURN(rate.per_second,
                            measure(static_cast<double>(length), options.repeats, [&] {
                              sequence.truncate(0);
                              return sequence.prefill(ids);
                            }));
    report.prefill.push_back(rate);
  }
  const std::vector<int32_t> ids = some_tokens(kDecodePrompt + options.decode, vocab);
  sequence.truncate(0);
  PENSEE_RETURN_IF_ERROR(sequence.prefill(std::span(ids).first(kDecodePrompt)));
  report.decode.tokens = options.decode;
  PENSEE_ASSIGN_OR_RETURN(report.decode.per_second,
                          measure(static_cast<double>(options.decode), options.repeats, [&] {
                            sequence.truncate(kDecodePrompt);
                            Result<void> result;
                            for (size_t i = kDecodePrompt; i < ids.size() && result; ++i) {
                              result = sequence.decode(ids[i]);
                            }
                            return result;
                          }));
  return {};
}

nlohmann::ordered_json to_json(const PeakLimit& peak) {
  if (!peak.per_second) return nullptr;
  return {{"isa", peak.isa}, {"operations_per_second", *peak.per_second}};
}

void print_json(const BenchReport& report) {
  nlohmann::ordered_json prefill = nlohmann::ordered_json::array();
  for (const Rate& rate : report.prefill) {
    prefill.push_back({{"tokens", rate.tokens}, {"tokens_per_second", rate.per_second}});
  }
  nlohmann::ordered_json tokenizer;
  if (report.tokenizer) {
    tokenizer = {{"bytes", report.tokenizer->bytes},
                 {"tokens", report.tokenizer->tokens},
                 {"bytes_per_second", report.tokenizer->bytes_per_second}};
  }
  const MachineLimits& m = report.machine;
  const nlohmann::ordered_json json = {
      {"model", report.model},
      {"file_bytes", report.file_bytes},
      {"kernels", report.kernels},
      {"threads", m.n_threads},
      {"machine",
       {{"read_bytes_per_second", m.read_bytes_per_second},
        {"read_buffer_bytes", m.buffer_bytes},
        {"huge_pages_asked", m.huge_pages_asked},
        {"int8", to_json(m.int8)},
        {"bf16", to_json(m.bf16)},
        {"f32", to_json(m.f32)}}},
      {"prefill", prefill},
      {"decode",
       {{"tokens", report.decode.tokens}, {"tokens_per_second", report.decode.per_second}}},
      {"tokenizer", tokenizer}};
  write_out(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void print_row(const std::string& name, double value, const std::string& unit) {
  char line[128];
  std::snprintf(line, sizeof line, "%-16s %10.1f %s\n", name.c_str(), value, unit.c_str());
  write_out(line);
}

void print_peak(const std::string& name, const PeakLimit& peak) {
  if (peak.per_second) {
    print_row(name, *peak.per_second / 1e9, "GOP/s (" + peak.isa + ")");
  } else {
    write_out(name + ": " + peak.isa + "\n");
  }
}

void print_text(const BenchReport& report) {
  const MachineLimits& m = report.machine;
  write_out("machine, " + std::to_string(m.n_threads) + " threads\n");
  print_row("read", m.read_bytes_per_second / 1e9,
            m.huge_pages_asked ? "GB/s (huge pages asked for)" : "GB/s");
  print_peak("int8 peak", m.int8);
  print_peak("bf16 peak", m.bf16);
  print_peak("f32 peak", m.f32);
  write_out("model " + report.model + ", kernels " + report.kernels + "\n");
  for (const Rate& rate : report.prefill) {
    print_row("prefill " + std::to_string(rate.tokens), rate.per_second, "tokens/s");
  }
  print_row("decode", report.decode.per_second, "tokens/s");
  if (report.tokenizer) {
    print_row("tokenizer", report.tokenizer->bytes_per_second / 1e6, "MB/s of English, one core");
  }
}

}  // namespace

Result<int> run_bench(const BenchOptions& options) {
  PENSEE_ASSIGN_OR_RETURN(const auto transformer, load_transformer(options.model));
  SequenceOptions sequence_options;
  sequence_options.context_length =
      std::max(*std::max_element(options.prefill.begin(), options.prefill.end()),
               kDecodePrompt + options.decode);
  PENSEE_ASSIGN_OR_RETURN(Sequence sequence, Sequence::create(transformer, sequence_options));
  BenchReport report;
  report.model = model_path(options.model);
  report.kernels = transformer->kernels().name;
  report.file_bytes = transformer->checkpoint().bytes();
  PENSEE_ASSIGN_OR_RETURN(report.machine, measure_machine(transformer->pool()));
  PENSEE_RETURN_IF_ERROR(measure_model(*transformer, sequence, options, report));
  PENSEE_RETURN_IF_ERROR(measure_tokenizer(transformer->checkpoint(), options.repeats, report));
  options.json ? print_json(report) : print_text(report);
  return 0;
}

}  // namespace pensee::cli
