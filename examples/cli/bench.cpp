// bench: the machine's limits, and how near the model comes to them.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bench_layer.hpp"
#include "bench_measure.hpp"
#include "bench_report.hpp"
#include "bench_text.hpp"
#include "commands.hpp"
#include "cpus.hpp"
#include "load.hpp"
#include "machine_limits.hpp"
#include "pensee/model/sequence.hpp"
#include "pensee/reason/session.hpp"
#include "pensee/reason/step_many.hpp"
#include "terminal.hpp"

namespace pensee::cli {
namespace {

constexpr size_t kTextBytes = 4'000'000;  // to tokenize, at least
constexpr int64_t kSessionPrompt = 16;    // tokens

// Knuth's MMIX generator: the upper half of its state.
uint32_t next_random(uint64_t& state) {
  state = state * 6364136223846793005U + 1442695040888963407U;
  return static_cast<uint32_t>(state >> 32);
}

// Token ids that are all in the vocabulary and seldom equal, so that many experts are used.
std::vector<int32_t> some_tokens(int64_t n, int64_t vocab) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  uint64_t state = 1;
  for (int32_t& id : ids) {
    id = static_cast<int32_t>(next_random(state) % static_cast<uint64_t>(vocab));
  }
  return ids;
}

// Lengths and depths that suit what is measured, where none are given.
void choose_defaults(BenchOptions& options) {
  if (!options.prefill.empty() || !options.depth.empty() || !options.sessions.empty()) return;
  if (options.layer == "moe") {
    options.prefill = {1, 16, 512};
  } else if (options.layer == "mla") {
    options.depth = {4096, 16384, 32768};
  } else {
    options.prefill = {32, 128, 512};
    options.depth = {0, 512};
  }
}

// The most bytes that the process has had in memory.
Result<size_t> peak_memory() {
  std::ifstream status("/proc/self/status");
  constexpr std::string_view kKey = "VmHWM:";
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(kKey)) continue;
    return static_cast<size_t>(std::strtoull(line.c_str() + kKey.size(), nullptr, 10)) * 1024;
  }
  return Error{Status::kIoError, "/proc/self/status: expected VmHWM, found no such line"};
}

// Loads the model `repeats` times and more, and keeps the last.
Result<std::shared_ptr<const Model>> measure_load(const BenchOptions& options,
                                                  const std::optional<LayerFile>& layer,
                                                  BenchReport& report) {
  LoadOptions load;
  load.kernels = &best_kernels();
  load.threads = options.model.threads;
  load.read_ahead = options.model.read_ahead;
  load.repack_dir = options.model.repack_dir;
  std::shared_ptr<const Model> model;
  PENSEE_ASSIGN_OR_RETURN(
      report.load_seconds, measure_seconds(options.repeats, [&]() -> Result<void> {
        model.reset();
        if (layer) {
          PENSEE_ASSIGN_OR_RETURN(model, Model::load_buffers(std::array{layer->buffer()}, load));
        } else {
          PENSEE_ASSIGN_OR_RETURN(model, Model::load(model_path(options.model), load));
        }
        return {};
      }));
  return model;
}

Result<void> measure_prefill(const Transformer& model, Sequence& sequence,
                             const BenchOptions& options, BenchReport& report) {
  // A single layer is to do all its work, so the logits of all tokens are asked for.
  const bool all_rows = !options.layer.empty();
  for (const int64_t n : options.prefill) {
    const std::vector<int32_t> ids = some_tokens(n, model.config().vocab_size);
    const Work work = work_of(model, {n, 0, 1, report.cache_bytes_per_token, all_rows});
    PassTime pass{n, 0, 0, work};
    PENSEE_ASSIGN_OR_RETURN(pass.seconds, measure_seconds(options.repeats, [&] {
                              sequence.truncate(0);
                              if (!all_rows) return sequence.prefill(ids);
                              return sequence.prefill_with_logits(
                                  ids, [](int64_t, int64_t, std::span<const float>) {});
                            }));
    report.prefill.push_back(pass);
  }
  return {};
}

// Decodes behind `depth` rows of the cache that are those of the first tokens over and over:
// reading that many tokens would take minutes.
Result<void> measure_decode(const Transformer& model, Sequence& sequence,
                            const BenchOptions& options, BenchReport& report) {
  if (options.depth.empty()) return {};
  const std::vector<int32_t> ids = some_tokens(options.decode, model.config().vocab_size);
  sequence.truncate(0);
  PENSEE_RETURN_IF_ERROR(sequence.prefill(ids));
  std::vector<std::vector<std::byte>> planes;
  for (int64_t p = 0; p < sequence.cache_planes(); ++p) {
    const auto rows = sequence.cache_rows(p);
    planes.emplace_back(rows.begin(), rows.end());
  }
  for (const int64_t depth : options.depth) {
    size_t plane = 0;
    sequence.restore(depth, [&](std::span<std::byte> rows) {
      const std::vector<std::byte>& made = planes[plane++];
      for (size_t i = 0; i < rows.size(); i += made.size()) {
        std::copy_n(made.begin(), std::min(made.size(), rows.size() - i),
                    rows.begin() + static_cast<std::ptrdiff_t>(i));
      }
    });
    // The cache grows meanwhile: the middle is the mean.
    const int64_t cached = depth + options.decode / 2;
    PassTime step{1, depth, 0, work_of(model, {1, cached, 1, report.cache_bytes_per_token})};
    PENSEE_ASSIGN_OR_RETURN(step.seconds, measure_seconds(options.repeats, [&] {
                              sequence.truncate(depth);
                              Result<void> result;
                              for (size_t i = 0; i < ids.size() && result; ++i) {
                                result = sequence.decode(ids[i]);
                              }
                              return result;
                            }));
    step.seconds /= static_cast<double>(options.decode);
    report.decode.push_back(step);
  }
  return {};
}

// Seconds a token, of all sessions' greedy replies to prompts of their own, which are read before;
// and so is the first token chosen, which needs no pass.
Result<double> time_replies(std::span<Session* const> sessions, std::span<const int32_t> prompts,
                            int64_t decode) {
  ReplyOptions reply;
  reply.max_tokens = decode + 1;
  reply.thought_sampler.temperature = 0;
  for (Session* session : sessions) {
    PENSEE_RETURN_IF_ERROR(session->start_prompt(prompts.first(size_t{kSessionPrompt}), reply));
    PENSEE_RETURN_IF_ERROR(session->prefill());
    prompts = prompts.subspan(size_t{kSessionPrompt});
  }
  std::vector<Session*> busy(sessions.begin(), sessions.end());
  for (const Result<Event>& event : step_many(busy)) {
    if (!event) return event.error();
  }
  const auto start = std::chrono::steady_clock::now();
  int64_t tokens = 0;
  while (!busy.empty()) {
    for (const Result<Event>& event : step_many(busy)) {
      if (!event) return event.error();
      if (event->kind == EventKind::kToken) ++tokens;
    }
    std::erase_if(busy, [](const Session* session) { return !session->is_replying(); });
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return seconds.count() / static_cast<double>(std::max<int64_t>(tokens, 1));
}

// Sessions that write together, with all that a step does: from reading the newest token to
// choosing the next.
Result<void> measure_sessions(const std::shared_ptr<const Model>& model,
                              const BenchOptions& options, BenchReport& report) {
  SessionOptions room;
  room.context_length = kSessionPrompt + options.decode + 1;
  PENSEE_ASSIGN_OR_RETURN(room.cache_type, cache_type_from_name(options.model.cache_type));
  for (const int64_t n : options.sessions) {
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<Session*> list;
    for (int64_t i = 0; i < n; ++i) {
      PENSEE_ASSIGN_OR_RETURN(auto session, Session::create(model, room));
      list.push_back(session.get());
      sessions.push_back(std::move(session));
    }
    const std::vector<int32_t> prompts =
        some_tokens(n * kSessionPrompt, model->config().vocab_size);
    std::vector<double> seconds;
    for (int i = 0; i <= options.repeats; ++i) {
      PENSEE_ASSIGN_OR_RETURN(const double each, time_replies(list, prompts, options.decode));
      if (i > 0) seconds.push_back(each);
    }
    const int64_t cached = kSessionPrompt + options.decode / 2;
    const Work work = work_of(*model->transformer(), {1, cached, n, report.cache_bytes_per_token});
    report.sessions.push_back({n, kSessionPrompt, median(seconds) * static_cast<double>(n), work});
  }
  return {};
}

// Tokenizes English on one core.
Result<void> measure_tokenizer(const Tokenizer& tokenizer, int repeats, BenchReport& report) {
  if (tokenizer.vocab_size() == 0) return {};
  std::string text;
  while (text.size() < kTextBytes) text += kBenchText;
  TokenizerRate rate{text.size(), 0, 0};
  PENSEE_ASSIGN_OR_RETURN(const double seconds, measure_seconds(repeats, [&]() -> Result<void> {
                            PENSEE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                                                    tokenizer.encode(text));
                            rate.tokens = ids.size();
                            return {};
                          }));
  rate.bytes_per_second = static_cast<double>(text.size()) / seconds;
  report.tokenizer = rate;
  return {};
}

// Times of the model, and the memory that it took. The machine is measured afterwards, as its
// buffer would count.
Result<void> measure_model(const Model& model, const BenchOptions& options, BenchReport& report) {
  const Transformer& transformer = *model.transformer();
  int64_t tokens = 1;
  for (const int64_t n : options.prefill) tokens = std::max(tokens, n);
  for (const int64_t depth : options.depth) tokens = std::max(tokens, depth + options.decode);
  SequenceOptions sequence_options;
  sequence_options.context_length = tokens;
  PENSEE_ASSIGN_OR_RETURN(sequence_options.cache_type,
                          cache_type_from_name(options.model.cache_type));
  PENSEE_ASSIGN_OR_RETURN(Sequence sequence,
                          Sequence::create(model.transformer(), sequence_options));
  report.kernels = transformer.kernels().name;
  report.file_bytes = transformer.checkpoint().bytes();
  report.cache_bytes_per_token = KvCache::token_bytes(transformer.config(), sequence.cache_type());
  report.cache_bytes = static_cast<size_t>(tokens * report.cache_bytes_per_token);
  PENSEE_RETURN_IF_ERROR(measure_prefill(transformer, sequence, options, report));
  PENSEE_RETURN_IF_ERROR(measure_decode(transformer, sequence, options, report));
  PENSEE_ASSIGN_OR_RETURN(report.peak_bytes, peak_memory());
  return {};
}

Result<void> choose_cpus(BenchOptions& options, BenchReport& report) {
  report.pinned = !options.cpus.empty();
  if (!report.pinned) {
    PENSEE_ASSIGN_OR_RETURN(report.cpus, available_cpus());
    return {};
  }
  PENSEE_ASSIGN_OR_RETURN(report.cpus, parse_cpus(options.cpus));
  if (options.model.threads == 0) options.model.threads = static_cast<int>(report.cpus.size());
  return use_cpus(report.cpus);
}

}  // namespace

Result<int> run_bench(BenchOptions options) {
  if (!options.layer.empty() && !options.model.path.empty()) {
    return invalid_argument("--layer: expected no model beside it, found " + options.model.path);
  }
  choose_defaults(options);
  BenchReport report;
  report.repeats = options.repeats;
  PENSEE_RETURN_IF_ERROR(choose_cpus(options, report));
  std::optional<LayerFile> layer;
  if (!options.layer.empty()) {
    PENSEE_ASSIGN_OR_RETURN(LayerFile made, LayerFile::make(options));
    layer.emplace(std::move(made));
  }
  report.model = layer ? options.layer + " layer of DeepSeek-R1, " + options.layer_type
                       : model_path(options.model);
  PENSEE_ASSIGN_OR_RETURN(const auto model, measure_load(options, layer, report));
  if (report.pinned) PENSEE_RETURN_IF_ERROR(pin_threads(report.cpus));
  PENSEE_RETURN_IF_ERROR(measure_model(*model, options, report));
  PENSEE_RETURN_IF_ERROR(measure_sessions(model, options, report));
  PENSEE_ASSIGN_OR_RETURN(report.machine, measure_machine(model->transformer()->pool()));
  PENSEE_RETURN_IF_ERROR(measure_tokenizer(model->tokenizer(), options.repeats, report));
  write_out(options.json ? to_json(report) : to_text(report));
  return 0;
}

}  // namespace pensee::cli
