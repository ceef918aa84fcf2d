// What stands behind the opaque types.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>

#include "guard.hpp"
#include "pensee.h"
#include "pensee/reason/session.hpp"
#include "struct_io.hpp"

namespace pensee::capi {

// A model and the texts that its getters lend.
struct ModelState {
  std::shared_ptr<const Model> model;
  std::string thought_open;
  std::string thought_close;
};

Result<SessionOptions> session_options(const pensee_session_options* given);
pensee_session_options default_session_options() noexcept;

pensee_session* new_session(std::shared_ptr<const ModelState> state,
                            std::unique_ptr<Session> session);

// Checks every struct that the options point to. The result owns its texts.
Result<ReplyOptions> reply_options(const pensee_reply_options* given);

}  // namespace pensee::capi

struct pensee_model {
  std::shared_ptr<const pensee::capi::ModelState> state;
};

struct pensee_session {
  std::shared_ptr<const pensee::capi::ModelState> state;
  std::unique_ptr<pensee::Session> session;
  pensee::Event event;  // the last one, whose text is lent
  // The reply whose texts are lent; remade when asked for after the session has changed.
  mutable pensee::Reply reply;
  mutable bool reply_is_fresh = false;
};

namespace pensee::capi {

// The event's text is lent from `event`.
pensee_event to_c(const Event& event) noexcept;
pensee_usage to_c(const Usage& usage) noexcept;

// Runs a step of the replies. An exception ends them, since it may have left them half made.
// Precondition: no session is NULL.
template <class Function>
pensee_status guard_replies(std::span<pensee_session* const> sessions, pensee_error** error,
                            Function&& function) {
  bool returned = false;
  const pensee_status status = guard(error, [&]() -> Result<void> {
    Result<void> result = function();
    returned = true;
    return result;
  });
  // Afterwards, since a callback may have asked for texts.
  for (pensee_session* session : sessions) session->reply_is_fresh = false;
  if (returned) return status;
  for (pensee_session* session : sessions) session->session->abandon_reply();
  return status;
}

// The same of one, which may be NULL.
template <class Function>
pensee_status guard_reply(pensee_session* session, pensee_error** error, Function&& function) {
  if (session == nullptr) {
    return guard(error, []() -> Result<void> { return null_argument("session"); });
  }
  return guard_replies({&session, 1}, error, std::forward<Function>(function));
}

}  // namespace pensee::capi
