// A session, as Python has it.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calls.hpp"
#include "model.hpp"
#include "options.hpp"
#include "pensee.hpp"

namespace pensee::python {

inline py::tuple event_tuple(const pensee_event& event) {
  const bool has_token = event.token != PENSEE_NO_TOKEN;
  return py::make_tuple(pensee_event_kind_string(event.kind), pensee_phase_string(event.phase),
                        py::str(event.text, event.text_size),
                        has_token ? py::object(py::int_(event.token)) : py::none(),
                        has_token ? py::object(py::float_(event.log_prob)) : py::none(),
                        event.forced != 0, pensee_thought_end_string(event.thought_end),
                        pensee_answer_end_string(event.answer_end));
}

inline py::dict reply_dict(const c::Reply& reply) {
  py::dict usage;
  usage["prompt_tokens"] = reply.usage.prompt_tokens;
  usage["cached_tokens"] = reply.usage.cached_tokens;
  usage["thought_tokens"] = reply.usage.thought_tokens;
  usage["answer_tokens"] = reply.usage.answer_tokens;
  usage["control_tokens"] = reply.usage.control_tokens;
  usage["forced_tokens"] = reply.usage.forced_tokens;
  usage["draft_tokens"] = reply.usage.draft_tokens;
  usage["accepted_tokens"] = reply.usage.accepted_tokens;
  usage["prefill_seconds"] = reply.usage.prefill_seconds;
  usage["thought_seconds"] = reply.usage.thought_seconds;
  usage["answer_seconds"] = reply.usage.answer_seconds;
  py::dict out;
  out["thought"] = py::str(reply.thought);
  out["answer"] = py::str(reply.answer);
  out["thought_end"] = pensee_thought_end_string(reply.thought_end);
  out["answer_end"] = pensee_answer_end_string(reply.answer_end);
  out["usage"] = usage;
  return out;
}

class Session {
 public:
  Session(const Model& model, int64_t context_length, int64_t prefill_chunk, int32_t speculation,
          int32_t cache_type)
      : loaded_(model.loaded()) {
    const py::gil_scoped_release release;
    session_.emplace(loaded_->model,
                     options(context_length, prefill_chunk, speculation, cache_type));
  }
  static std::unique_ptr<Session> restore(const Model& model, const py::object& data,
                                          int64_t context_length, int64_t prefill_chunk,
                                          int32_t speculation) {
    const View view(data);
    const auto loaded = model.loaded();
    const std::string_view bytes(static_cast<const char*>(view.data()), view.size());
    const py::gil_scoped_release release;
    return wrap(loaded, c::Session::restore(loaded->model, bytes,
                                            options(context_length, prefill_chunk, speculation)));
  }
  static std::unique_ptr<Session> restore_file(const Model& model, std::string path,
                                               int64_t context_length, int64_t prefill_chunk,
                                               int32_t speculation) {
    const auto loaded = model.loaded();
    path = without_nul(std::move(path), "path");
    const py::gil_scoped_release release;
    return wrap(loaded,
                c::Session::restore_file(loaded->model, path,
                                         options(context_length, prefill_chunk, speculation)));
  }
  ~Session() {
    if (session_ && !loaded_->process.is_this()) new c::Session(std::move(*session_));
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void close() {
    const Exclusive exclusive(in_use_);
    std::optional<c::Session> closing = std::exchange(session_, std::nullopt);
    {
      const py::gil_scoped_release release;
      closing.reset();
    }
    progress_.reset();
  }

  void add_message(int32_t role, const std::string& text) {
    use([&](c::Session& session) { session.add_message(role, text); });
  }
  void add_answer(const std::string& thought, const std::string& text) {
    use([&](c::Session& session) { session.add_answer(thought, text); });
  }
  py::list messages() {
    std::vector<c::Message> messages;
    use([&](c::Session& session) { messages = session.messages(); });
    py::list out;
    for (const c::Message& message : messages) {
      out.append(py::make_tuple(message.role, py::str(message.text), py::str(message.thought)));
    }
    return out;
  }
  void rewind(size_t n_messages) {
    use([&](c::Session& session) { session.rewind(n_messages); });
  }
  void reset() {
    use([](c::Session& session) { session.reset(); });
    progress_.reset();
  }

  void start(const py::dict& keywords) {
    start_with(keywords,
               [](c::Session& session, const c::ReplyOptions& options) { session.start(options); });
  }
  void start_tokens(const std::vector<int32_t>& tokens, const py::dict& keywords) {
    start_with(keywords, [&](c::Session& session, const c::ReplyOptions& options) {
      session.start_tokens(tokens, options);
    });
  }
  void start_text(const std::string& text, const py::dict& keywords) {
    start_with(keywords, [&](c::Session& session, const c::ReplyOptions& options) {
      session.start_text(text, options);
    });
  }
  void prefill() {
    run([](c::Session& session, Call&) { session.prefill(); });
  }
  py::tuple step() {
    c::Event event;
    Exclusive exclusive(in_use_);
    run_exclusively([&](c::Session& session, Call&) { event = session.step(); });
    return event_tuple(event);
  }
  void think() {
    run([](c::Session& session, Call& call) {
      if (session.thought_end() != PENSEE_THOUGHT_END_NONE) {
        // It has ended, perhaps in events that wait, as where there is none: nothing takes long.
        session.think();
        return;
      }
      while (session.step().kind != PENSEE_EVENT_THOUGHT_END && !call.interrupted()) {
      }
    });
  }
  void answer() {
    run([](c::Session& session, Call& call) {
      while (session.step().kind != PENSEE_EVENT_DONE && !call.interrupted()) {
      }
    });
  }
  // (winner, votes for it, ballots: (choice, reply)).
  py::tuple vote(int64_t n_voters, uint64_t seed) {
    c::Vote vote;
    run([&](c::Session& session, Call& call) {
      const pensee_vote_progress_fn progress = [](void* user_data, int32_t, int32_t) -> int32_t {
        return static_cast<Call*>(user_data)->interrupted() ? 1 : 0;
      };
      const auto checked = std::clamp<int64_t>(n_voters, INT32_MIN, INT32_MAX);  // by the library
      vote = session.vote(static_cast<int32_t>(checked), seed, progress, &call);
    });
    py::list ballots;
    for (const c::Ballot& b : vote.ballots) {
      ballots.append(py::make_tuple(py::str(b.choice), reply_dict(b)));
    }
    return py::make_tuple(py::str(vote.winner), vote.n_votes, ballots);
  }
  // Replies begun so far, the number of the newest one.
  int64_t n_replies() const noexcept { return n_replies_; }
  // Ends reply number `reply`, if it is under way: whoever has left it may come late.
  void abandon(int64_t reply) {
    if (!session_ || reply != n_replies_) return;
    use(finish);
    progress_.reset();
  }

  // The events, None for sessions that failed; the first error: its status, or OK, and message; and
  // what Python has raised, else None. That ends the replies of those whose callbacks raised it, or
  // of all, if it is a signal's.
  static py::tuple step_many(const std::vector<Session*>& sessions) {
    Call call;
    std::vector<std::unique_ptr<Exclusive>> exclusive;
    std::vector<c::Session*> inner;
    for (Session* session : sessions) {
      exclusive.push_back(std::make_unique<Exclusive>(session->in_use_));
      inner.push_back(&session->get());
    }
    std::vector<c::Event> events;
    std::vector<pensee_status> statuses;
    std::vector<bool> is_ended(sessions.size());
    c::Error error(PENSEE_OK, "");
    {
      const py::gil_scoped_release release;
      try {
        c::Session::step_many(inner, events, &statuses);
      } catch (const c::Error& failed) {
        error = failed;
      }
      for (size_t i = 0; i < sessions.size(); ++i) {
        // A fork shares its function, but may have read its prompt before.
        is_ended[i] =
            call.was_interrupted() || (call.is_stopped(sessions[i]->progress_.get()) &&
                                       inner[i]->reply().answer_end == PENSEE_ANSWER_END_CANCELLED);
        if (is_ended[i]) finish(*inner[i]);
      }
    }
    py::object raised = py::none();
    try {
      call.rethrow();
    } catch (const py::error_already_set& exception) {
      raised = exception.value();
    }
    py::list out;
    for (size_t i = 0; i < events.size(); ++i) {
      const bool is_stepped = statuses[i] == PENSEE_OK && !is_ended[i];
      out.append(is_stepped ? py::object(event_tuple(events[i])) : py::none());
    }
    for (Session* session : sessions) session->forget_progress();
    return py::make_tuple(out, error.status(), text_of(error.what()), raised);
  }

  // These two come from any thread while another holds the session. None closes it meanwhile, since
  // for that it would take session_ away, which needs the GIL.
  void end_thinking() { get().end_thinking(); }
  void cancel() { get().cancel(); }

  py::dict reply() {
    c::Reply reply;
    use([&](c::Session& session) { reply = session.reply(); });
    return reply_dict(reply);
  }
  bool is_replying() {
    bool replying = false;
    use([&](c::Session& session) { replying = session.is_replying(); });
    return replying;
  }
  std::vector<int32_t> tokens() {
    std::vector<int32_t> tokens;
    use([&](c::Session& session) { tokens = session.tokens(); });
    return tokens;
  }
  int64_t context_length() { return get().context_length(); }
  // (vocab_size), a copy: the session's own change with its next step.
  py::array_t<float> logits() {
    std::vector<float> logits;
    use([&](c::Session& session) { logits = session.logits(); });
    return py::array_t<float>(static_cast<py::ssize_t>(logits.size()), logits.data());
  }

  std::unique_ptr<Session> fork() {
    std::unique_ptr<Session> fork;
    use([&](c::Session& session) { fork = wrap(loaded_, session.fork()); });
    fork->progress_ = progress_;
    return fork;
  }
  void reseed(uint64_t seed) {
    use([&](c::Session& session) { session.reseed(seed); });
  }
  py::bytes save() {
    const Exclusive exclusive(in_use_);
    const c::Session& session = get();
    void* data = nullptr;
    size_t size = 0;
    {
      const py::gil_scoped_release release;
      c::detail::call(pensee_session_save, session.get(), &data, &size);
    }
    const c::detail::Handle<void, pensee_free> owner(data);
    return py::bytes(static_cast<const char*>(data), size);
  }
  void save_file(std::string path) {
    path = without_nul(std::move(path), "path");
    use([&](c::Session& session) { session.save_file(path); });
  }

 private:
  Session(std::shared_ptr<const LoadedModel> loaded, c::Session session)
      : loaded_(std::move(loaded)), session_(std::move(session)) {}
  static std::unique_ptr<Session> wrap(std::shared_ptr<const LoadedModel> loaded,
                                       c::Session session) {
    return std::unique_ptr<Session>(new Session(std::move(loaded), std::move(session)));
  }
  static c::SessionOptions options(int64_t context_length, int64_t prefill_chunk,
                                   int32_t speculation, int32_t cache_type = PENSEE_CACHE_BF16) {
    c::SessionOptions options;
    options.context_length = context_length;
    options.prefill_chunk = prefill_chunk;
    options.speculation = speculation;
    options.cache_type = cache_type;
    return options;
  }

  c::Session& get() {
    if (!session_) throw c::Error(PENSEE_ERROR_WRONG_STATE, "the session is closed");
    loaded_->process.require("the session");
    return *session_;
  }

  static void finish(c::Session& session) {
    if (!session.is_replying()) return;
    session.cancel();
    session.answer();
  }

  // Drops the function for progress, unless the prompt has still to be read, which a step that only
  // tells that there is no thought does not do.
  void forget_progress() noexcept {
    c::Usage usage;
    if (session_ && session_->is_replying() &&
        pensee_session_get_usage(session_->get(), &usage, nullptr) == PENSEE_OK &&
        usage.prefill_seconds == 0) {
      return;
    }
    progress_.reset();
  }

  // Runs `function(session)` without the GIL.
  template <class Function>
  void use(Function&& function) {
    const Exclusive exclusive(in_use_);
    c::Session& session = get();
    const py::gil_scoped_release release;
    function(session);
  }
  // Runs `function(session, call)` without the GIL. If Python raises something meanwhile, ends the
  // reply and raises that.
  template <class Function>
  void run(Function&& function) {
    const Exclusive exclusive(in_use_);
    run_exclusively(std::forward<Function>(function));
  }
  template <class Function>
  void run_exclusively(Function&& function) {
    c::Session& session = get();
    struct Forget {
      Session& session;
      ~Forget() { session.forget_progress(); }
    } const forget{*this};
    Call call;
    {
      const py::gil_scoped_release release;
      function(session, call);
      if (call.has_raised()) finish(session);
    }
    call.rethrow();
  }
  template <class Start>
  void start_with(const py::dict& keywords, Start&& start) {
    Options options(keywords);
    use([&](c::Session& session) { start(session, options.get()); });
    ++n_replies_;
    progress_ = options.progress();
  }

  std::atomic_flag in_use_;
  int64_t n_replies_ = 0;  // guarded by the GIL
  // See Options::progress(). Only until the prompt has been read, after which nothing calls it: it
  // may lead back to this session, by a way that the garbage collector does not see.
  std::shared_ptr<py::object> progress_;
  std::shared_ptr<const LoadedModel> loaded_;
  std::optional<c::Session> session_;
};

}  // namespace pensee::python
