// Sessions: messages, prompts, forks, and the functions that other threads may call.
#include <string>
#include <utility>
#include <vector>

#include "handles.hpp"

namespace pensee::capi {
namespace {

Result<void> add_message(pensee_session* session, int32_t role, const char* text,
                         size_t text_size) {
  PENSEE_REQUIRE(session);
  if (role < PENSEE_ROLE_SYSTEM || role > PENSEE_ROLE_ASSISTANT) {
    return invalid_argument("role: expected PENSEE_ROLE_SYSTEM, USER or ASSISTANT, found " +
                            std::to_string(role));
  }
  PENSEE_ASSIGN_OR_RETURN(const std::string_view view, text_of(text, text_size, "text"));
  return session->session->add_message(static_cast<Role>(role), view);
}

static_assert(static_cast<int>(Role::kSystem) == PENSEE_ROLE_SYSTEM);
static_assert(static_cast<int>(Role::kUser) == PENSEE_ROLE_USER);
static_assert(static_cast<int>(Role::kAssistant) == PENSEE_ROLE_ASSISTANT);
static_assert(static_cast<int>(Thinking::kAuto) == PENSEE_THINKING_AUTO);
static_assert(static_cast<int>(Thinking::kOn) == PENSEE_THINKING_ON);
static_assert(static_cast<int>(Thinking::kOff) == PENSEE_THINKING_OFF);
static_assert(static_cast<int>(History::kStrip) == PENSEE_HISTORY_STRIP);
static_assert(static_cast<int>(History::kKeep) == PENSEE_HISTORY_KEEP);
#define PENSEE_X(...) +1
static_assert(0 PENSEE_SPECULATION_LIST(PENSEE_X) == 4);
#undef PENSEE_X
static_assert(static_cast<int>(Speculation::kOff) == PENSEE_SPECULATION_OFF);
static_assert(static_cast<int>(Speculation::kPromptLookup) == PENSEE_SPECULATION_PROMPT_LOOKUP);
static_assert(static_cast<int>(Speculation::kMtp) == PENSEE_SPECULATION_MTP);
static_assert(static_cast<int>(Speculation::kAuto) == PENSEE_SPECULATION_AUTO);
static_assert(kNoCap == PENSEE_NO_CAP);

}  // namespace

pensee_session* new_session(std::shared_ptr<const ModelState> state,
                            std::unique_ptr<Session> session) {
  auto handle = std::make_unique<pensee_session>();
  handle->state = std::move(state);
  handle->session = std::move(session);
  return handle.release();
}

}  // namespace pensee::capi

using namespace pensee;        // NOLINT: this file defines the interface
using namespace pensee::capi;  // NOLINT

pensee_status pensee_session_create(const pensee_model* model,
                                    const pensee_session_options* options, pensee_session** session,
                                    pensee_error** error) {
  if (session != nullptr) *session = nullptr;
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(model);
    PENSEE_REQUIRE(session);
    PENSEE_ASSIGN_OR_RETURN(const SessionOptions checked, session_options(options));
    PENSEE_ASSIGN_OR_RETURN(auto created, Session::create(model->state->model, checked));
    *session = new_session(model->state, std::move(created));
    return {};
  });
}

void pensee_session_destroy(pensee_session* session) {
  delete session;
}

pensee_status pensee_session_add_message(pensee_session* session, int32_t role, const char* text,
                                         size_t text_size, pensee_error** error) {
  return guard(error, [&] { return add_message(session, role, text, text_size); });
}

size_t pensee_session_message_count(const pensee_session* session) {
  return session == nullptr ? 0 : session->session->messages().size();
}

const char* pensee_session_message(const pensee_session* session, size_t index, int32_t* role,
                                   size_t* size) {
  if (role != nullptr) *role = 0;
  if (size != nullptr) *size = 0;
  if (session == nullptr || index >= session->session->messages().size()) return nullptr;
  const Message& message = session->session->messages()[index];
  if (role != nullptr) *role = static_cast<int32_t>(message.role);
  if (size != nullptr) *size = message.content.size();
  return message.content.c_str();
}

pensee_status pensee_session_rewind(pensee_session* session, size_t n_messages,
                                    pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(session);
    return session->session->rewind(n_messages);
  });
}

pensee_status pensee_session_reset(pensee_session* session, pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(session);
    session->reply_is_fresh = false;
    session->session->reset();
    return {};
  });
}

pensee_status pensee_session_start(pensee_session* session, const pensee_reply_options* options,
                                   pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(session);
    PENSEE_ASSIGN_OR_RETURN(const ReplyOptions checked, reply_options(options));
    PENSEE_RETURN_IF_ERROR(session->session->start(checked));
    session->reply_is_fresh = false;
    return {};
  });
}

pensee_status pensee_session_start_tokens(pensee_session* session, const int32_t* tokens,
                                          size_t n_tokens, const pensee_reply_options* options,
                                          pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(session);
    PENSEE_ASSIGN_OR_RETURN(const auto ids, span_of(tokens, n_tokens, "tokens"));
    PENSEE_ASSIGN_OR_RETURN(const ReplyOptions checked, reply_options(options));
    PENSEE_RETURN_IF_ERROR(session->session->start_prompt(ids, checked));
    session->reply_is_fresh = false;
    return {};
  });
}

pensee_status pensee_session_start_text(pensee_session* session, const char* text, size_t text_size,
                                        const pensee_reply_options* options, pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(session);
    PENSEE_ASSIGN_OR_RETURN(const std::string_view view, text_of(text, text_size, "text"));
    PENSEE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                            session->state->model->tokenizer().encode(view));
    PENSEE_ASSIGN_OR_RETURN(const ReplyOptions checked, reply_options(options));
    PENSEE_RETURN_IF_ERROR(session->session->start_prompt(ids, checked));
    session->reply_is_fresh = false;
    return {};
  });
}

void pensee_session_end_thinking(pensee_session* session) {
  if (session != nullptr) session->session->end_thinking();
}

void pensee_session_cancel(pensee_session* session) {
  if (session != nullptr) session->session->cancel();
}

const int32_t* pensee_session_tokens(const pensee_session* session, size_t* n_tokens) {
  if (n_tokens != nullptr) *n_tokens = 0;
  if (session == nullptr) return nullptr;
  const std::span<const int32_t> tokens = session->session->tokens();
  if (n_tokens != nullptr) *n_tokens = tokens.size();
  return tokens.data();
}

int64_t pensee_session_context_length(const pensee_session* session) {
  return session == nullptr ? 0 : session->session->context_length();
}

pensee_status pensee_session_fork(const pensee_session* session, pensee_session** fork,
                                  pensee_error** error) {
  if (fork != nullptr) *fork = nullptr;
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(session);
    PENSEE_REQUIRE(fork);
    PENSEE_ASSIGN_OR_RETURN(auto copy, session->session->fork());
    *fork = new_session(session->state, std::move(copy));
    return {};
  });
}

pensee_status pensee_session_reseed(pensee_session* session, uint64_t seed, pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(session);
    session->session->reseed(seed);
    return {};
  });
}
