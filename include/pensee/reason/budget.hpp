// PhaseController: the one place that acts on budgets, stop strings and endings.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/reason/answer_form.hpp"
#include "pensee/reason/event.hpp"
#include "pensee/reason/phase.hpp"
#include "pensee/reason/reply_options.hpp"
#include "pensee/reason/stop_strings.hpp"
#include "pensee/text/token_order.hpp"
#include "pensee/text/utf8_stream.hpp"

namespace pensee {

// What the controller knows of the model. `token_bytes` gives a token's bytes, none for tokens that
// are not text.
struct PhaseRules {
  Delimiters delimiters;
  std::vector<int32_t> budget_message;  // ReplyOptions::budget_message as tokens
  std::vector<int32_t> extension;       // ReplyOptions::extension_text as tokens
  PhaseMachine::TokenBytes token_bytes;
};

// Decides token by token how a reply goes on: budgets, forced tokens, the answer's form, stop
// strings and endings. It knows token ids and text, and nothing of models. The loop around it:
//
//   controller.read_prompt(control_tokens);
//   for (;;) {
//     while (controller.has_event()) show(controller.take_event());
//     action = controller.next();
//     if (action.kind == kDone) break;
//     token = action.kind == kForce ? action.token : sample();
//     take_back(controller.accept(token, log_prob, action.kind == kForce));
//   }
class PhaseController {
 public:
  enum class ActionKind { kSample, kForce, kDone };
  struct Action {
    ActionKind kind = ActionKind::kDone;
    int32_t token = kNoToken;  // of kForce
  };

  // Errors: kInvalidArgument naming the option.
  static Result<PhaseController> create(PhaseRules rules, const ReplyOptions& options) {
    PENSEE_RETURN_IF_ERROR(validate(options));
    PENSEE_ASSIGN_OR_RETURN(StopStrings stop, StopStrings::create(options.stop));
    PENSEE_ASSIGN_OR_RETURN(AnswerForm form, AnswerForm::create(options, rules.delimiters));
    return PhaseController(std::move(rules), options, std::move(stop), std::move(form));
  }

  // Takes the state that the prompt leaves; see PhaseMachine::read_prompt. Where it opens no
  // thought, and thinking is not off, the model may still open one before its first word.
  void read_prompt(std::span<const int32_t> control) {
    machine_.read_prompt(control);
    may_skip_ = machine_.phase() == Phase::kAnswer;
    if (options_.thinking == Thinking::kOff) skip_thought();
  }

  [[nodiscard]] Phase phase() const noexcept { return machine_.phase(); }
  [[nodiscard]] Usage& usage() noexcept { return usage_; }
  [[nodiscard]] const Usage& usage() const noexcept { return usage_; }
  [[nodiscard]] ThoughtEnd thought_end() const noexcept { return thought_end_; }
  [[nodiscard]] AnswerEnd answer_end() const noexcept { return answer_end_; }

  // What has to happen next.
  [[nodiscard]] Action next() {
    if (is_whole()) end(AnswerEnd::kComplete);
    if (!done_ && reached(options_.max_tokens, usage_.reply_tokens())) end(AnswerEnd::kLength);
    if (!done_ && closing_ == ThoughtEnd::kNone) {  // an extension may be under way
      if (machine_.phase() == Phase::kThought) {
        close_if_due();
      } else if (reached(options_.max_answer_tokens, usage_.answer_tokens) && !awaits_thought()) {
        end(AnswerEnd::kLength);
      }
    }
    if (done_) return {ActionKind::kDone, kNoToken};
    if (!forced_.empty()) return {ActionKind::kForce, forced_.front()};
    return {ActionKind::kSample, kNoToken};
  }

  // The tokens that next() will force one after the other; none if it samples.
  [[nodiscard]] std::span<const int32_t> forced() const noexcept { return forced_; }

  // Whether the sampler may choose this token now.
  [[nodiscard]] bool allows(int32_t token) {
    return form_.allows(token, machine_, rules_.token_bytes, may_think());
  }

  // Calls f(token) for every such token; `vocabulary` are those with text.
  template <class F>
  void for_allowed(const TokenOrder& vocabulary, F&& f) {
    form_.for_allowed(vocabulary, machine_, rules_.token_bytes, may_think(), std::forward<F>(f));
  }

  // Takes the token that next() asked for. Returns how many of the newest tokens, this one
  // included, have to leave the context: 0, or the length of a close, or of a beginning of an
  // answer, that was refused.
  [[nodiscard]] size_t accept(int32_t token, float log_prob, bool forced) {
    if (forced) forced_.erase(forced_.begin());
    waiting_.push_back({token, log_prob, forced});
    const Phase before = machine_.phase();
    const bool refuses_answer = awaits_thought();
    const PhaseMachine::Step step = machine_.observe(token);
    const bool changes_nothing = step.change == PhaseMachine::Change::kSwallowed;
    if (refuses_answer && (step.released + step.head > 0 || changes_nothing)) {
      return refuse_answer();
    }
    follow_form(before, token, step);
    show(step.released, before);
    if (done_) return count_waiting(step.consumed, before), 0;
    if (step.change == PhaseMachine::Change::kNone) return 0;
    unshown_.resize(unshown_.size() - step.taken);
    if (step.change == PhaseMachine::Change::kClosed && must_extend()) return extend();
    const Token last = waiting_.back();
    const std::string_view first_bytes = rules_.token_bytes(waiting_.front().id);
    const std::string_view last_bytes = rules_.token_bytes(last.id);
    // A delimiter that changes nothing counts as the phase's: else a model that writes nothing else
    // would pass every cap.
    count_waiting(changes_nothing ? 0 : step.consumed, before);
    unshown_ += first_bytes.substr(0, step.head);
    change_phase(step.change, before, last);
    unshown_ += last_bytes.substr(last_bytes.size() - step.tail);
    return 0;
  }

  // The host asks to close the thought, which the model may be about to open; in the answer it
  // changes nothing.
  void end_thinking() noexcept {
    close_requested_ = machine_.phase() == Phase::kThought || may_skip_;
  }
  // The reasons from outside to end the reply.
  void cancel() { end(AnswerEnd::kCancelled); }
  void context_full() { end(is_whole() ? AnswerEnd::kComplete : AnswerEnd::kContextFull); }

  [[nodiscard]] bool has_event() const noexcept { return next_event_ < events_.size(); }
  // Precondition: has_event().
  [[nodiscard]] Event take_event() {
    Event event = std::move(events_[next_event_++]);
    if (!has_event()) {
      events_.clear();
      next_event_ = 0;
    }
    return event;
  }

  // The reply so far.
  [[nodiscard]] Reply reply() const {
    return {trimmed(thought_), trimmed(answer_), thought_end_, answer_end_, usage_};
  }

 private:
  struct Token {
    int32_t id = kNoToken;
    float log_prob = 0;
    bool forced = false;
  };

  PhaseController(PhaseRules rules, const ReplyOptions& options, StopStrings stop, AnswerForm form)
      : rules_(std::move(rules)),
        options_(options),
        machine_(rules_.delimiters, rules_.token_bytes),
        stop_(std::move(stop)),
        thought_stop_(options.stop_in_thought ? stop_ : StopStrings()),
        form_(std::move(form)) {}

  // Whether the model may still open a thought before the answer.
  [[nodiscard]] bool may_think() const noexcept {
    return may_skip_ && options_.thinking != Thinking::kOff;
  }

  // The answer has a form, and nothing can follow it.
  [[nodiscard]] bool is_whole() const {
    return !done_ && machine_.phase() == Phase::kAnswer && form_.is_finished();
  }

  // Tells the answer's form of a token.
  void follow_form(Phase before, int32_t token, const PhaseMachine::Step& step) {
    using Change = PhaseMachine::Change;
    const std::string_view bytes = rules_.token_bytes(token);
    if (step.change == Change::kOpened) {
      form_.restart();
    } else if (step.change == Change::kClosed) {
      form_.restart();
      form_.take(bytes.substr(bytes.size() - step.tail));
    } else if (before == Phase::kAnswer && step.change == Change::kNone) {
      form_.take(bytes);
    }
  }

  // Tokens that may be a delimiter's beginning count, so that no cap is passed while they wait.
  [[nodiscard]] bool reached(int64_t cap, int64_t tokens) const noexcept {
    return cap != kNoCap && tokens + static_cast<int64_t>(waiting_.size()) >= cap;
  }

  // The answer may have no token at all, but a thought may still come before it.
  [[nodiscard]] bool awaits_thought() const noexcept {
    return options_.max_answer_tokens == 0 && may_think() && usage_.answer_tokens == 0 &&
           machine_.delimiters().has_thoughts();
  }

  // Ends the reply before the tokens that wait, which would be its answer.
  size_t refuse_answer() {
    const size_t refused = waiting_.size();
    waiting_.clear();
    end_answer(AnswerEnd::kLength, {});
    return refused;
  }

  // Counts the tokens that wait, of which the newest are a delimiter or the end; the others, where
  // the reply ended with one before them, are text of `phase`. None waits then.
  void count_waiting(size_t delimiter, Phase phase) {
    for (const Token& t : waiting_) usage_.forced_tokens += t.forced ? 1 : 0;
    usage_.control_tokens += static_cast<int64_t>(delimiter);
    text_tokens(phase) += static_cast<int64_t>(waiting_.size() - delimiter);
    waiting_.clear();
  }

  // Closes the thought if the host asked or the budget is used up, at the end of the character
  // begun.
  void close_if_due() {
    // With thinking off there is no budget for a thought that the model opens nonetheless.
    const bool off = options_.thinking == Thinking::kOff;
    const int64_t budget = off ? 0 : options_.thinking_token_budget;
    const bool is_spent = reached(budget, usage_.thought_tokens);
    if (!close_requested_ && !is_spent) return;
    // Bytes that never become characters must not keep the thought open: the character begun takes
    // three more tokens at most.
    if (due_at_ == kNoCap) due_at_ = usage_.thought_tokens;
    if (!utf8_.waiting().empty() && usage_.thought_tokens < due_at_ + 3) return;
    closing_ = close_requested_ ? ThoughtEnd::kStopped
               : off            ? ThoughtEnd::kSkipped
                                : ThoughtEnd::kBudget;
    forced_.clear();
    if (closing_ == ThoughtEnd::kBudget) forced_ = rules_.budget_message;
    const std::vector<int32_t>& close = rules_.delimiters.close;
    forced_.insert(forced_.end(), close.begin(), close.end());
  }

  [[nodiscard]] bool must_extend() const noexcept {
    return closing_ == ThoughtEnd::kNone && !rules_.extension.empty() &&
           usage_.thought_tokens < options_.min_thought_tokens &&
           (options_.max_extensions == kNoCap || extensions_ < options_.max_extensions);
  }

  // Replaces the close just observed by the extension.
  size_t extend() {
    const size_t refused = waiting_.size();
    waiting_.clear();
    machine_.reopen();
    forced_ = rules_.extension;
    ++extensions_;
    return refused;
  }

  void change_phase(PhaseMachine::Change change, Phase before, Token last) {
    using Change = PhaseMachine::Change;
    if (change == Change::kOpened) {
      begin_thought(last);
    } else if (change == Change::kClosed) {
      end_thought(closing_ != ThoughtEnd::kNone ? closing_ : ThoughtEnd::kClosed, last);
    } else if (change == Change::kEnded && before == Phase::kThought) {
      end_thought(ThoughtEnd::kEos, last);
      end_answer(has_answer() ? AnswerEnd::kComplete : AnswerEnd::kNone, {});
    } else if (change == Change::kEnded) {
      end_answer(AnswerEnd::kComplete, last);
    } else {
      emit(EventKind::kToken, before, {}, last);  // swallowed
    }
  }

  // Shows the oldest n waiting tokens as text of `phase`.
  void show(size_t n, Phase phase) {
    for (size_t i = 0; i < n; ++i) {
      const Token token = waiting_[i];
      usage_.forced_tokens += token.forced ? 1 : 0;
      ++text_tokens(phase);
      if (done_) continue;
      unshown_ += rules_.token_bytes(token.id);
      const std::string text = utf8_.push(std::exchange(unshown_, {}));
      if (phase == Phase::kAnswer && !trimmed(text).empty()) skip_thought();
      StopStrings& stop = phase == Phase::kThought ? thought_stop_ : stop_;
      // The engine's own words end nothing.
      const StopStrings::Found found =
          token.forced ? StopStrings::Found{stop.flush() + text, false} : stop.push(text);
      emit(EventKind::kToken, phase, found.text, token);
      if (!found.stopped) continue;
      if (phase == Phase::kThought) close_thought(ThoughtEnd::kStopped, {}, {});
      end_answer(AnswerEnd::kStopString, {});
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(n));
  }

  [[nodiscard]] int64_t& text_tokens(Phase phase) noexcept {
    return phase == Phase::kThought ? usage_.thought_tokens : usage_.answer_tokens;
  }

  // The text of the phase that no event has shown yet.
  [[nodiscard]] std::string flush() {
    std::string text = utf8_.push(std::exchange(unshown_, {}));
    return text + utf8_.flush();
  }

  Event& emit(EventKind kind, Phase phase, std::string text, Token token) {
    (phase == Phase::kThought ? thought_ : answer_) += text;
    Event& event = events_.emplace_back();
    event.kind = kind;
    event.phase = phase;
    event.text = std::move(text);
    event.token = token.id;
    event.log_prob = token.log_prob;
    event.forced = token.forced;
    return event;
  }

  void begin_thought(Token token) {
    const StopStrings::Found found = stop_.push(flush());
    if (found.stopped) {
      skip_thought();
      emit(EventKind::kToken, Phase::kAnswer, found.text, token);
      return end_answer(AnswerEnd::kStopString, {});
    }
    emit(EventKind::kThoughtBegin, Phase::kAnswer, found.text + stop_.flush(), token);
    thought_end_ = ThoughtEnd::kNone;
    may_skip_ = false;
  }

  // The answer begins without a thought.
  void skip_thought() {
    if (!std::exchange(may_skip_, false)) return;
    close_requested_ = false;
    thought_end_ = ThoughtEnd::kSkipped;
    emit(EventKind::kThoughtEnd, Phase::kThought, {}, {}).thought_end = thought_end_;
  }

  void end_thought(ThoughtEnd end, Token token) {
    StopStrings::Found rest = thought_stop_.push(flush());
    if (!rest.stopped) rest.text += thought_stop_.flush();
    close_thought(rest.stopped ? ThoughtEnd::kStopped : end, std::move(rest.text), token);
    if (rest.stopped) end_answer(AnswerEnd::kStopString, {});
  }
  void close_thought(ThoughtEnd end, std::string rest, Token token) {
    thought_end_ = end;
    emit(EventKind::kThoughtEnd, Phase::kThought, std::move(rest), token).thought_end = end;
    closing_ = ThoughtEnd::kNone;
    close_requested_ = false;
    due_at_ = kNoCap;
    forced_.clear();
  }

  // Ends the reply, once.
  void end_answer(AnswerEnd end, Token token) {
    if (done_) return;
    skip_thought();
    std::string rest;
    if (end != AnswerEnd::kStopString) {
      StopStrings::Found found = stop_.push(flush());
      if (found.stopped) end = AnswerEnd::kStopString;
      rest = std::move(found.text) + stop_.flush();
    }
    answer_end_ = end;
    emit(EventKind::kAnswerEnd, Phase::kAnswer, std::move(rest), token).answer_end = end;
    emit(EventKind::kDone, Phase::kAnswer, {}, {});
    done_ = true;
  }

  // Whether an answer was begun, before a thought that the model opened later.
  [[nodiscard]] bool has_answer() const { return !trimmed(answer_).empty(); }

  // Ends the reply from outside, in whatever phase it is.
  void end(AnswerEnd why) {
    if (done_) return;
    show(machine_.release_held(), machine_.phase());
    if (done_) return;
    if (machine_.phase() == Phase::kAnswer) return end_answer(why, {});
    const bool cancelled = why == AnswerEnd::kCancelled;
    end_thought(cancelled ? ThoughtEnd::kStopped : ThoughtEnd::kTruncated, {});
    end_answer(cancelled || has_answer() ? why : AnswerEnd::kNone, {});
  }

  static std::string trimmed(std::string_view text) {
    constexpr std::string_view kWhiteSpace = " \t\r\n";
    const size_t first = text.find_first_not_of(kWhiteSpace);
    if (first == text.npos) return {};
    return std::string(text.substr(first, text.find_last_not_of(kWhiteSpace) - first + 1));
  }

  PhaseRules rules_;
  ReplyOptions options_;
  PhaseMachine machine_;
  StopStrings stop_;
  StopStrings thought_stop_;  // the same strings, if asked for
  AnswerForm form_;
  Utf8Stream utf8_;
  std::string unshown_;  // bytes of the phase that came with the tokens of a delimiter
  Usage usage_;
  std::string thought_;
  std::string answer_;
  ThoughtEnd thought_end_ = ThoughtEnd::kNone;
  AnswerEnd answer_end_ = AnswerEnd::kNone;
  bool done_ = false;
  bool may_skip_ = false;  // no thought so far, and no word of the answer
  bool close_requested_ = false;
  int64_t due_at_ = kNoCap;                 // thought tokens when its close was due
  ThoughtEnd closing_ = ThoughtEnd::kNone;  // how the thought will have ended once forced_ is out
  int64_t extensions_ = 0;
  std::vector<int32_t> forced_;  // tokens still to be written
  std::vector<Token> waiting_;   // tokens that the machine holds
  std::vector<Event> events_;
  size_t next_event_ = 0;
};

}  // namespace pensee
