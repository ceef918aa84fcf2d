// Session: one conversation with a model; thoughts and answers come apart.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/reason/budget.hpp"
#include "pensee/reason/event.hpp"
#include "pensee/reason/model.hpp"
#include "pensee/reason/reply_options.hpp"
#include "pensee/reason/reply_prompt.hpp"
#include "pensee/reason/reply_writer.hpp"
#include "pensee/reason/session_options.hpp"
#include "pensee/text/chat_template.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

namespace saved_session_detail {
class Access;
}
namespace step_many_detail {
class Access;
}
namespace vote_detail {
class Access;
}

// The shortest use:          Reply reply = session->ask("What is 7 * 8?").value();
// Thought and answer apart:  add_message(), start(), think(), answer(), reply()
// Token by token:            add_message(), start(), then step() until an event of kind kDone
// Many answers to a thought: think(), then fork(), reseed() and answer() of each fork
// Many thoughts:             start(), prefill(), then fork() and reseed()
// Many, and what most say:   start(), then vote() of vote.hpp
//
// Messages make the conversation. The answer of a reply, if there is one, becomes a message, which
// has the thought beside it. The next prompt leaves that out (R1's rule) unless its options ask for
// it, so it is re-read from that answer on, and the key-value cache keeps all before it.
//
// An error of start() changes nothing. kWrongState refuses a call, after which a reply under way
// goes on. Any other error of prefill(), step(), think(), answer() or ask() ends the reply; the
// session and its messages can be used on, and a message that ask() added is gone. Small blocks
// come from the C++ library, which throws std::bad_alloc where there are none: after prefill(),
// step(), think() or answer() has thrown, abandon_reply().
//
// Thread rule: one thread at a time, but cancel() and end_thinking() may come from any thread and
// from signal handlers.
class Session {
 public:
  // Errors: kInvalidArgument naming the option, or as Arena::create says of the allocator;
  // kOutOfMemory; kUnsupported if the model has no layer for the speculation.
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Model> model,
                                                 const SessionOptions& options = {}) {
    PENSEE_ASSIGN_OR_RETURN(ReplyTools tools, ReplyTools::create(*model, options));
    return std::unique_ptr<Session>(new Session(std::move(model), std::move(tools)));
  }

  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // An independent copy, also in the middle of a reply: the messages, the tokens with their cache,
  // the reply so far. Both go on alike unless one is reseeded. A cancel() or end_thinking() that
  // has not taken effect stays with this session. No other thread may use this session meanwhile,
  // but cancel() and end_thinking(). Errors: kOutOfMemory, kInvalidArgument for misaligned memory
  // of the allocator.
  [[nodiscard]] Result<std::unique_ptr<Session>> fork() const {
    PENSEE_ASSIGN_OR_RETURN(ReplyTools tools, writer_.tools().clone());
    std::unique_ptr<Session> copy(new Session(model(), std::move(tools)));
    copy->writer_.take_over(writer_);
    copy->messages_ = messages_;
    copy->keeps_answer_ = keeps_answer_;
    copy->thought_ended_ = thought_ended_;
    return copy;
  }

  // Draws the rest of the reply under way, thought and answer, from a random stream of its own; the
  // seeds of its ReplyOptions no longer count. Later replies begin with this seed too, unless their
  // own options have one. save() does not keep it.
  void reseed(uint64_t seed) { writer_.reseed(seed); }

  // Adds a message; assistants' messages restore an earlier conversation. `thought`: what an
  // assistant thought before it, if anything; see ReplyOptions::history. Errors: kInvalidArgument
  // if a text is not UTF-8 or another role has a thought, kWrongState while a reply is under way.
  Result<void> add_message(Role role, std::string_view content, std::string_view thought = {}) {
    PENSEE_RETURN_IF_ERROR(expect_idle("add_message"));
    for (const auto& [name, text] :
         {std::pair{"message", content}, std::pair{"thought", thought}}) {
      if (const auto byte = find_malformed_utf8(text)) {
        return invalid_argument(std::string(name) + ": not UTF-8 at byte " + std::to_string(*byte));
      }
    }
    if (role != Role::kAssistant && !thought.empty()) {
      return invalid_argument(std::string("thought: expected none of the role ") + name_of(role));
    }
    messages_.push_back(message_of(role, content, thought));
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
    writer_.reset();
    messages_.clear();
  }

  // Gives up the reply under way, if any: no events of it follow, and its answer becomes no
  // message.
  void abandon_reply() noexcept { writer_.abandon(); }

  // Begins the reply to the messages, whose last is the user's; the prompt is read by the first
  // step(). Errors: kWrongState while a reply is under way or if the last message is not the
  // user's, kInvalidArgument naming the option, kContextFull if the prompt does not fit,
  // kUnsupported or kNotFound if the model has no chat template that is known, kUnsupported if
  // thinking is on and the model has no thoughts, or if thoughts are to stay and the template does
  // not let them, those of ChatTemplate::render and Tokenizer::encode.
  Result<void> start(const ReplyOptions& options = {}) {
    PENSEE_RETURN_IF_ERROR(expect_idle("start"));
    if (messages_.empty() || messages_.back().role != Role::kUser) {
      return Error{Status::kWrongState, "start: expected a user's message last, found " +
                                            std::string(messages_.empty() ? "none" : "another")};
    }
    PENSEE_ASSIGN_OR_RETURN(ReplyPrompt prompt,
                            render_prompt(*model(), messages_, options.thinking, options.history));
    return begin(std::move(prompt), options, true);
  }

  // Begins the reply to a ready prompt, in which a thought may be open; it has nothing to do with
  // the messages. Errors: kWrongState while a reply is under way; kInvalidArgument naming the
  // option, if thinking is not kAuto, if there are no tokens, or for a token that is not in the
  // vocabulary; kContextFull if they do not fit; those of Tokenizer::encode for texts of options.
  Result<void> start_prompt(std::span<const int32_t> tokens, const ReplyOptions& options = {}) {
    PENSEE_RETURN_IF_ERROR(expect_idle("start_prompt"));
    if (options.thinking != Thinking::kAuto) {
      return invalid_argument("thinking: expected auto: a ready prompt opens the thought or not");
    }
    PENSEE_ASSIGN_OR_RETURN(ReplyPrompt prompt, ready_prompt(*model(), tokens));
    return begin(std::move(prompt), options, false);
  }

  // Reads the prompt of the reply under way, and writes no token yet; nothing happens where it has
  // been read. After a cancel(), step() tells how the reply ended. Errors: kWrongState if no reply
  // is under way, kOutOfMemory.
  Result<void> prefill() {
    PENSEE_RETURN_IF_ERROR(expect_reply("prefill"));
    return writer_.prefill();
  }

  // Logits (vocab_size) after the newest of tokens(), as the model gives them; valid until the next
  // call of another function. Where a prompt was cancelled, that is the last one read. Errors:
  // kWrongState while no token has been read, or a prompt still has to be, kContextFull if the
  // newest token itself found no room, kOutOfMemory.
  Result<std::span<const float>> logits() {
    if (tokens().empty() || !writer_.prompt_is_read()) {
      return Error{Status::kWrongState, "logits: no prompt has been read; start() and prefill()"};
    }
    return writer_.feed().logits();
  }

  // The next event, after at most one token's work (the first: the prompt's too; and a delimiter of
  // several tokens has one event). Errors:
  // kWrongState if no reply is under way, kInternal for broken logits, kUnsupported if no token
  // goes on with the form of the answer, kOutOfMemory.
  Result<Event> step() {
    PENSEE_RETURN_IF_ERROR(expect_reply("step"));
    PENSEE_ASSIGN_OR_RETURN(Event event, writer_.step());
    if (event.kind == EventKind::kThoughtBegin) thought_ended_ = false;
    if (event.kind == EventKind::kThoughtEnd) thought_ended_ = true;
    if (event.kind == EventKind::kDone) finish();
    return event;
  }

  // Runs to the end of the thought and returns it, without white space at its ends; empty where
  // there is none. Errors: those of step(); kWrongState if the thought has ended.
  Result<std::string> think() {
    if (is_replying() && thought_ended_) {
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
    } while (is_replying());
    return reply().answer;
  }

  // Adds the user's message and runs the whole reply. Errors: those of add_message(), start() and
  // answer().
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
  [[nodiscard]] Reply reply() const {
    return writer_.controller() ? writer_.controller()->reply() : Reply();
  }
  // Its parts that need no memory.
  [[nodiscard]] ThoughtEnd thought_end() const noexcept {
    return writer_.controller() ? writer_.controller()->thought_end() : ThoughtEnd::kNone;
  }
  [[nodiscard]] AnswerEnd answer_end() const noexcept {
    return writer_.controller() ? writer_.controller()->answer_end() : AnswerEnd::kNone;
  }
  [[nodiscard]] Usage usage() const noexcept {
    return writer_.controller() ? writer_.controller()->usage() : Usage();
  }
  [[nodiscard]] bool is_replying() const noexcept { return writer_.is_replying(); }

  // Any thread: closes the thought under way, or the one that the model begins its reply with, at
  // the next whole character, and answers. Nothing happens in the answer or between replies.
  void end_thinking() noexcept { writer_.end_thinking(); }
  // Any thread: ends the reply under way, within one token, or one chunk of the prompt. Nothing
  // happens between replies.
  void cancel() noexcept { writer_.cancel(); }

  [[nodiscard]] const std::shared_ptr<const Model>& model() const noexcept {
    return writer_.model();
  }
  // All tokens of the context, prompt and reply.
  [[nodiscard]] std::span<const int32_t> tokens() const noexcept { return writer_.feed().tokens(); }
  [[nodiscard]] int64_t context_length() const noexcept { return writer_.feed().capacity(); }

 private:
  friend class saved_session_detail::Access;  // for save() and restore()
  friend class step_many_detail::Access;
  friend class vote_detail::Access;

  Session(std::shared_ptr<const Model> model, ReplyTools tools)
      : writer_(std::move(model), std::move(tools)) {}

  [[nodiscard]] Result<void> expect_idle(const char* function) const {
    if (!is_replying()) return {};
    return Error{
        Status::kWrongState,
        std::string(function) + ": a reply is under way; cancel() it or step() to its end"};
  }

  [[nodiscard]] Result<void> expect_reply(const char* function) const {
    if (is_replying()) return {};
    return Error{Status::kWrongState,
                 std::string(function) + ": no reply is under way; start() one"};
  }

  Result<void> begin(ReplyPrompt prompt, const ReplyOptions& options, bool keeps_answer) {
    PENSEE_RETURN_IF_ERROR(writer_.begin(std::move(prompt), options));
    keeps_answer_ = keeps_answer;
    thought_ended_ = false;
    return {};
  }

  [[nodiscard]] static Message message_of(Role role, std::string_view content,
                                          std::string_view thought) {
    Message message{role, std::string(content)};
    if (!thought.empty()) message.reasoning_content = thought;
    return message;
  }

  // After kDone: the answer becomes a message.
  void finish() {
    writer_.abandon();
    const Reply last = reply();
    if (keeps_answer_ && !last.answer.empty()) {
      messages_.push_back(message_of(Role::kAssistant, last.answer, last.thought));
    }
  }

  ReplyWriter writer_;
  std::vector<Message> messages_;
  bool keeps_answer_ = false;   // of the reply under way, as a message
  bool thought_ended_ = false;  // of that reply: the host has seen it
};

}  // namespace pensee
