// Shows a reply while it comes.
#pragma once

#include <string>
#include <string_view>

#include "pensee/reason/event.hpp"
#include "run_options.hpp"
#include "terminal.hpp"

namespace pensee::cli {

// Passes text on without the white space at its two ends.
class Trimmer {
 public:
  // What may be shown now.
  [[nodiscard]] std::string push(std::string_view text);

 private:
  std::string waiting_;  // white space that belongs to the text only if more follows
  bool begun_ = false;
};

// The thought goes to standard error, dim on a terminal; the answer to standard output. Where both
// are shown, labels on standard error tell them apart.
class ReplyPrinter {
 public:
  explicit ReplyPrinter(Show show) : show_(show) {}
  void show(const Event& event);
  // A whole reply, to its end.
  void show(const Reply& reply);
  // Ends the last line, and says on standard error what is unusual about the endings.
  void finish(const Reply& reply);

 private:
  void thought(std::string_view text);
  void answer(std::string_view text);
  void end_thought();

  Show show_;
  Trimmer thought_text_;
  Trimmer answer_text_;
  Dim dim_;
  bool in_thought_ = false;  // its label was shown
  bool in_answer_ = false;
};

}  // namespace pensee::cli
