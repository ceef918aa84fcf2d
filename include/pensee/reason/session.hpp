// Session: one conversation with a model; thoughts and answers come apart.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/decode/generate.hpp"
#include "pensee/decode/sampler.hpp"
#include "pensee/decode/speculative.hpp"
#include "pensee/model/sequence.hpp"
#include "pensee/reason/budget.hpp"
#include "pensee/reason/event.hpp"
#include "pensee/reason/model.hpp"
#include "pensee/reason/reply_options.hpp"
#include "pensee/reason/session_options.hpp"
#include "pensee/text/prompt_tokens.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

namespace saved_session_detail {
class Access;
}
namespace step_many_detail {
class Access;
}

// The shortest use:          Reply reply = session->ask("What is 7 * 8?").value();
// Thought and answer apart:  add_message(), start(), think(), answer(), reply()
// Token by token:            add_message(), start(), then step() until an event of kind kDone
// Many answers to a thought: think(), then fork(), reseed() and answer() of each fork
// Many thoughts:             start(), prefill(), then fork() and reseed()
//
// Messages make the conversation. The answer of a reply, if there is one, becomes a message; its
// thought does not (R1's rule), so the next prompt is re-read from that answer on, and the
// key-value cache keeps all before it.
//
// An error of start() changes nothing. An error of step(), think(), answer() or ask() ends the
// reply; the session and its messages can be used on, and a message that ask() added is gone.
//
// Thread rule: one thread at a time, but cancel() and end_thinking() may come from any thread and
// from signal handlers.
class Session {
 public:
  // Errors: those of Sequence::create; kUnsupported if the model has no layer for the speculation.
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Model> model,
                                                 const SessionOptions& options = {}) {
    const bool has_mtp = model->transformer()->weights().mtp != nullptr;
    if (options.speculation == Speculation::kMtp && !has_mtp) {
      return unsupported("speculation: this model has no layer of multi-token prediction");
    }
    const SequenceOptions settings = options.sequence_options(has_mtp);
    PENSEE_ASSIGN_OR_RETURN(Sequence sequence, Sequence::create(model->transformer(), settings));
    PENSEE_ASSIGN_OR_RETURN(Sampler sampler,
                            Sampler::create(static_cast<int32_t>(model->config().vocab_size), {}));
    std::unique_ptr<Session> session(
        new Session(std::move(model), TokenFeed(std::move(sequence)), std::move(sampler)));
    const double price = price_of_a_guess(session->model_->config());
    if (settings.mtp) session->mtp_.emplace(price);
    if (options.speculation == Speculation::kPromptLookup ||
        options.speculation == Speculation::kAuto) {
      session->lookup_.emplace(price);
    }
    return session;
  }

  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // An independent copy, also in the middle of a reply: the messages, the tokens with their cache,
  // the reply so far. Both go on alike unless one is reseeded. A cancel() or end_thinking() that
  // has not taken effect stays with this session. No other thread may use this session meanwhile,
  // but cancel() and end_thinking(). Errors: kOutOfMemory.
  [[nodiscard]] Result<std::unique_ptr<Session>> fork() const {
    PENSEE_ASSIGN_OR_RETURN(TokenFeed<Sequence> feed, feed_.clone());
    PENSEE_ASSIGN_OR_RETURN(Sampler sampler,
                            Sampler::create(static_cast<int32_t>(model_->config().vocab_size), {}));
    std::unique_ptr<Session> copy(new Session(model_, std::move(feed), std::move(sampler)));
    copy->sampler_ = sampler_;  // assigned, not constructed: keeps the room reserved
    copy->messages_ = messages_;
    copy->is_replying_ = is_replying_;
    copy->controller_ = controller_;
    copy->options_ = options_;
    copy->prompt_ = prompt_;
    copy->keeps_answer_ = keeps_answer_;
    copy->thought_ended_ = thought_ended_;
    copy->sampled_phase_ = sampled_phase_;
    copy->lookup_ = lookup_;
    copy->mtp_ = mtp_;
    return copy;
  }

  // Draws the rest of the reply under way, thought and answer, from a random stream of its own; the
  // seeds of its ReplyOptions no longer count. Between replies nothing happens: each begins with
  // the seed of its own options.
  void reseed(uint64_t seed) {
    options_.thought_sampler.seed = seed;
    options_.answer_sampler.seed.reset();  // else the answer would begin with it
    sampler_.reseed(seed);
  }

  // Adds a message; assistants' messages restore an earlier conversation. Errors: kInvalidArgument
  // if `content` is not UTF-8, kWrongState while a reply is under way.
  Result<void> add_message(Role role, std::string_view content) {
    PENSEE_RETURN_IF_ERROR(expect_idle("add_message"));
    if (const auto byte = find_malformed_utf8(content)) {
      return invalid_argument("message: not UTF-8 at byte " + std::to_string(*byte));
    }
    messages_.push_back({role, std::string(content)});
    return {};
  }
  [[nodiscard]] std::span<const Message> messages() const noexcept { return messages_; }

  // Forgets the messages. Error: kWrongState while a reply is under way.
  Result<void> clear_messages() {
    PENSEE_RETURN_IF_ERROR(expect_idle("clear_messages"));
    messages_.clear();
    return {};
  }

  // Keeps the first n messages only. The next prompt re-reads what differs from the last one and no
  // more. Errors: kWrongState while a reply is under way, kInvalidArgument if there are fewer.
  Result<void> rewind(size_t n_messages) {
    PENSEE_RETURN_IF_ERROR(expect_idle("rewind"));
    if (n_messages > messages_.size()) {
      return invalid_argument("n_messages: expected at most " + std::to_string(messages_.size()) +
                              ", found " + std::to_string(n_messages));
    }
    messages_.resize(n_messages);
    return {};
  }

  // Abandons the reply under way, if any, and forgets all messages and the last reply. The cache
  // stays, for prompts that begin alike.
  void reset() {
    is_replying_ = false;
    controller_.reset();
    prompt_.clear();
    messages_.clear();
  }

  // Gives up the reply under way, if any: no events of it follow, and its answer becomes no
  // message.
  void abandon_reply() noexcept { is_replying_ = false; }

  // Begins the reply to the messages, whose last is the user's; the prompt is read by the first
  // step(). Errors: kWrongState, kInvalidArgument naming the option, kContextFull if the prompt
  // does not fit, kUnsupported or kNotFound if the model has no chat template that is known,
  // kUnsupported if thinking is on and the model has no thoughts, those of ChatTemplate::render.
  Result<void> start(const ReplyOptions& options = {}) {
    PENSEE_RETURN_IF_ERROR(expect_idle("start"));
    if (messages_.empty() || messages_.back().role != Role::kUser) {
      return Error{Status::kWrongState, "start: expected a user's message last, found " +
                                            std::string(messages_.empty() ? "none" : "another")};
    }
    PENSEE_ASSIGN_OR_RETURN(Prompt prompt, render(options.thinking));
    return begin(std::move(prompt), options, true);
  }

  // Begins the reply to a ready prompt, in which a thought may be open; it has nothing to do with
  // the messages. Errors: as start(); kInvalidArgument if thinking is not kAuto, if there are no
  // tokens, or for a token that is not in the vocabulary.
  Result<void> start_prompt(std::span<const int32_t> tokens, const ReplyOptions& options = {}) {
    PENSEE_RETURN_IF_ERROR(expect_idle("start_prompt"));
    if (options.thinking != Thinking::kAuto) {
      return invalid_argument("thinking: expected auto: a ready prompt opens the thought or not");
    }
    if (tokens.empty()) return invalid_argument("prompt: expected tokens, found none");
    for (const int32_t token : tokens) {
      if (token >= 0 && token < model_->config().vocab_size) continue;
      return invalid_argument("prompt: expected tokens from 0 to " +
                              std::to_string(model_->config().vocab_size - 1) + ", found " +
                              std::to_string(token));
    }
    std::vector<int32_t> ids(tokens.begin(), tokens.end());
    return begin({ids, ids}, options, false);
  }

  // Reads the prompt of the reply under way, and writes no token yet; nothing happens where it has
  // been read. After a cancel(), step() tells how the reply ended. Errors: those of step().
  Result<void> prefill() {
    PENSEE_RETURN_IF_ERROR(expect_reply("prefill"));
    return prompt_.empty() ? Result<void>() : advance();
  }

  // Logits (vocab_size) after the newest of tokens(), as the model gives them; valid until the next
  // call of another function. Errors: kWrongState while no token or not the whole prompt has been
  // read, kContextFull if the newest token itself found no room, those of Sequence.
  Result<std::span<const float>> logits() {
    if (feed_.length() == 0 || !prompt_.empty()) {
      return Error{Status::kWrongState, "logits: no prompt has been read; start() and prefill()"};
    }
    return feed_.logits();
  }

  // The next event, after at most one token's work (the first: the prompt's too). Errors:
  // kWrongState if no reply is under way, kInternal for broken logits, those of Sequence.
  Result<Event> step() {
    PENSEE_RETURN_IF_ERROR(expect_reply("step"));
    while (!controller_->has_event()) PENSEE_RETURN_IF_ERROR(advance());
    Event event = controller_->take_event();
    if (event.kind == EventKind::kThoughtBegin) thought_ended_ = false;
    if (event.kind == EventKind::kThoughtEnd) thought_ended_ = true;
    if (event.kind == EventKind::kDone) finish();
    return event;
  }

  // Runs to the end of the thought and returns it, without white space at its ends; empty where
  // there is none. Errors: those of step(); kWrongState if the answer has begun.
  Result<std::string> think() {
    if (is_replying_ && thought_ended_) {
      return Error{Status::kWrongState, "think: the thought has ended; answer() goes on"};
    }
    do {
      PENSEE_RETURN_IF_ERROR(step());
    } while (!thought_ended_);  // every reply has the end of a thought before its own
    return reply().thought;
  }

  // Runs to the end of the reply and returns the answer, without white space at its ends. Errors:
  // those of step().
  Result<std::string> answer() {
    do {
      PENSEE_RETURN_IF_ERROR(step());
    } while (is_replying_);
    return reply().answer;
  }

  // Adds the user's message and runs the whole reply. Errors: those of the functions it joins.
  Result<Reply> ask(std::string_view message, const ReplyOptions& options = {}) {
    // Undone also if memory runs out, which is an exception.
    struct Undo {
      Session* session;
      size_t n_messages = session->messages_.size();
      ~Undo() {
        if (session == nullptr) return;
        session->abandon_reply();
        session->messages_.erase(session->messages_.begin() + static_cast<ptrdiff_t>(n_messages),
                                 session->messages_.end());
      }
    };
    PENSEE_RETURN_IF_ERROR(expect_idle("ask"));
    Undo undo{this};
    PENSEE_RETURN_IF_ERROR(add_message(Role::kUser, message));
    PENSEE_RETURN_IF_ERROR(start(options));
    PENSEE_RETURN_IF_ERROR(answer());
    Reply last = reply();
    undo.session = nullptr;
    return last;
  }

  // The last reply, or as much of it as there is.
  [[nodiscard]] Reply reply() const { return controller_ ? controller_->reply() : Reply(); }
  // Its parts that need no memory.
  [[nodiscard]] ThoughtEnd thought_end() const noexcept {
    return controller_ ? controller_->thought_end() : ThoughtEnd::kNone;
  }
  [[nodiscard]] AnswerEnd answer_end() const noexcept {
    return controller_ ? controller_->answer_end() : AnswerEnd::kNone;
  }
  [[nodiscard]] Usage usage() const noexcept {
    return controller_ ? controller_->usage() : Usage();
  }
  [[nodiscard]] bool is_replying() const noexcept { return is_replying_; }

  // Any thread: closes the thought under way at the next whole character, and answers. Nothing
  // happens in the answer or between replies.
  void end_thinking() noexcept { end_thinking_.store(true, std::memory_order_relaxed); }
  // Any thread: ends the reply under way, within one token, or one chunk of the prompt. Nothing
  // happens between replies.
  void cancel() noexcept { cancel_.store(true, std::memory_order_relaxed); }

  [[nodiscard]] const std::shared_ptr<const Model>& model() const noexcept { return model_; }
  // All tokens of the context, prompt and reply.
  [[nodiscard]] std::span<const int32_t> tokens() const noexcept { return feed_.tokens(); }
  [[nodiscard]] int64_t context_length() const noexcept { return feed_.capacity(); }

 private:
  friend class saved_session_detail::Access;  // for save() and restore()
  friend class step_many_detail::Access;

  struct Prompt {
    std::vector<int32_t> tokens;
    std::vector<int32_t> control;  // what decides the phase that the reply begins in
  };

  Session(std::shared_ptr<const Model> model, TokenFeed<Sequence> feed, Sampler sampler)
      : model_(std::move(model)), feed_(std::move(feed)), sampler_(std::move(sampler)) {}

  [[nodiscard]] Result<void> expect_idle(const char* function) const {
    if (!is_replying_) return {};
    return Error{Status::kWrongState,
                 std::string(function) + ": a reply is under way; step() to its end or cancel()"};
  }

  [[nodiscard]] Result<void> expect_reply(const char* function) const {
    if (is_replying_) return {};
    return Error{Status::kWrongState,
                 std::string(function) + ": no reply is under way; start() one"};
  }

  [[nodiscard]] Result<Prompt> render(Thinking thinking) const {
    if (!model_->chat_template()) return model_->chat_template().error();
    const Delimiters& delimiters = model_->delimiters();
    PromptOptions options;
    if (thinking == Thinking::kOn) {
      if (!delimiters.has_thoughts()) {
        return unsupported("thinking: expected auto or off: this model has no thoughts");
      }
      options.thinking = true;
    } else if (thinking == Thinking::kOff && delimiters.has_thoughts()) {
      options.thinking = false;
    }
    PENSEE_ASSIGN_OR_RETURN(const std::vector<PromptPiece> pieces,
                            model_->chat_template()->render(messages_, options));
    Prompt prompt;
    PENSEE_ASSIGN_OR_RETURN(prompt.tokens, encode_prompt(model_->tokenizer(), pieces));
    if (ends_with_delimiter(pieces, ChatTemplate::kThoughtOpen)) prompt.control = delimiters.open;
    return prompt;
  }

  Result<void> begin(Prompt prompt, const ReplyOptions& options, bool keeps_answer) {
    const auto length = static_cast<int64_t>(prompt.tokens.size());
    if (length > context_length()) {
      return Error{Status::kContextFull, "the prompt has " + std::to_string(length) +
                                             " tokens, the context holds " +
                                             std::to_string(context_length())};
    }
    const SamplerOptions defaults = model_->sampler_defaults();
    PENSEE_RETURN_IF_ERROR(validate(options));
    PENSEE_RETURN_IF_ERROR(validate(options.thought_settings(defaults)));
    PENSEE_RETURN_IF_ERROR(validate(options.answer_settings(defaults)));
    PENSEE_ASSIGN_OR_RETURN(PhaseRules rules, phase_rules(options));
    PENSEE_ASSIGN_OR_RETURN(PhaseController controller,
                            PhaseController::create(std::move(rules), options));
    controller.read_prompt(prompt.control);
    controller.usage().prompt_tokens = length;
    controller_.emplace(std::move(controller));
    options_ = options;
    prompt_ = std::move(prompt.tokens);
    keeps_answer_ = keeps_answer;
    sampled_phase_ = Phase::kPrompt;
    thought_ended_ = false;
    cancel_.store(false, std::memory_order_relaxed);
    end_thinking_.store(false, std::memory_order_relaxed);
    is_replying_ = true;
    return {};
  }

  [[nodiscard]] Result<PhaseRules> phase_rules(const ReplyOptions& options) const {
    const Tokenizer& tokenizer = model_->tokenizer();
    PhaseRules rules;
    rules.delimiters = model_->delimiters();
    PENSEE_ASSIGN_OR_RETURN(rules.budget_message,
                            tokenizer.encode_ordinary(options.budget_message));
    if (options.min_thought_tokens > 0) {  // else it is never written
      PENSEE_ASSIGN_OR_RETURN(rules.extension, tokenizer.encode_ordinary(options.extension_text));
    }
    rules.token_bytes = [&tokenizer](int32_t token) {
      return tokenizer.is_special(token) ? std::string_view{} : tokenizer.token_bytes(token);
    };
    return rules;
  }

  // The token that step() would have to read now, and only that one: there is no prompt to read,
  // and the reply goes on.
  [[nodiscard]] std::optional<NextToken> next_read() {
    if (!is_replying_ || controller_->has_event() || !prompt_.empty()) return std::nullopt;
    if (cancel_.load(std::memory_order_relaxed) || feed_.is_full()) return std::nullopt;
    if (controller_->next().kind == PhaseController::ActionKind::kDone) return std::nullopt;
    if (!feed_.wants_read()) return std::nullopt;
    return NextToken{&feed_.sequence(), feed_.tokens().back()};
  }

  // What the work of the phase under way has taken.
  [[nodiscard]] double& seconds() {
    Usage& usage = controller_->usage();
    if (!prompt_.empty()) return usage.prefill_seconds;
    const bool thinks = controller_->phase() == Phase::kThought;
    return thinks ? usage.thought_seconds : usage.answer_seconds;
  }

  // Reads the prompt, or writes one token. Every way out of the reply leads through the controller,
  // which then has events; but an error ends it at once.
  Result<void> advance() {
    const auto begin = std::chrono::steady_clock::now();
    double& time = seconds();
    Result<void> done = prompt_.empty() ? write_token() : read_prompt();
    time += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (!done) is_replying_ = false;
    return done;
  }

  Result<void> read_prompt() {
    const std::vector<int32_t> prompt = std::exchange(prompt_, {});
    if (cancel_.load(std::memory_order_relaxed)) {
      controller_->cancel();
      return {};
    }
    const auto go_on = [&](int64_t done, int64_t total) {
      if (options_.prefill_progress && !options_.prefill_progress(done, total)) cancel();
      return !cancel_.load(std::memory_order_relaxed);
    };
    Result<int64_t> cached = feed_.set_prompt(prompt, go_on);
    if (!cached) {
      if (cached.error().status != Status::kCancelled) return std::move(cached).error();
      controller_->cancel();
      return {};
    }
    controller_->usage().cached_tokens = *cached;
    sampler_.reset(0);
    for (const int32_t token : prompt) sampler_.accept_prompt(token);
    if (lookup_) lookup_->restart(feed_.tokens());
    return {};
  }

  Result<void> write_token() {
    if (cancel_.load(std::memory_order_relaxed)) controller_->cancel();
    if (end_thinking_.exchange(false, std::memory_order_relaxed)) controller_->end_thinking();
    if (feed_.is_full()) controller_->context_full();
    const PhaseController::Action action = controller_->next();
    if (action.kind == PhaseController::ActionKind::kDone) return {};
    const bool forced = action.kind == PhaseController::ActionKind::kForce;
    PENSEE_ASSIGN_OR_RETURN(const std::span<const int32_t> ahead, draft());
    PENSEE_ASSIGN_OR_RETURN(const std::span<const float> logits, feed_.logits(ahead));
    Sample sample;
    if (forced) {
      sample = {action.token, log_prob(logits, action.token)};
    } else {
      PENSEE_RETURN_IF_ERROR(use_settings_of(controller_->phase()));
      PENSEE_ASSIGN_OR_RETURN(sample, sampler_.sample(logits));
    }
    if (!forced && feed_.foresees(sample.token)) ++controller_->usage().accepted_tokens;
    if (mtp_) mtp_->settle(sample.token);
    feed_.push(sample.token);
    const size_t refused = controller_->accept(sample.token, sample.log_prob, forced);
    feed_.pop(refused);
    if (refused == 0) sampler_.accept(sample.token);
    if (!lookup_) return {};
    if (refused == 0 && !forced) {
      lookup_->follow(feed_.tokens());
    } else {
      lookup_->restart(feed_.tokens());
    }
    return {};
  }

  // What a pass is worth reading beside the newest token: what will be forced after it, or guesses.
  Result<std::span<const int32_t>> draft() {
    const int64_t room = feed_.draft_room();
    if (room == 0 || !controller_->forced().empty()) return controller_->forced();
    std::span<const int32_t> guesses;
    if (lookup_) guesses = lookup_->guess(feed_.tokens(), room);
    if (mtp_ && guesses.empty()) {
      PENSEE_ASSIGN_OR_RETURN(guesses, guess_by_mtp());
    }
    controller_->usage().draft_tokens += static_cast<int64_t>(guesses.size());
    return guesses;
  }

  Result<std::span<const int32_t>> guess_by_mtp() {
    const bool is_due = mtp_->is_due();
    feed_.rest_mtp(!is_due);
    if (!is_due) return std::span<const int32_t>();
    PENSEE_ASSIGN_OR_RETURN(const auto logits, feed_.guess_logits());
    if (!logits) return std::span<const int32_t>();
    const auto best = std::max_element(logits->begin(), logits->end());
    return mtp_->make(static_cast<int32_t>(best - logits->begin()));
  }

  // What a pass costs more for each further token, as a share of its cost for one, was measured as
  // 0.1 to 0.45 in dense models, and 0.45 to 0.75 where every token reads experts of its own.
  [[nodiscard]] static double price_of_a_guess(const Config& config) noexcept {
    return config.has_moe() ? 0.75 : 0.5;
  }

  // Gives the sampler the settings of a phase when it begins.
  Result<void> use_settings_of(Phase phase) {
    if (phase == sampled_phase_) return {};
    const SamplerOptions defaults = model_->sampler_defaults();
    const bool thinks = phase == Phase::kThought;
    const SamplerOptions settings =
        thinks ? options_.thought_settings(defaults) : options_.answer_settings(defaults);
    // One random stream runs through the reply, unless the answer has a seed of its own.
    const bool has_own_seed = !thinks && options_.answer_sampler.seed.has_value();
    if (sampled_phase_ == Phase::kPrompt || has_own_seed) sampler_.reseed(settings.seed);
    sampled_phase_ = phase;
    return sampler_.set_options(settings);
  }

  // After kDone: the answer becomes a message.
  void finish() {
    is_replying_ = false;
    const Reply last = reply();
    if (keeps_answer_ && !last.answer.empty()) {
      messages_.push_back({Role::kAssistant, last.answer});
    }
  }

  std::shared_ptr<const Model> model_;
  TokenFeed<Sequence> feed_;
  Sampler sampler_;
  std::optional<PromptLookup> lookup_;  // with speculation
  std::optional<CostlyGuesses> mtp_;    // where the model's own layer guesses
  std::vector<Message> messages_;
  std::atomic<bool> cancel_{false};
  std::atomic<bool> end_thinking_{false};

  // The reply under way, or the last one; fork() copies all of it.
  bool is_replying_ = false;
  std::optional<PhaseController> controller_;
  ReplyOptions options_;
  std::vector<int32_t> prompt_;  // until it is read
  bool keeps_answer_ = false;
  bool thought_ended_ = false;            // the host has seen it
  Phase sampled_phase_ = Phase::kPrompt;  // whose settings the sampler has
};

}  // namespace pensee
