// Structs of options and results: their defaults, and what the core makes of them.
#include <cstring>
#include <optional>
#include <string>

#include "handles.hpp"

namespace pensee::capi {
namespace {

pensee_load_options default_load_options() noexcept {
  pensee_load_options options{};
  options.struct_size = sizeof options;
  return options;
}

pensee_sampler_options default_sampler_options() noexcept {
  pensee_sampler_options options{};
  options.struct_size = sizeof options;
  options.temperature = PENSEE_UNSET;
  options.top_k = PENSEE_UNSET;
  options.top_p = PENSEE_UNSET;
  options.min_p = PENSEE_UNSET;
  options.repetition_penalty = PENSEE_UNSET;
  options.presence_penalty = PENSEE_UNSET;
  options.frequency_penalty = PENSEE_UNSET;
  return options;
}

pensee_reply_options default_reply_options() noexcept {
  const ReplyOptions defaults;
  pensee_reply_options options{};
  options.struct_size = sizeof options;
  options.thinking = PENSEE_THINKING_AUTO;
  options.thinking_token_budget = defaults.thinking_token_budget;
  options.min_thought_tokens = defaults.min_thought_tokens;
  options.max_extensions = defaults.max_extensions;
  options.max_answer_tokens = defaults.max_answer_tokens;
  options.max_tokens = defaults.max_tokens;
  return options;
}

// The values of the two enums are the same.
static_assert(static_cast<int>(CacheType::kBF16) == PENSEE_CACHE_BF16);
static_assert(static_cast<int>(CacheType::kF32) == PENSEE_CACHE_F32);
static_assert(static_cast<int>(CacheType::kQ8) == PENSEE_CACHE_Q8);

template <class T>
void set_if(std::optional<T>& field, T value) {
  if (value != static_cast<T>(PENSEE_UNSET)) field = value;
}

Result<SamplerOverrides> sampler_overrides(const pensee_sampler_options* given) {
  PENSEE_ASSIGN_OR_RETURN(const pensee_sampler_options options,
                          read_struct(given, default_sampler_options()));
  SamplerOverrides overrides;
  set_if(overrides.temperature, options.temperature);
  set_if(overrides.top_k, options.top_k);
  set_if(overrides.top_p, options.top_p);
  set_if(overrides.min_p, options.min_p);
  set_if(overrides.repetition_penalty, options.repetition_penalty);
  set_if(overrides.presence_penalty, options.presence_penalty);
  set_if(overrides.frequency_penalty, options.frequency_penalty);
  if (options.has_seed != 0) overrides.seed = options.seed;
  return overrides;
}

template <class T>
T empty_result() noexcept {
  T result{};
  result.struct_size = sizeof result;
  return result;
}

}  // namespace

pensee_session_options default_session_options() noexcept {
  const SessionOptions defaults;
  pensee_session_options options{};
  options.struct_size = sizeof options;
  options.context_length = defaults.context_length;
  options.prefill_chunk = defaults.prefill_chunk;
  options.speculation = static_cast<int32_t>(defaults.speculation);
  options.cache_type = static_cast<int32_t>(defaults.cache_type);
  return options;
}

Result<SessionOptions> session_options(const pensee_session_options* given) {
  PENSEE_ASSIGN_OR_RETURN(const pensee_session_options options,
                          read_struct(given, default_session_options()));
  if (options.speculation < PENSEE_SPECULATION_OFF ||
      options.speculation > PENSEE_SPECULATION_AUTO) {
    return invalid_argument("speculation: expected a value of PENSEE_SPECULATION_..., found " +
                            std::to_string(options.speculation));
  }
  if (options.cache_type < PENSEE_CACHE_BF16 || options.cache_type > PENSEE_CACHE_Q8) {
    return invalid_argument("cache_type: expected PENSEE_CACHE_BF16, F32 or Q8, found " +
                            std::to_string(options.cache_type));
  }
  SessionOptions out;
  out.context_length = options.context_length;
  out.prefill_chunk = options.prefill_chunk;
  out.speculation = static_cast<Speculation>(options.speculation);
  out.cache_type = static_cast<CacheType>(options.cache_type);
  out.allocator = {options.allocate, options.release, options.allocator_user_data};
  return out;
}

Result<ReplyOptions> reply_options(const pensee_reply_options* given) {
  PENSEE_ASSIGN_OR_RETURN(const pensee_reply_options options,
                          read_struct(given, default_reply_options()));
  if (options.thinking < PENSEE_THINKING_AUTO || options.thinking > PENSEE_THINKING_OFF) {
    return invalid_argument("thinking: expected PENSEE_THINKING_AUTO, ON or OFF, found " +
                            std::to_string(options.thinking));
  }
  if (options.history < PENSEE_HISTORY_STRIP || options.history > PENSEE_HISTORY_KEEP) {
    return invalid_argument("history: expected PENSEE_HISTORY_STRIP or KEEP, found " +
                            std::to_string(options.history));
  }
  ReplyOptions out;
  out.history = static_cast<History>(options.history);
  out.stop_in_thought = options.stop_in_thought != 0;
  out.thinking = static_cast<Thinking>(options.thinking);
  out.thinking_token_budget = options.thinking_token_budget;
  if (options.budget_message != nullptr) out.budget_message = options.budget_message;
  out.min_thought_tokens = options.min_thought_tokens;
  if (options.extension_text != nullptr) out.extension_text = options.extension_text;
  out.max_extensions = options.max_extensions;
  out.max_answer_tokens = options.max_answer_tokens;
  out.max_tokens = options.max_tokens;
  PENSEE_ASSIGN_OR_RETURN(out.thought_sampler, sampler_overrides(options.thought_sampler));
  PENSEE_ASSIGN_OR_RETURN(out.answer_sampler, sampler_overrides(options.answer_sampler));
  PENSEE_ASSIGN_OR_RETURN(const auto stops, span_of(options.stop, options.n_stop, "stop"));
  for (const char* stop : stops) {
    if (stop == nullptr) return invalid_argument("stop: expected texts, found NULL");
    out.stop.emplace_back(stop);
  }
  if (options.answer_grammar != nullptr) out.answer_grammar = options.answer_grammar;
  if (options.answer_json_schema != nullptr) out.answer_json_schema = options.answer_json_schema;
  if (options.prefill_progress != nullptr) {
    out.prefill_progress =
        [call = options.prefill_progress, user_data = options.prefill_progress_user_data](
            int64_t done, int64_t total) { return call(user_data, done, total) == 0; };
  }
  return out;
}

}  // namespace pensee::capi

using namespace pensee::capi;  // NOLINT: this file defines the interface

#define PENSEE_DEFINE_INIT(type, defaults)                                            \
  pensee_status type##_init(type* out, size_t struct_size, uint32_t header_version) { \
    return init_struct(out, struct_size, header_version, defaults);                   \
  }
PENSEE_DEFINE_INIT(pensee_load_options, default_load_options())
PENSEE_DEFINE_INIT(pensee_session_options, default_session_options())
PENSEE_DEFINE_INIT(pensee_sampler_options, default_sampler_options())
PENSEE_DEFINE_INIT(pensee_reply_options, default_reply_options())
PENSEE_DEFINE_INIT(pensee_model_info, empty_result<pensee_model_info>())
PENSEE_DEFINE_INIT(pensee_memory_estimate, empty_result<pensee_memory_estimate>())
PENSEE_DEFINE_INIT(pensee_event, empty_result<pensee_event>())
PENSEE_DEFINE_INIT(pensee_usage, empty_result<pensee_usage>())
#undef PENSEE_DEFINE_INIT
