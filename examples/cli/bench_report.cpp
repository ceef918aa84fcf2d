#include "bench_report.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cpus.hpp"

namespace pensee::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

// Which part of the time the machine would need at its limits. Below 0: no limit is known.
struct Fractions {
  double read = -1;
  double peak = -1;
};

Fractions fractions_of(const PassTime& pass, const MachineLimits& machine) {
  Fractions f;
  f.read = pass.work.read_seconds(machine) / pass.seconds;
  const double compute = pass.work.compute_seconds(machine);
  if (compute > 0) f.peak = compute / pass.seconds;
  return f;
}

double tokens_per_second(const PassTime& pass) {
  return static_cast<double>(pass.tokens) / pass.seconds;
}

OrderedJson number_or_null(double value) {
  return value < 0 ? OrderedJson() : OrderedJson(value);
}

OrderedJson json_of(const PeakLimit& peak) {
  if (!peak.per_second) return nullptr;
  return {{"isa", peak.isa}, {"operations_per_second", *peak.per_second}};
}

OrderedJson json_of(const PassTime& pass, const MachineLimits& machine) {
  const Work& work = pass.work;
  const Fractions f = fractions_of(pass, machine);
  return {{"tokens", pass.tokens},
          {"depth", pass.depth},
          {"seconds", pass.seconds},
          {"tokens_per_second", tokens_per_second(pass)},
          {"weight_bytes", work.weight_bytes},
          {"cache_bytes", work.cache_bytes},
          {"operations", work.int8_operations + work.bf16_operations + work.f32_operations},
          {"fraction_of_read", f.read},
          {"fraction_of_peak", number_or_null(f.peak)}};
}

OrderedJson json_of(const std::vector<PassTime>& passes, const MachineLimits& machine) {
  OrderedJson list = OrderedJson::array();
  for (const PassTime& pass : passes) list.push_back(json_of(pass, machine));
  return list;
}

double memory_ratio(const BenchReport& report) {
  return static_cast<double>(report.peak_bytes) /
         static_cast<double>(report.file_bytes + report.cache_bytes);
}

void add_row(const std::string& name, double value, const std::string& unit, std::string& text) {
  char line[160];
  std::snprintf(line, sizeof line, "%-16s %10.1f %s\n", name.c_str(), value, unit.c_str());
  text += line;
}

void add_peak(const std::string& name, const PeakLimit& peak, std::string& text) {
  if (peak.per_second) {
    add_row(name, *peak.per_second / 1e9, "GOP/s (" + peak.isa + ")", text);
  } else {
    text += name + ": " + peak.isa + "\n";
  }
}

std::string percent(double fraction) {
  return std::to_string(static_cast<int>(fraction * 100 + 0.5)) + " %";
}

void add_pass(const std::string& name, const PassTime& pass, const MachineLimits& machine,
              std::string& text) {
  const Fractions f = fractions_of(pass, machine);
  char time[32];
  std::snprintf(time, sizeof time, "%.3f ms", pass.seconds * 1e3);
  std::string unit = "tokens/s, " + std::string(time) + ": " + percent(f.read) + " of read";
  if (f.peak >= 0) unit += ", " + percent(f.peak) + " of peak";
  add_row(name, tokens_per_second(pass), unit, text);
}

}  // namespace

std::string to_json(const BenchReport& report) {
  const MachineLimits& m = report.machine;
  OrderedJson tokenizer;
  if (report.tokenizer) {
    tokenizer = {{"bytes", report.tokenizer->bytes},
                 {"tokens", report.tokenizer->tokens},
                 {"bytes_per_second", report.tokenizer->bytes_per_second}};
  }
  const OrderedJson json = {{"model", report.model},
                            {"kernels", report.kernels},
                            {"threads", m.n_threads},
                            {"cpus", report.cpus},
                            {"pinned", report.pinned},
                            {"repeats", report.repeats},
                            {"machine",
                             {{"read_bytes_per_second", m.read_bytes_per_second},
                              {"read_buffer_bytes", m.buffer_bytes},
                              {"huge_pages_asked", m.huge_pages_asked},
                              {"int8", json_of(m.int8)},
                              {"bf16", json_of(m.bf16)},
                              {"f32", json_of(m.f32)}}},
                            {"load", {{"seconds", report.load_seconds}}},
                            {"prefill", json_of(report.prefill, m)},
                            {"decode", json_of(report.decode, m)},
                            {"sessions", json_of(report.sessions, m)},
                            {"memory",
                             {{"peak_bytes", report.peak_bytes},
                              {"file_bytes", report.file_bytes},
                              {"cache_bytes", report.cache_bytes},
                              {"ratio", memory_ratio(report)}}},
                            {"tokenizer", tokenizer}};
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

std::string to_text(const BenchReport& report) {
  const MachineLimits& m = report.machine;
  std::string text = "machine, " + std::to_string(m.n_threads) + " threads " +
                     (report.pinned ? "tied to" : "on") + " CPUs " + format_cpus(report.cpus) +
                     "\n";
  add_row("read", m.read_bytes_per_second / 1e9,
          m.huge_pages_asked ? "GB/s (huge pages asked for)" : "GB/s", text);
  add_peak("int8 peak", m.int8, text);
  add_peak("bf16 peak", m.bf16, text);
  add_peak("f32 peak", m.f32, text);
  text += "model " + report.model + ", kernels " + report.kernels + "; medians of " +
          std::to_string(report.repeats) + "\n";
  add_row("load", report.load_seconds * 1e3, "ms", text);
  for (const PassTime& pass : report.prefill) {
    add_pass("prefill " + std::to_string(pass.tokens), pass, m, text);
  }
  for (const PassTime& pass : report.decode) {
    add_pass("decode at " + std::to_string(pass.depth), pass, m, text);
  }
  for (const PassTime& pass : report.sessions) {
    add_pass(std::to_string(pass.tokens) + " sessions", pass, m, text);
  }
  char ratio[64];
  std::snprintf(ratio, sizeof ratio, "MB: %.3f x (file + cache)", memory_ratio(report));
  add_row("peak memory", static_cast<double>(report.peak_bytes) / 1e6, ratio, text);
  if (report.tokenizer) {
    add_row("tokenizer", report.tokenizer->bytes_per_second / 1e6, "MB/s of English, one core",
            text);
  }
  return text;
}

}  // namespace pensee::cli
