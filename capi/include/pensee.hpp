// pensee.hpp: C++17 objects over pensee.h. Everything here is inline and calls the C interface
// alone, so a program keeps working with every library whose C interface it was compiled for.
//
//   auto model = pensee::c::Model::load("DeepSeek-R1");
//   auto session = pensee::c::Session(model);
//   const pensee::c::Reply reply = session.ask("What is 17 * 23?");
//   std::cout << reply.thought << '\n' << reply.answer << '\n';
//
// A failed call throws pensee::c::Error with the status that pensee.h says; allocation in this
// header may throw std::bad_alloc. Objects own their handles and can be moved; one that was moved
// from can only be destroyed or assigned to. The rules of pensee.h for errors, threads, callbacks
// and borrowed text hold.
#ifndef PENSEE_HPP
#define PENSEE_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee.h"
#include "pensee_experimental.h"

namespace pensee::c {

class Error : public std::runtime_error {
 public:
  Error(pensee_status status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  pensee_status status() const noexcept { return status_; }

 private:
  pensee_status status_;
};

namespace detail {

template <auto Destroy>
struct Deleter {
  template <class T>
  void operator()(T* handle) const noexcept {
    Destroy(handle);
  }
};
template <class T, auto Destroy>
using Handle = std::unique_ptr<T, Deleter<Destroy>>;

// Calls `function(arguments..., &error)`; throws what it tells.
template <class Function, class... Arguments>
void call(Function&& function, Arguments&&... arguments) {
  pensee_error* raw = nullptr;
  const pensee_status status = function(std::forward<Arguments>(arguments)..., &raw);
  const Handle<pensee_error, pensee_error_destroy> error(raw);
  if (status != PENSEE_OK) throw Error(status, pensee_error_message(raw));
}

// For the C interface, which would take a path with a NUL within for another, shorter one.
inline const char* c_path(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    throw Error(PENSEE_ERROR_INVALID_ARGUMENT, "path: expected text without NUL, found one");
  }
  return path.c_str();
}

// A C struct that holds the library's defaults.
template <class T, pensee_status (*Init)(T*, size_t, uint32_t)>
struct Initialised : T {
  Initialised() : T() {
    const pensee_status status = Init(this, sizeof(T), PENSEE_VERSION);
    if (status != PENSEE_OK) throw Error(status, pensee_status_string(status));
  }
};

}  // namespace detail

using LoadOptions = detail::Initialised<pensee_load_options, pensee_load_options_init>;
using SessionOptions = detail::Initialised<pensee_session_options, pensee_session_options_init>;
using SamplerOptions = detail::Initialised<pensee_sampler_options, pensee_sampler_options_init>;
using ReplyOptions = detail::Initialised<pensee_reply_options, pensee_reply_options_init>;
using ModelInfo = detail::Initialised<pensee_model_info, pensee_model_info_init>;
using MemoryEstimate = detail::Initialised<pensee_memory_estimate, pensee_memory_estimate_init>;
using Usage = detail::Initialised<pensee_usage, pensee_usage_init>;
// Its text is the session's, until the next step.
using Event = detail::Initialised<pensee_event, pensee_event_init>;

struct Message {
  int32_t role = PENSEE_ROLE_USER;
  std::string text;
  std::string thought;  // before the text; experimental
};

struct Reply {
  std::string thought;
  std::string answer;
  int32_t thought_end = PENSEE_THOUGHT_END_NONE;
  int32_t answer_end = PENSEE_ANSWER_END_NONE;
  Usage usage;
};

// A voter's reply, and what it chose. Experimental.
struct Ballot : Reply {
  std::string choice;
};
struct Vote {
  std::string winner;
  int32_t n_votes = 0;
  std::vector<Ballot> ballots;
};

// What a checkpoint would need; see pensee_estimate_memory().
inline MemoryEstimate estimate_memory(const std::string& path, const SessionOptions& options = {},
                                      int32_t n_threads = 0) {
  MemoryEstimate estimate;
  detail::call(pensee_estimate_memory, detail::c_path(path), &options, n_threads, &estimate);
  return estimate;
}

class Model {
 public:
  static Model load(const std::string& path, const LoadOptions& options = {}) {
    pensee_model* model = nullptr;
    detail::call(pensee_model_load, detail::c_path(path), &options, &model);
    return Model(model);
  }
  // The buffers' memory must outlive the model and its sessions.
  static Model load_buffers(const std::vector<pensee_buffer>& buffers,
                            const LoadOptions& options = {}) {
    pensee_model* model = nullptr;
    detail::call(pensee_model_load_buffers, buffers.data(), buffers.size(), &options, &model);
    return Model(model);
  }

  ModelInfo info() const {
    ModelInfo info;
    detail::call(pensee_model_get_info, get(), &info);
    return info;
  }

  std::vector<int32_t> tokenize(std::string_view text, bool parse_special = false) const {
    int32_t* tokens = nullptr;
    size_t n_tokens = 0;
    detail::call(pensee_model_tokenize, get(), text.data(), text.size(), int32_t{parse_special},
                 &tokens, &n_tokens);
    const detail::Handle<int32_t, pensee_free> owner(tokens);
    return std::vector<int32_t>(tokens, tokens + n_tokens);
  }
  std::string detokenize(const std::vector<int32_t>& tokens, bool skip_special = false) const {
    char* text = nullptr;
    size_t size = 0;
    detail::call(pensee_model_detokenize, get(), tokens.data(), tokens.size(),
                 int32_t{skip_special}, &text, &size);
    const detail::Handle<char, pensee_free> owner(text);
    return std::string(text, size);
  }
  // Borrowed from the model; its data is NULL for an id that is no token.
  std::string_view token_bytes(int32_t token) const {
    size_t size = 0;
    const char* bytes = pensee_model_token_bytes(get(), token, &size);
    return std::string_view(bytes, size);
  }
  bool is_special(int32_t token) const { return pensee_model_token_is_special(get(), token) != 0; }

  // (n_tokens, vocab_size), row by row. Experimental.
  std::vector<float> logits(const std::vector<int32_t>& tokens,
                            pensee_prefill_progress_fn progress = nullptr,
                            void* progress_user_data = nullptr) const {
    std::vector<float> logits(tokens.size() * static_cast<size_t>(info().vocab_size));
    detail::call(pensee_model_logits, get(), tokens.data(), tokens.size(), logits.data(),
                 logits.size(), progress, progress_user_data);
    return logits;
  }

  pensee_model* get() const noexcept { return handle_.get(); }

 private:
  explicit Model(pensee_model* model) : handle_(model) {}
  detail::Handle<pensee_model, pensee_model_destroy> handle_;
};

class Session {
 public:
  explicit Session(const Model& model, const SessionOptions& options = {}) {
    pensee_session* session = nullptr;
    detail::call(pensee_session_create, model.get(), &options, &session);
    handle_.reset(session);
  }
  // From what save() gave; the same from a file. Experimental.
  static Session restore(const Model& model, std::string_view data,
                         const SessionOptions& options = {}) {
    pensee_session* session = nullptr;
    detail::call(pensee_session_restore, model.get(), data.data(), data.size(), &options, &session);
    return Session(session);
  }
  static Session restore_file(const Model& model, const std::string& path,
                              const SessionOptions& options = {}) {
    pensee_session* session = nullptr;
    detail::call(pensee_session_restore_file, model.get(), detail::c_path(path), &options,
                 &session);
    return Session(session);
  }
  std::string save() const {
    void* data = nullptr;
    size_t size = 0;
    detail::call(pensee_session_save, get(), &data, &size);
    const detail::Handle<void, pensee_free> owner(data);
    return std::string(static_cast<const char*>(data), size);
  }
  void save_file(const std::string& path) const {
    detail::call(pensee_session_save_file, get(), detail::c_path(path));
  }

  // --- Messages ---
  void add_message(int32_t role, std::string_view text) {
    detail::call(pensee_session_add_message, get(), role, text.data(), text.size());
  }
  // An assistant's, with the thought before it. Experimental.
  void add_answer(std::string_view thought, std::string_view text) {
    detail::call(pensee_session_add_answer, get(), thought.data(), thought.size(), text.data(),
                 text.size());
  }
  std::vector<Message> messages() const {
    std::vector<Message> messages(pensee_session_message_count(get()));
    for (size_t i = 0; i < messages.size(); ++i) {
      size_t size = 0;
      const char* text = pensee_session_message(get(), i, &messages[i].role, &size);
      messages[i].text.assign(text, size);
      const char* thought = pensee_session_message_thought(get(), i, &size);
      messages[i].thought.assign(thought, size);
    }
    return messages;
  }
  void rewind(size_t n_messages) { detail::call(pensee_session_rewind, get(), n_messages); }
  void reset() { detail::call(pensee_session_reset, get()); }

  // --- A reply as a whole, in two parts, or event by event ---
  Reply ask(std::string_view message, const ReplyOptions& options = {}) {
    detail::call(pensee_session_ask, get(), message.data(), message.size(), &options);
    return reply();
  }
  void start(const ReplyOptions& options = {}) {
    detail::call(pensee_session_start, get(), &options);
  }
  void start_tokens(const std::vector<int32_t>& tokens, const ReplyOptions& options = {}) {
    detail::call(pensee_session_start_tokens, get(), tokens.data(), tokens.size(), &options);
  }
  void start_text(std::string_view text, const ReplyOptions& options = {}) {
    detail::call(pensee_session_start_text, get(), text.data(), text.size(), &options);
  }
  void prefill() { detail::call(pensee_session_prefill, get()); }
  std::string think() {
    detail::call(pensee_session_think, get());
    return thought_text();
  }
  std::string answer() {
    detail::call(pensee_session_answer, get());
    return answer_text();
  }
  Event step() {
    Event event;
    detail::call(pensee_session_step, get(), &event);
    return event;
  }
  // Calls `callback(const pensee_event&)` for each event to the end of the reply. If it throws, the
  // reply is cancelled, its last events are not shown, and the exception goes on.
  template <class Callback>
  void run(Callback&& callback) {
    struct State {
      Callback& callback;
      std::exception_ptr thrown;
    } state{callback, nullptr};
    const pensee_event_fn forward = [](void* user_data, const pensee_event* event) -> int32_t {
      auto& to = *static_cast<State*>(user_data);
      if (to.thrown) return 1;
      try {
        to.callback(*event);
      } catch (...) {
        to.thrown = std::current_exception();
      }
      return to.thrown ? 1 : 0;
    };
    detail::call(pensee_session_run, get(), forward, &state);
    if (state.thrown) std::rethrow_exception(state.thrown);
  }
  // One step of each of `sessions`, of one model: events[i] is of sessions[i]. If one fails, the
  // first one's error is thrown, and the others' events are there all the same; `statuses` says
  // which those are. Experimental.
  static void step_many(const std::vector<Session*>& sessions, std::vector<Event>& events,
                        std::vector<pensee_status>* statuses = nullptr) {
    events.assign(sessions.size(), Event());
    std::vector<pensee_session*> handles;
    std::vector<pensee_event*> places;
    for (size_t i = 0; i < sessions.size(); ++i) {
      handles.push_back(sessions[i]->get());
      places.push_back(&events[i]);
    }
    std::vector<pensee_status> own;
    std::vector<pensee_status>& codes = statuses == nullptr ? own : *statuses;
    codes.assign(sessions.size(), PENSEE_OK);
    detail::call(pensee_session_step_many, handles.data(), handles.size(), places.data(),
                 codes.data());
  }

  // Lets forks finish the reply under way, and goes on as the one that most agree with.
  // Experimental.
  Vote vote(int32_t n_voters, uint64_t seed = 0, pensee_vote_progress_fn progress = nullptr,
            void* progress_user_data = nullptr) {
    pensee_vote* raw = nullptr;
    detail::call(pensee_session_vote, get(), n_voters, seed, progress, progress_user_data, &raw);
    const detail::Handle<pensee_vote, pensee_vote_destroy> owner(raw);
    Vote vote;
    size_t winner_size = 0;
    const char* winner = pensee_vote_winner(raw, &vote.n_votes, &winner_size);
    vote.winner.assign(winner, winner_size);
    for (int32_t i = 0; i < pensee_vote_voter_count(raw); ++i) {
      const auto text = [&](auto* function) {
        size_t size = 0;
        const char* bytes = function(raw, i, &size);
        return std::string(bytes, size);
      };
      Ballot ballot;
      ballot.choice = text(pensee_vote_choice);
      ballot.thought = text(pensee_vote_thought);
      ballot.answer = text(pensee_vote_answer);
      ballot.thought_end = pensee_vote_thought_end(raw, i);
      ballot.answer_end = pensee_vote_answer_end(raw, i);
      detail::call(pensee_vote_get_usage, raw, i, &ballot.usage);
      vote.ballots.push_back(std::move(ballot));
    }
    return vote;
  }

  // Any thread, as long as the session is there.
  void end_thinking() noexcept { pensee_session_end_thinking(get()); }
  void cancel() noexcept { pensee_session_cancel(get()); }

  // --- The reply under way, or the last one ---
  Reply reply() const {
    return Reply{thought_text(), answer_text(), thought_end(), answer_end(), usage()};
  }
  std::string thought_text() const { return text_of(pensee_session_thought_text); }
  std::string answer_text() const { return text_of(pensee_session_answer_text); }
  int32_t thought_end() const noexcept { return pensee_session_thought_end(get()); }
  int32_t answer_end() const noexcept { return pensee_session_answer_end(get()); }
  bool is_replying() const noexcept { return pensee_session_is_replying(get()) != 0; }
  Usage usage() const {
    Usage usage;
    detail::call(pensee_session_get_usage, get(), &usage);
    return usage;
  }
  std::vector<int32_t> tokens() const {
    size_t n_tokens = 0;
    const int32_t* tokens = pensee_session_tokens(get(), &n_tokens);
    return std::vector<int32_t>(tokens, tokens + n_tokens);
  }
  int64_t context_length() const noexcept { return pensee_session_context_length(get()); }
  // (vocab_size), after the newest token. Experimental.
  std::vector<float> logits() {
    const float* logits = nullptr;
    size_t n_logits = 0;
    detail::call(pensee_session_logits, get(), &logits, &n_logits);
    return std::vector<float>(logits, logits + n_logits);
  }

  Session fork() const {
    pensee_session* fork = nullptr;
    detail::call(pensee_session_fork, get(), &fork);
    return Session(fork);
  }
  void reseed(uint64_t seed) { detail::call(pensee_session_reseed, get(), seed); }

  pensee_session* get() const noexcept { return handle_.get(); }

 private:
  explicit Session(pensee_session* session) : handle_(session) {}

  template <class Getter>
  std::string text_of(Getter&& getter) const {
    size_t size = 0;
    const char* text = getter(get(), &size);
    if (text == nullptr) throw Error(PENSEE_ERROR_OUT_OF_MEMORY, "no memory for a reply's text");
    return std::string(text, size);
  }

  detail::Handle<pensee_session, pensee_session_destroy> handle_;
};

}  // namespace pensee::c

#endif  // PENSEE_HPP
