#include "interrupt.hpp"

#include <atomic>

#include "pensee/reason/session.hpp"

namespace pensee::cli {
namespace {

enum Next : int { kEndThought, kCancel, kEndProgram };

// A signal handler can reach nothing but statics. Both are lock-free, as are the two calls made.
std::atomic<Session*> speaking{nullptr};
std::atomic<int> next_action{kEndThought};
static_assert(std::atomic<Session*>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

void on_interrupt(int signal) {
  Session* session = speaking.load();
  const int action = next_action.fetch_add(1);
  if (session == nullptr || action >= kEndProgram) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  } else if (action == kEndThought) {
    session->end_thinking();
  } else {
    session->cancel();
  }
}

}  // namespace

InterruptScope::InterruptScope(Session& session) {
  next_action.store(kEndThought);
  speaking.store(&session);
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;  // writing goes on
  sigaction(SIGINT, &action, &before_);
}

InterruptScope::~InterruptScope() {
  sigaction(SIGINT, &before_, nullptr);
  speaking.store(nullptr);
}

void InterruptScope::thought_is_over() {
  int expected = kEndThought;
  next_action.compare_exchange_strong(expected, kCancel);
}

}  // namespace pensee::cli
