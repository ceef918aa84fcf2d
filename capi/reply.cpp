// Replies: events, whole thoughts and answers, and the account.
#include <array>
#include <string>
#include <utility>

#include "handles.hpp"

namespace pensee::capi {
namespace {

// The header's values are those of the core, one by one.
#define PENSEE_X(...) +1
static_assert(0 PENSEE_PHASE_LIST(PENSEE_X) == 3);
static_assert(0 PENSEE_EVENT_KIND_LIST(PENSEE_X) == 5);
static_assert(0 PENSEE_THOUGHT_END_LIST(PENSEE_X) == 7);
static_assert(0 PENSEE_ANSWER_END_LIST(PENSEE_X) == 6);
#undef PENSEE_X
static_assert(static_cast<int>(Phase::kPrompt) == PENSEE_PHASE_PROMPT);
static_assert(static_cast<int>(Phase::kThought) == PENSEE_PHASE_THOUGHT);
static_assert(static_cast<int>(Phase::kAnswer) == PENSEE_PHASE_ANSWER);
static_assert(static_cast<int>(EventKind::kToken) == PENSEE_EVENT_TOKEN);
static_assert(static_cast<int>(EventKind::kThoughtBegin) == PENSEE_EVENT_THOUGHT_BEGIN);
static_assert(static_cast<int>(EventKind::kThoughtEnd) == PENSEE_EVENT_THOUGHT_END);
static_assert(static_cast<int>(EventKind::kAnswerEnd) == PENSEE_EVENT_ANSWER_END);
static_assert(static_cast<int>(EventKind::kDone) == PENSEE_EVENT_DONE);
static_assert(static_cast<int>(ThoughtEnd::kNone) == PENSEE_THOUGHT_END_NONE);
static_assert(static_cast<int>(ThoughtEnd::kClosed) == PENSEE_THOUGHT_END_CLOSED);
static_assert(static_cast<int>(ThoughtEnd::kBudget) == PENSEE_THOUGHT_END_BUDGET);
static_assert(static_cast<int>(ThoughtEnd::kStopped) == PENSEE_THOUGHT_END_STOPPED);
static_assert(static_cast<int>(ThoughtEnd::kTruncated) == PENSEE_THOUGHT_END_TRUNCATED);
static_assert(static_cast<int>(ThoughtEnd::kSkipped) == PENSEE_THOUGHT_END_SKIPPED);
static_assert(static_cast<int>(ThoughtEnd::kEos) == PENSEE_THOUGHT_END_EOS);
static_assert(static_cast<int>(AnswerEnd::kNone) == PENSEE_ANSWER_END_NONE);
static_assert(static_cast<int>(AnswerEnd::kComplete) == PENSEE_ANSWER_END_COMPLETE);
static_assert(static_cast<int>(AnswerEnd::kStopString) == PENSEE_ANSWER_END_STOP_STRING);
static_assert(static_cast<int>(AnswerEnd::kLength) == PENSEE_ANSWER_END_LENGTH);
static_assert(static_cast<int>(AnswerEnd::kCancelled) == PENSEE_ANSWER_END_CANCELLED);
static_assert(static_cast<int>(AnswerEnd::kContextFull) == PENSEE_ANSWER_END_CONTEXT_FULL);
static_assert(kNoToken == PENSEE_NO_TOKEN);

// Steps once; the event's text is then lent from the handle.
Result<pensee_event> step(pensee_session* session) {
  PENSEE_ASSIGN_OR_RETURN(session->event, session->session->step());
  return to_c(session->event);
}

// The reply so far; null without memory.
const Reply* fresh_reply(const pensee_session* session) noexcept {
  if (session == nullptr) return nullptr;
  if (!session->reply_is_fresh) {
    guard(nullptr, [&]() -> Result<void> {
      session->reply = session->session->reply();
      session->reply_is_fresh = true;
      return {};
    });
  }
  return session->reply_is_fresh ? &session->reply : nullptr;
}

const char* lend(const std::string* text, size_t* size) noexcept {
  if (size != nullptr) *size = text == nullptr ? 0 : text->size();
  return text == nullptr ? nullptr : text->c_str();
}

}  // namespace

pensee_event to_c(const Event& event) noexcept {
  pensee_event out{};
  out.struct_size = sizeof out;
  out.kind = static_cast<int32_t>(event.kind);
  out.phase = static_cast<int32_t>(event.phase);
  out.text = event.text.c_str();
  out.text_size = event.text.size();
  out.token = event.token;
  out.log_prob = event.log_prob;
  out.forced = event.forced ? 1 : 0;
  out.thought_end = static_cast<int32_t>(event.thought_end);
  out.answer_end = static_cast<int32_t>(event.answer_end);
  return out;
}

pensee_usage to_c(const Usage& usage) noexcept {
  pensee_usage out{};
  out.struct_size = sizeof out;
  out.prompt_tokens = usage.prompt_tokens;
  out.cached_tokens = usage.cached_tokens;
  out.thought_tokens = usage.thought_tokens;
  out.answer_tokens = usage.answer_tokens;
  out.control_tokens = usage.control_tokens;
  out.forced_tokens = usage.forced_tokens;
  out.prefill_seconds = usage.prefill_seconds;
  out.thought_seconds = usage.thought_seconds;
  out.answer_seconds = usage.answer_seconds;
  out.draft_tokens = usage.draft_tokens;
  out.accepted_tokens = usage.accepted_tokens;
  return out;
}

}  // namespace pensee::capi

using namespace pensee;        // NOLINT: this file defines the interface
using namespace pensee::capi;  // NOLINT

const char* pensee_phase_string(int32_t phase) {
  return name_of(static_cast<Phase>(phase));
}
const char* pensee_event_kind_string(int32_t kind) {
  return name_of(static_cast<EventKind>(kind));
}
const char* pensee_thought_end_string(int32_t end) {
  return name_of(static_cast<ThoughtEnd>(end));
}
const char* pensee_answer_end_string(int32_t end) {
  return name_of(static_cast<AnswerEnd>(end));
}

pensee_status pensee_session_prefill(pensee_session* session, pensee_error** error) {
  return guard_reply(session, error, [&] { return session->session->prefill(); });
}

pensee_status pensee_session_step(pensee_session* session, pensee_event* event,
                                  pensee_error** error) {
  return guard_reply(session, error, [&]() -> Result<void> {
    PENSEE_REQUIRE(event);
    PENSEE_RETURN_IF_ERROR(check_size<pensee_event>(event->struct_size));
    PENSEE_ASSIGN_OR_RETURN(const pensee_event next, step(session));
    return write_struct(event, next);
  });
}

pensee_status pensee_session_run(pensee_session* session, pensee_event_fn callback, void* user_data,
                                 pensee_error** error) {
  return guard_reply(session, error, [&]() -> Result<void> {
    PENSEE_REQUIRE(callback);
    for (bool done = false; !done;) {
      PENSEE_ASSIGN_OR_RETURN(const pensee_event event, step(session));
      done = event.kind == PENSEE_EVENT_DONE;
      if (callback(user_data, &event) != 0) session->session->cancel();
    }
    return {};
  });
}

pensee_status pensee_session_think(pensee_session* session, pensee_error** error) {
  return guard_reply(session, error, [&]() -> Result<void> {
    PENSEE_RETURN_IF_ERROR(session->session->think());
    return {};
  });
}

pensee_status pensee_session_answer(pensee_session* session, pensee_error** error) {
  return guard_reply(session, error, [&]() -> Result<void> {
    PENSEE_RETURN_IF_ERROR(session->session->answer());
    return {};
  });
}

pensee_status pensee_session_ask(pensee_session* session, const char* message, size_t message_size,
                                 const pensee_reply_options* options, pensee_error** error) {
  return guard_reply(session, error, [&]() -> Result<void> {
    PENSEE_ASSIGN_OR_RETURN(const std::string_view text, text_of(message, message_size, "message"));
    PENSEE_ASSIGN_OR_RETURN(const ReplyOptions checked, reply_options(options));
    PENSEE_RETURN_IF_ERROR(session->session->ask(text, checked));
    return {};
  });
}

const char* pensee_session_thought_text(const pensee_session* session, size_t* size) {
  const Reply* reply = fresh_reply(session);
  return lend(reply == nullptr ? nullptr : &reply->thought, size);
}

const char* pensee_session_answer_text(const pensee_session* session, size_t* size) {
  const Reply* reply = fresh_reply(session);
  return lend(reply == nullptr ? nullptr : &reply->answer, size);
}

int32_t pensee_session_thought_end(const pensee_session* session) {
  if (session == nullptr) return PENSEE_THOUGHT_END_NONE;
  return static_cast<int32_t>(session->session->thought_end());
}

int32_t pensee_session_answer_end(const pensee_session* session) {
  if (session == nullptr) return PENSEE_ANSWER_END_NONE;
  return static_cast<int32_t>(session->session->answer_end());
}

int32_t pensee_session_is_replying(const pensee_session* session) {
  return session != nullptr && session->session->is_replying() ? 1 : 0;
}

pensee_status pensee_session_get_usage(const pensee_session* session, pensee_usage* usage,
                                       pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(session);
    PENSEE_REQUIRE(usage);
    return write_struct(usage, to_c(session->session->usage()));
  });
}
