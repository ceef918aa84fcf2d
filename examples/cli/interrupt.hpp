// Ctrl-C while the model speaks.
#pragma once

#include <csignal>

namespace pensee {
class Session;
}

namespace pensee::cli {

// While one of these lives, Ctrl-C ends the thought, a second one ends the answer, and a third one
// ends the program. Only one may live at a time.
class InterruptScope {
 public:
  explicit InterruptScope(Session& session);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  // The thought is over: the next Ctrl-C ends the answer.
  void thought_is_over();

 private:
  struct sigaction before_ {};
};

}  // namespace pensee::cli
