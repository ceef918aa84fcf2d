// AnswerForm: keeps an answer to a grammar or a JSON schema, token by token.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/decode/grammar.hpp"
#include "pensee/decode/grammar_text.hpp"
#include "pensee/decode/json_schema.hpp"
#include "pensee/reason/phase.hpp"
#include "pensee/reason/reply_options.hpp"
#include "pensee/text/token_order.hpp"

namespace pensee {

// Thoughts are free, and so is the choice whether there is one, where the model has it. Copies are
// independent. One thread at a time.
class AnswerForm {
 public:
  AnswerForm() = default;  // any answer

  // Errors: those of parse_grammar() and json_schema_grammar().
  static Result<AnswerForm> create(const ReplyOptions& options, const Delimiters& delimiters) {
    AnswerForm form;
    if (!options.has_answer_form()) return form;
    std::string text = options.answer_grammar;
    if (text.empty()) {
      PENSEE_ASSIGN_OR_RETURN(text, json_schema_grammar(options.answer_json_schema));
    }
    Result<std::shared_ptr<const Grammar>> grammar = parse_grammar(text);
    if (!grammar && options.answer_grammar.empty()) {  // nobody has seen those rules
      return invalid_argument("answer_json_schema: no text is of it, or it is too large");
    }
    PENSEE_ASSIGN_OR_RETURN(form.grammar_, std::move(grammar));
    form.restart();
    // Where a thought's delimiter is text, the answer may turn out to begin with it.
    if (delimiters.are_spelled() && options.thinking != Thinking::kOff) {
      PENSEE_ASSIGN_OR_RETURN(auto with_thought, parse_grammar(text, delimiters.open_text));
      form.matcher_.emplace(std::move(with_thought));
    }
    return form;
  }

  // Whether `token` may come next. `may_think`: the model may still open a thought.
  [[nodiscard]] bool allows(int32_t token, const PhaseMachine& machine,
                            const PhaseMachine::TokenBytes& token_bytes, bool may_think) {
    if (!matcher_) return true;
    const Delimiters& delimiters = machine.delimiters();
    using Change = PhaseMachine::Change;
    if (machine.phase() == Phase::kThought) {
      if (!delimiters.are_spelled()) return true;
      const PhaseMachine::Step step = PhaseMachine(machine).observe(token);
      const std::string_view bytes = token_bytes(token);
      return step.change != Change::kClosed ||
             GrammarMatcher(grammar_).takes(bytes.substr(bytes.size() - step.tail));
    }
    if (std::find(delimiters.end.begin(), delimiters.end.end(), token) != delimiters.end.end()) {
      return matcher_->is_complete();
    }
    const std::string_view bytes = token_bytes(token);
    if (delimiters.are_spelled()) {
      const PhaseMachine::Step step = PhaseMachine(machine).observe(token);
      if (step.change == Change::kOpened) {
        return may_think && begins_with(delimiters, bytes, step.tail);
      }
      if (step.change != Change::kNone) return false;
    } else if (delimiters.has_thoughts()) {  // whose delimiters are one token each then
      if (token == delimiters.open[0]) return may_think;
      if (token == delimiters.close[0]) return false;
    }
    return !bytes.empty() && matcher_->takes(bytes);
  }

  // Calls f(token) for every token that allows() lets by, besides those that are neither in
  // `vocabulary`, all tokens with text, nor delimiters or ends.
  template <class F>
  void for_allowed(const TokenOrder& vocabulary, const PhaseMachine& machine,
                   const PhaseMachine::TokenBytes& token_bytes, bool may_think, F&& f) {
    const Delimiters& delimiters = machine.delimiters();
    std::vector<int32_t> controls = delimiters.end;
    controls.insert(controls.end(), delimiters.open.begin(), delimiters.open.end());
    controls.insert(controls.end(), delimiters.close.begin(), delimiters.close.end());
    const auto is_control = [&](int32_t token) {
      return std::find(controls.begin(), controls.end(), token) != controls.end();
    };
    const auto f_if_allowed = [&](int32_t token) {
      if (allows(token, machine, token_bytes, may_think)) f(token);
    };
    if (!matcher_ || machine.phase() == Phase::kThought || delimiters.are_spelled()) {
      for (const TokenOrder::Entry& entry : vocabulary.entries()) f_if_allowed(entry.token);
      for (const int32_t token : delimiters.end) f_if_allowed(token);
      return;
    }
    const size_t before = matcher_->size();
    size_t taken = 0;  // bytes, of the newest token not passed over
    for (const auto& [token, shared] : vocabulary.entries()) {
      if (shared > taken) continue;  // begins with what was not taken
      const std::string_view bytes = token_bytes(token);
      matcher_->pop_to(before + shared);
      for (taken = shared; taken < bytes.size() && matcher_->push(bytes.substr(taken, 1));) ++taken;
      if (taken == bytes.size() && !is_control(token)) f(token);
    }
    matcher_->pop_to(before);
    for (const int32_t token : controls) f_if_allowed(token);
  }

  // Text of the answer, or of what may become a thought's delimiter, has been written.
  void take(std::string_view bytes) {
    if (!matcher_) return;
    matcher_->push(bytes);
    if (begun_.size() < kMostBegun) begun_ += bytes;
  }
  // A thought has begun or ended: the answer begins after it.
  void restart() {
    if (grammar_ != nullptr) matcher_.emplace(grammar_);
    begun_.clear();
  }

  // Whether the answer is whole, and nothing can follow it.
  [[nodiscard]] bool is_finished() const {
    return matcher_ && matcher_->is_complete() && matcher_->next_bytes().none();
  }

 private:
  static constexpr size_t kMostBegun = 64;

  // Whether the answer so far and `bytes` without the last `tail` are the opening delimiter.
  [[nodiscard]] bool begins_with(const Delimiters& delimiters, std::string_view bytes,
                                 size_t tail) const {
    const std::string all = begun_ + std::string(bytes.substr(0, bytes.size() - tail));
    const size_t first = all.find_first_not_of(" \t\r\n");
    return first != all.npos && all.substr(first) == delimiters.open_text;
  }

  std::string begun_;  // the answer's first bytes
  std::shared_ptr<const Grammar> grammar_;
  std::optional<GrammarMatcher> matcher_;
};

}  // namespace pensee
