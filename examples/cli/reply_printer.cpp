#include "reply_printer.hpp"

namespace pensee::cli {

std::string Trimmer::push(std::string_view text) {
  constexpr std::string_view kWhiteSpace = " \t\r\n";
  if (!begun_) {
    const size_t first = text.find_first_not_of(kWhiteSpace);
    if (first == text.npos) return {};
    text.remove_prefix(first);
    begun_ = true;
  }
  const size_t last = text.find_last_not_of(kWhiteSpace);
  if (last == text.npos) {
    waiting_ += text;
    return {};
  }
  std::string shown = waiting_ + std::string(text.substr(0, last + 1));
  waiting_ = text.substr(last + 1);
  return shown;
}

void ReplyPrinter::show(const Event& event) {
  if (event.phase == Phase::kThought) thought(event.text);
  if (event.phase == Phase::kAnswer) answer(event.text);
  if (event.kind == EventKind::kThoughtEnd) end_thought();
}

void ReplyPrinter::show(const Reply& reply) {
  thought(reply.thought);
  end_thought();
  answer(reply.answer);
  finish(reply);
}

void ReplyPrinter::thought(std::string_view text) {
  if (show_ == Show::kAnswer) return;
  const std::string shown = thought_text_.push(text);
  if (shown.empty()) return;
  if (!in_thought_ && show_ == Show::kBoth) write_error("Thought:\n");
  in_thought_ = true;
  dim_.begin();
  write_error(shown);
}

void ReplyPrinter::end_thought() {
  dim_.end();
  if (in_thought_) write_error("\n");
  in_thought_ = false;
  thought_text_ = {};
}

void ReplyPrinter::answer(std::string_view text) {
  if (show_ == Show::kThoughts) return;
  const std::string shown = answer_text_.push(text);
  if (shown.empty()) return;
  if (!in_answer_ && show_ == Show::kBoth) write_error("Answer:\n");
  in_answer_ = true;
  write_out(shown);
}

void ReplyPrinter::finish(const Reply& reply) {
  end_thought();
  if (in_answer_) write_out("\n");
  const bool cut = reply.answer_end == AnswerEnd::kLength ||
                   reply.answer_end == AnswerEnd::kContextFull ||
                   reply.answer_end == AnswerEnd::kCancelled;
  if (cut)
    write_error(std::string("pensee: the answer ended early: ") + name_of(reply.answer_end) + "\n");
  if (reply.answer_end == AnswerEnd::kNone) {
    write_error(std::string("pensee: no answer; the thought's ending: ") +
                name_of(reply.thought_end) + "\n");
  }
}

}  // namespace pensee::cli
