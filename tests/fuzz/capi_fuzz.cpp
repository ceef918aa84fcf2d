// The C interface: an input is a list of calls with their arguments, right and wrong ones, on a few
// models and sessions. After each call its promises are checked: a status and an error object that
// agree, results that are NULL after a failure, getters that make sense.
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "capi_script.hpp"
#include "fuzz.hpp"
#include "pensee.h"
#include "pensee_experimental.h"

namespace {

using pensee::fuzz::checked;
using pensee::fuzz::poisoned;
using pensee::fuzz::Script;

// The tiny model, from files and as buffers.
struct Files {
  std::vector<std::string> names;
  std::vector<std::string> contents;

  Files() {
    for (const char* name : {"config.json", "generation_config.json", "tokenizer.json",
                             "tokenizer_config.json", "model.safetensors"}) {
      std::ifstream file(std::string(PENSEE_TINY_R1) + "/" + name, std::ios::binary);
      names.emplace_back(name);
      contents.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
      FUZZ_CHECK(!contents.back().empty());
    }
  }
};

const Files& files() {
  static const Files all;
  return all;
}

// Loaded once: most inputs need one. Never destroyed.
pensee_model* shared_model() {
  static pensee_model* const model = [] {
    pensee_load_options options;
    pensee_load_options_init(&options, sizeof options, PENSEE_VERSION);
    options.n_threads = 1;
    pensee_model* loaded = nullptr;
    FUZZ_CHECK(pensee_model_load(PENSEE_TINY_R1, &options, &loaded, nullptr) == PENSEE_OK);
    return loaded;
  }();
  return model;
}

class Machine {
 public:
  Machine(const uint8_t* data, size_t size) : script_(data, size) { models_[0] = shared_model(); }
  ~Machine() {
    // Models before their sessions, or after.
    if (script_.below(2) == 0) destroy_model();
    for (pensee_session* session : sessions_) pensee_session_destroy(session);
    destroy_model();
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  void run() {
    constexpr int kMostCalls = 40;
    for (int calls = 0; !script_.is_over() && calls < kMostCalls; ++calls) {
      using Call = void (Machine::*)();
      static constexpr Call kCalls[] = {&Machine::create,      &Machine::create,
                                        &Machine::add_message, &Machine::add_message,
                                        &Machine::start,       &Machine::start,
                                        &Machine::step,        &Machine::step,
                                        &Machine::step,        &Machine::ask,
                                        &Machine::start_ready, &Machine::run_to_end,
                                        &Machine::run_to_end,  &Machine::run_events,
                                        &Machine::signal,      &Machine::rewind,
                                        &Machine::fork,        &Machine::save,
                                        &Machine::save_file,   &Machine::step_many,
                                        &Machine::logits,      &Machine::tokenize,
                                        &Machine::detokenize,  &Machine::facts,
                                        &Machine::estimate,    &Machine::structs,
                                        &Machine::load,        &Machine::destroy_session,
                                        &Machine::vote};
      (this->*kCalls[script_.below(std::size(kCalls))])();
      for (const pensee_session* session : sessions_) check(session);
    }
  }

 private:
  // Mostly the first, so that calls meet the same session.
  pensee_session*& slot() {
    static constexpr size_t kSlots[] = {0, 0, 0, 0, 0, 1, 1, 2};
    return sessions_[kSlots[script_.below(std::size(kSlots))]];
  }
  const pensee_model* model() { return models_[script_.below(4) / 3]; }

  // --- What must hold of a session between calls

  static void check(const pensee_session* session) {
    if (session == nullptr) return;
    size_t size = 0;
    const char* thought = pensee_session_thought_text(session, &size);
    FUZZ_CHECK(thought != nullptr && thought[size] == '\0');
    const char* answer = pensee_session_answer_text(session, &size);
    FUZZ_CHECK(answer != nullptr && answer[size] == '\0');
    const int32_t replying = pensee_session_is_replying(session);
    FUZZ_CHECK(replying == 0 || replying == 1);
    FUZZ_CHECK(std::strcmp(pensee_thought_end_string(pensee_session_thought_end(session)),
                           "unknown") != 0);
    FUZZ_CHECK(
        std::strcmp(pensee_answer_end_string(pensee_session_answer_end(session)), "unknown") != 0);
    pensee_session_tokens(session, &size);
    FUZZ_CHECK(static_cast<int64_t>(size) <= pensee_session_context_length(session) + 1);
    const size_t messages = pensee_session_message_count(session);
    FUZZ_CHECK(pensee_session_message(session, messages, nullptr, nullptr) == nullptr);
    for (size_t i = 0; i < messages; ++i) {
      int32_t role = -1;
      const char* text = pensee_session_message(session, i, &role, &size);
      FUZZ_CHECK(text != nullptr && text[size] == '\0');
      FUZZ_CHECK(role >= PENSEE_ROLE_SYSTEM && role <= PENSEE_ROLE_ASSISTANT);
    }
    pensee_usage usage;
    FUZZ_CHECK(pensee_usage_init(&usage, sizeof usage, PENSEE_VERSION) == PENSEE_OK);
    FUZZ_CHECK(pensee_session_get_usage(session, &usage, nullptr) == PENSEE_OK);
    FUZZ_CHECK(usage.prompt_tokens >= 0 && usage.cached_tokens >= 0 && usage.thought_tokens >= 0 &&
               usage.answer_tokens >= 0 && usage.control_tokens >= 0 && usage.forced_tokens >= 0);
  }

  // --- Options

  template <class T>
  void spoil_size(T& options) {
    static constexpr size_t kSizes[] = {0, 8, sizeof(T) - 1, SIZE_MAX};
    if (script_.rarely()) options.struct_size = kSizes[script_.below(std::size(kSizes))];
  }

  pensee_session_options session_options() {
    pensee_session_options options;
    FUZZ_CHECK(pensee_session_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
    options.context_length =
        script_.below(4) == 3 ? script_.number(1, 40) : script_.number(64, 160);
    options.prefill_chunk = script_.below(2) == 0 ? 0 : script_.number(1, 20);
    if (script_.rarely()) options.allocate = allocate;
    if (script_.rarely()) options.release = release;
    spoil_size(options);
    return options;
  }
  static void* allocate(void* /*user*/, size_t size, size_t alignment) {
    return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  }
  static void release(void* /*user*/, void* memory, size_t /*size*/) { std::free(memory); }

  pensee_sampler_options sampler_options() {
    pensee_sampler_options options;
    FUZZ_CHECK(pensee_sampler_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
    for (float* field :
         {&options.temperature, &options.top_p, &options.min_p, &options.repetition_penalty,
          &options.presence_penalty, &options.frequency_penalty}) {
      if (script_.below(16) == 1) *field = script_.real();
    }
    if (script_.below(4) == 0) options.top_k = static_cast<int32_t>(script_.number(0, 50));
    options.has_seed = static_cast<int32_t>(script_.below(2));
    options.seed = script_.byte();
    spoil_size(options);
    return options;
  }

  // Valid until the next call.
  const pensee_reply_options* reply_options() {
    pensee_reply_options& options = reply_options_;
    FUZZ_CHECK(pensee_reply_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
    options.max_tokens = script_.number(1, 12);
    if (options.max_tokens > 12) options.max_tokens = PENSEE_NO_CAP;
    if (script_.below(4) == 1) options.thinking = static_cast<int32_t>(script_.number(0, 2));
    if (script_.below(2) == 1) options.thinking_token_budget = script_.number(0, 8);
    if (script_.below(4) == 1) options.max_answer_tokens = script_.number(0, 8);
    if (script_.below(4) == 1) options.min_thought_tokens = script_.number(0, 8);
    if (script_.below(4) == 1) options.max_extensions = script_.number(0, 3);
    for (std::string& text : texts_) text = script_.text();
    if (script_.below(4) == 1) options.budget_message = texts_[0].c_str();
    if (script_.below(4) == 1) options.extension_text = texts_[1].c_str();
    stops_ = {texts_[2].c_str(), script_.rarely() ? nullptr : texts_[3].c_str()};
    if (script_.below(4) == 1) {
      options.stop = script_.rarely() ? nullptr : stops_.data();
      options.n_stop = script_.rarely() ? SIZE_MAX : script_.below(3);
      // Beyond the array would be read: a fault of the caller.
      if (options.stop != nullptr && options.n_stop == SIZE_MAX) options.n_stop = 2;
    }
    samplers_ = {sampler_options(), sampler_options()};
    if (script_.below(2) == 1) options.thought_sampler = &samplers_[0];
    if (script_.below(4) == 1) options.answer_sampler = &samplers_[1];
    if (script_.below(4) == 1) options.history = static_cast<int32_t>(script_.number(0, 1));
    options.stop_in_thought = script_.below(4) == 1;
    if (script_.below(8) == 1) options.answer_grammar = R"(root ::= [a-z0-9 ]{1,4} | "\\boxed{7}")";
    if (script_.below(8) == 1) options.answer_json_schema = R"({"enum": [1, "a", null]})";
    if (script_.rarely()) options.answer_grammar = texts_[1].c_str();
    if (script_.rarely()) options.prefill_progress = refuse_prefill;
    spoil_size(options);
    return &options;
  }
  static int32_t refuse_prefill(void* /*user*/, int64_t done, int64_t total) {
    FUZZ_CHECK(done > 0 && done <= total);
    return 1;
  }

  // --- Calls

  void create() {
    pensee_session*& session = slot();
    pensee_session_destroy(session);
    session = poisoned<pensee_session>();
    const pensee_session_options options = session_options();
    const pensee_model* of = model();
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return pensee_session_create(of, &options, &session, error);
    });
    FUZZ_CHECK((status == PENSEE_OK) == (session != nullptr));
  }

  void destroy_session() {
    pensee_session*& session = slot();
    pensee_session_destroy(session);
    session = nullptr;
  }

  void add_message() {
    pensee_session* session = slot();
    const std::string text = script_.text();
    const size_t before = pensee_session_message_count(session);
    const auto role = static_cast<int32_t>(script_.below(8) < 6 ? int64_t{PENSEE_ROLE_USER}
                                                                : script_.number(0, 3));
    const char* given = script_.rarely() ? nullptr : text.c_str();
    const size_t size = script_.below(4) == 0 ? PENSEE_NUL_TERMINATED : text.size();
    const bool has_thought = script_.below(4) == 0;
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return has_thought ? pensee_session_add_answer(session, given, size, given, size, error)
                         : pensee_session_add_message(session, role, given, size, error);
    });
    FUZZ_CHECK(pensee_session_message_count(session) == before + (status == PENSEE_OK ? 1 : 0));
  }

  void start() {
    pensee_session* session = slot();
    const pensee_reply_options* options = reply_options();
    if (script_.below(4) != 3) {
      pensee_session_add_message(session, PENSEE_ROLE_USER, "1+1?", 4, nullptr);
    }
    const int32_t before = pensee_session_is_replying(session);
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return pensee_session_start(session, options, error);
    });
    FUZZ_CHECK(pensee_session_is_replying(session) == (status == PENSEE_OK ? 1 : before));
  }

  void start_ready() {
    pensee_session* session = slot();
    const pensee_reply_options* options = reply_options();
    std::vector<int32_t> tokens(script_.below(40));
    for (int32_t& token : tokens) token = static_cast<int32_t>(script_.byte() * 3);
    if (script_.rarely()) tokens.push_back(static_cast<int32_t>(script_.number(0, 700)));
    const std::string text = script_.text();
    const bool as_text = script_.below(2) == 0;
    checked(script_, [&](pensee_error** error) {
      return as_text ? pensee_session_start_text(session, text.data(), text.size(), options, error)
                     : pensee_session_start_tokens(session, tokens.data(), tokens.size(), options,
                                                   error);
    });
  }

  void step() {
    pensee_session* session = slot();
    pensee_event event;
    FUZZ_CHECK(pensee_event_init(&event, sizeof event, PENSEE_VERSION) == PENSEE_OK);
    spoil_size(event);
    pensee_event* out = script_.rarely() ? nullptr : &event;
    for (size_t n = 1 + script_.below(6); n > 0; --n) {
      const pensee_status status = checked(
          script_, [&](pensee_error** error) { return pensee_session_step(session, out, error); });
      if (status != PENSEE_OK) return;
      check_event(event);
    }
  }
  static void check_event(const pensee_event& event) {
    FUZZ_CHECK(event.text != nullptr && event.text[event.text_size] == '\0');
    FUZZ_CHECK(std::strcmp(pensee_event_kind_string(event.kind), "unknown") != 0);
    FUZZ_CHECK(std::strcmp(pensee_phase_string(event.phase), "unknown") != 0);
    FUZZ_CHECK(event.token >= PENSEE_NO_TOKEN && event.log_prob <= 0);
  }

  void ask() {
    pensee_session* session = slot();
    const pensee_reply_options* options = reply_options();
    const std::string text = script_.text();
    const size_t before = pensee_session_message_count(session);
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return pensee_session_ask(session, text.data(), text.size(), options, error);
    });
    if (status == PENSEE_OK) {
      FUZZ_CHECK(pensee_session_is_replying(session) == 0);
    } else {
      FUZZ_CHECK(pensee_session_message_count(session) == before);
    }
  }

  void run_to_end() {
    pensee_session* session = slot();
    const size_t which = script_.below(3);
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return which == 0   ? pensee_session_prefill(session, error)
             : which == 1 ? pensee_session_think(session, error)
                          : pensee_session_answer(session, error);
    });
    if (status == PENSEE_OK && which == 2) FUZZ_CHECK(pensee_session_is_replying(session) == 0);
  }

  struct Listener {
    pensee_session* session;
    size_t cancel_after;
    size_t end_thinking_after;
    size_t events = 0;
    bool done = false;
  };
  void run_events() {
    Listener listener{slot(), script_.byte(), script_.byte()};
    const pensee_event_fn callback = script_.rarely() ? nullptr : on_event;
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return pensee_session_run(listener.session, callback, &listener, error);
    });
    FUZZ_CHECK(listener.done == (status == PENSEE_OK));
  }
  static int32_t on_event(void* user_data, const pensee_event* event) {
    auto& listener = *static_cast<Listener*>(user_data);
    check_event(*event);
    FUZZ_CHECK(!listener.done);
    listener.done = event->kind == PENSEE_EVENT_DONE;
    ++listener.events;
    if (listener.events == listener.end_thinking_after) {
      pensee_session_end_thinking(listener.session);
    }
    return listener.events == listener.cancel_after ? 1 : 0;
  }

  void signal() {
    pensee_session* session = slot();
    script_.below(2) == 0 ? pensee_session_cancel(session) : pensee_session_end_thinking(session);
  }

  void rewind() {
    pensee_session* session = slot();
    if (script_.below(4) == 0) {
      checked(script_, [&](pensee_error** error) { return pensee_session_reset(session, error); });
      return;
    }
    const size_t before = pensee_session_message_count(session);
    const auto n = static_cast<size_t>(script_.number(0, 4));
    const pensee_status status = checked(
        script_, [&](pensee_error** error) { return pensee_session_rewind(session, n, error); });
    FUZZ_CHECK(pensee_session_message_count(session) == (status == PENSEE_OK ? n : before));
  }

  // Puts a new session into a slot, unless that is its own source.
  void place(pensee_session* made) {
    pensee_session*& session = slot();
    pensee_session_destroy(session);
    session = made;
  }

  void fork() {
    pensee_session* session = slot();
    auto* copy = poisoned<pensee_session>();
    const uint64_t seed = script_.byte();
    const pensee_status status = checked(
        script_, [&](pensee_error** error) { return pensee_session_fork(session, &copy, error); });
    FUZZ_CHECK((status == PENSEE_OK) == (copy != nullptr));
    if (copy == nullptr) return;
    FUZZ_CHECK(pensee_session_message_count(copy) == pensee_session_message_count(session));
    checked(script_,
            [&](pensee_error** error) { return pensee_session_reseed(copy, seed, error); });
    place(copy);
  }

  void save() {
    const pensee_session* session = slot();
    void* data = poisoned<void>();
    size_t size = 1;
    pensee_status status = checked(script_, [&](pensee_error** error) {
      return pensee_session_save(session, &data, &size, error);
    });
    FUZZ_CHECK((status == PENSEE_OK) == (data != nullptr) && (data != nullptr || size == 0));
    if (data == nullptr) return;
    const bool whole = script_.below(2) == 0;
    if (!whole && size > 0) {
      static_cast<uint8_t*>(data)[(script_.byte() * 256 + script_.byte()) % size] ^= 1U;
      size -= script_.below(size);
    }
    auto* restored = poisoned<pensee_session>();
    pensee_session_options options = session_options();
    if (script_.below(2) == 0) options.context_length = 0;
    status = checked(script_, [&](pensee_error** error) {
      return pensee_session_restore(models_[0], data, size, &options, &restored, error);
    });
    FUZZ_CHECK((status == PENSEE_OK) == (restored != nullptr));
    FUZZ_CHECK(whole || status != PENSEE_OK);
    pensee_free(data);
    if (restored != nullptr) place(restored);
  }

  void save_file() {
    const pensee_session* session = slot();
    const std::string path =
        std::filesystem::temp_directory_path() / ("pensee_fuzz_capi_" + std::to_string(::getpid()));
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return pensee_session_save_file(session, path.c_str(), error);
    });
    FUZZ_CHECK((status == PENSEE_OK) == std::filesystem::exists(path));
    auto* restored = poisoned<pensee_session>();
    const pensee_status read = checked(script_, [&](pensee_error** error) {
      return pensee_session_restore_file(models_[0], path.c_str(), nullptr, &restored, error);
    });
    FUZZ_CHECK((read == PENSEE_OK) == (restored != nullptr));
    std::filesystem::remove(path);
    if (restored != nullptr) place(restored);
  }

  void step_many() {
    std::array<pensee_session*, 3> sessions = {slot(), slot(), slot()};
    std::array<pensee_event, 3> events;
    std::array<pensee_event*, 3> outs;
    std::array<pensee_status, 3> statuses{};
    for (size_t i = 0; i < events.size(); ++i) {
      FUZZ_CHECK(pensee_event_init(&events[i], sizeof events[i], PENSEE_VERSION) == PENSEE_OK);
      outs[i] = script_.rarely() ? nullptr : &events[i];
    }
    const size_t n = script_.below(4);
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return pensee_session_step_many(sessions.data(), n, outs.data(), statuses.data(), error);
    });
    for (size_t i = 0; i < n && status == PENSEE_OK; ++i) {
      FUZZ_CHECK(statuses[i] == PENSEE_OK);
      check_event(events[i]);
    }
  }

  void vote() {
    pensee_session* session = slot();
    const auto voters = static_cast<int32_t>(script_.number(1, 3));
    const pensee_vote_progress_fn progress = script_.rarely() ? refuse_vote : nullptr;
    pensee_vote* vote = poisoned<pensee_vote>();
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return pensee_session_vote(session, voters, script_.below(5), progress, nullptr, &vote,
                                 error);
    });
    FUZZ_CHECK((status == PENSEE_OK) == (vote != nullptr));
    if (vote == nullptr) return;
    FUZZ_CHECK(pensee_session_is_replying(session) == 0);
    FUZZ_CHECK(pensee_vote_voter_count(vote) == voters);
    int32_t n_votes = -1;
    FUZZ_CHECK(pensee_vote_winner(vote, &n_votes, nullptr) != nullptr);
    FUZZ_CHECK(n_votes >= 0 && n_votes <= voters);
    FUZZ_CHECK(pensee_vote_answer(vote, voters - 1, nullptr) != nullptr);
    pensee_vote_destroy(vote);
  }
  static int32_t refuse_vote(void* /*user*/, int32_t done, int32_t voters) {
    FUZZ_CHECK(done >= 0 && done <= voters);
    return 1;
  }

  void logits() {
    pensee_session* session = slot();
    const float* row = poisoned<float>();
    size_t n = 1;
    pensee_status status = checked(script_, [&](pensee_error** error) {
      return pensee_session_logits(session, &row, &n, error);
    });
    FUZZ_CHECK((status == PENSEE_OK) == (row != nullptr));
    if (row != nullptr) FUZZ_CHECK(n > 0 && row[0] + row[n - 1] != 0);
    std::vector<int32_t> tokens(script_.below(4));
    for (int32_t& token : tokens) token = static_cast<int32_t>(script_.number(0, 250));
    std::vector<float> all(tokens.size() * kVocabulary + (script_.rarely() ? 1 : 0));
    const pensee_prefill_progress_fn progress = script_.rarely() ? refuse_prefill : nullptr;
    checked(script_, [&](pensee_error** error) {
      return pensee_model_logits(models_[0], tokens.data(), tokens.size(), all.data(), all.size(),
                                 progress, nullptr, error);
    });
  }

  void tokenize() {
    const std::string text = script_.text();
    int32_t* tokens = poisoned<int32_t>();
    size_t n = 1;
    const auto special = static_cast<int32_t>(script_.below(2));
    const pensee_model* of = model();
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return pensee_model_tokenize(of, text.data(), text.size(), special, &tokens, &n, error);
    });
    FUZZ_CHECK((status == PENSEE_OK) == (tokens != nullptr) && (tokens != nullptr || n == 0));
    if (tokens == nullptr) return;
    char* back = nullptr;
    FUZZ_CHECK(pensee_model_detokenize(of, tokens, n, 0, &back, nullptr, nullptr) == PENSEE_OK);
    // Equal, but for a NUL that the text may hold.
    FUZZ_CHECK(std::strcmp(back, text.c_str()) == 0);
    pensee_free(back);
    pensee_free(tokens);
  }

  void detokenize() {
    std::vector<int32_t> tokens(script_.below(10));
    for (int32_t& token : tokens) token = static_cast<int32_t>(script_.number(0, 250) * 3);
    char* text = poisoned<char>();
    size_t size = 1;
    const auto skip = static_cast<int32_t>(script_.below(2));
    const pensee_model* of = model();
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return pensee_model_detokenize(of, tokens.data(), tokens.size(), skip, &text, &size, error);
    });
    FUZZ_CHECK((status == PENSEE_OK) == (text != nullptr));
    if (text != nullptr) FUZZ_CHECK(text[size] == '\0');
    pensee_free(text);
    for (const int32_t token : tokens) {
      const char* bytes = pensee_model_token_bytes(of, token, &size);
      FUZZ_CHECK(bytes != nullptr || size == 0);
      pensee_model_token_is_special(of, token);
    }
  }

  void facts() {
    pensee_model_info info;
    FUZZ_CHECK(pensee_model_info_init(&info, sizeof info, PENSEE_VERSION) == PENSEE_OK);
    spoil_size(info);
    const pensee_model* of = model();
    const pensee_status status = checked(
        script_, [&](pensee_error** error) { return pensee_model_get_info(of, &info, error); });
    if (status == PENSEE_OK) FUZZ_CHECK(std::strlen(info.architecture) > 0);
  }

  void estimate() {
    pensee_memory_estimate estimate;
    FUZZ_CHECK(pensee_memory_estimate_init(&estimate, sizeof estimate, PENSEE_VERSION) ==
               PENSEE_OK);
    spoil_size(estimate);
    const pensee_session_options options = session_options();
    const auto threads = static_cast<int32_t>(script_.number(0, 8));
    const char* path = script_.rarely() ? "/no/such" : PENSEE_TINY_R1;
    checked(script_, [&](pensee_error** error) {
      return pensee_estimate_memory(path, &options, threads, &estimate, error);
    });
  }

  void structs() {
    static constexpr size_t kSizes[] = {0, 1, 8, 64, 200, 256, 4096, 4097, SIZE_MAX};
    static constexpr uint32_t kVersions[] = {PENSEE_VERSION, 0, 999999, 1000000, UINT32_MAX};
    const size_t size = kSizes[script_.below(std::size(kSizes))];
    const uint32_t version = kVersions[script_.below(std::size(kVersions))];
    alignas(16) std::array<unsigned char, 4096> room;
    const auto init = [&](auto function, auto* type) {
      const pensee_status status =
          function(reinterpret_cast<decltype(type)>(room.data()), size, version);
      FUZZ_CHECK(status == PENSEE_OK || status == PENSEE_ERROR_INVALID_ARGUMENT ||
                 status == PENSEE_ERROR_UNSUPPORTED);
    };
    init(pensee_load_options_init, static_cast<pensee_load_options*>(nullptr));
    init(pensee_reply_options_init, static_cast<pensee_reply_options*>(nullptr));
    init(pensee_event_init, static_cast<pensee_event*>(nullptr));
    pensee_status_string(static_cast<pensee_status>(script_.number(0, 12)));
    pensee_has_feature(script_.text().c_str());
  }

  void destroy_model() {
    pensee_model_destroy(models_[1]);
    models_[1] = nullptr;
  }

  // Loads the second model, from the directory or from buffers with a fault.
  void load() {
    if (loads_++ >= 1) return;  // slow
    destroy_model();
    pensee_load_options options;
    FUZZ_CHECK(pensee_load_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
    options.n_threads = static_cast<int32_t>(script_.rarely() ? script_.number(0, 3) : 1);
    if (options.n_threads < 0 || options.n_threads > 3) options.n_threads = -1;
    spoil_size(options);
    const bool from_buffers = script_.below(4) != 0;
    std::vector<std::string> texts = files().contents;
    const size_t fault = script_.below(texts.size() + 1);
    if (fault < texts.size()) {
      std::string& text = texts[fault];
      const size_t at = (script_.byte() * 65536 + script_.byte() * 256 + script_.byte()) %
                        std::min<size_t>(text.size(), 60000);
      text[at] = static_cast<char>(script_.byte());
      if (script_.rarely()) text.resize(at);
    }
    buffers_ = std::move(texts);  // must stay while the model lives
    std::vector<pensee_buffer> given;
    for (size_t i = 0; i < buffers_.size(); ++i) {
      if (script_.rarely()) continue;
      given.push_back({files().names[i].c_str(), buffers_[i].data(), buffers_[i].size()});
    }
    models_[1] = poisoned<pensee_model>();
    const pensee_status status = checked(script_, [&](pensee_error** error) {
      return from_buffers ? pensee_model_load_buffers(given.data(), given.size(), &options,
                                                      &models_[1], error)
                          : pensee_model_load(PENSEE_TINY_R1, &options, &models_[1], error);
    });
    FUZZ_CHECK((status == PENSEE_OK) == (models_[1] != nullptr));
  }

  static constexpr size_t kVocabulary = 640;

  Script script_;
  std::vector<std::string> buffers_;
  std::array<pensee_model*, 2> models_{};
  std::array<pensee_session*, 3> sessions_{};
  int loads_ = 0;
  pensee_reply_options reply_options_;
  std::array<std::string, 4> texts_;
  std::array<const char*, 2> stops_{};
  std::array<pensee_sampler_options, 2> samplers_;
};

}  // namespace

std::span<const std::string_view> pensee::fuzz::words() {
  // Create, message, start, step; create, ask; and the like: calls whose arguments are zeros.
  static constexpr auto kWords =
      std::to_array<std::string_view>({{"\0\0\x40\0\0\0", 6},
                                       {"\2\0\2\0\0\0", 6},
                                       {"\4\0\x0c\1\1\1\1\1\1\1", 10},
                                       {"\6\0\0\5\0\0\0\0", 8},
                                       {"\x08\0\x0c\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\2", 19},
                                       {"\x0f\0\0\0\1", 5},
                                       {"\x10\0\0\0\0\0", 6},
                                       {"\x12\0\1\2\0\0\0\3", 8},
                                       {"\x0b\0\2", 3},
                                       {"\x0b\0\1", 3},
                                       {"\x0c\0\3\5\0", 5},
                                       {"\x19\0\0\0\1\5", 6}});
  return kWords;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Machine(data, size).run();
  return 0;
}
