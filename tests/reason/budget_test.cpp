#include "pensee/reason/budget.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "reason/ascii_tokens.hpp"

namespace pensee {
namespace {

// A vocabulary for scripts: a printable ASCII character is its own token; some more are below.
constexpr int32_t kOpen = 200;
constexpr int32_t kClose = 201;
constexpr int32_t kEos = 202;
constexpr int32_t kSpecial = 203;  // a control token that is not a delimiter: no text
constexpr int32_t kEuro1 = 210;    // the bytes of U+20AC, one a token
constexpr int32_t kEuro2 = 211;
constexpr int32_t kEuro3 = 212;
const std::string kEuro = "\xE2\x82\xAC";
const std::string kReplacement(kReplacementCharacter);

std::string_view token_bytes(int32_t token) {
  if (token == kOpen) return "<think>";
  if (token == kClose) return "</think>";
  if (token == kEos) return "<eos>";
  if (token >= kEuro1 && token <= kEuro3) {
    return std::string_view(kEuro).substr(static_cast<size_t>(token - kEuro1), 1);
  }
  return ascii_token_bytes(token);
}

std::vector<int32_t> tokens_of(std::string_view text) {
  return {text.begin(), text.end()};
}

std::vector<int32_t> operator+(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Script {
  ReplyOptions options = {};
  std::vector<int32_t> model = {};        // what the model would write
  std::vector<int32_t> prompt = {kOpen};  // control tokens of the prompt
  Delimiters delimiters = {{kOpen}, {kClose}, {kEos}};
  int64_t context = 1000;  // tokens that the reply may have
  // Called before step i with the controller.
  std::function<void(size_t step, PhaseController&)> host = [](size_t, PhaseController&) {};
};

struct Outcome {
  std::vector<Event> events;
  Reply reply;
  std::vector<int32_t> context;  // the reply's tokens as the model sees them
  std::string thought;           // joined texts
  std::string answer;
};

// Runs the loop of PhaseController's documentation. The model writes its script on, whatever the
// engine forces in between.
Outcome run(const Script& script) {
  PhaseRules rules{script.delimiters, tokens_of(script.options.budget_message),
                   tokens_of(script.options.extension_text), token_bytes};
  PhaseController controller = PhaseController::create(rules, script.options).value();
  controller.read_prompt(script.prompt);
  Outcome out;
  size_t written = 0;
  for (size_t step = 0; step < 10000; ++step) {
    while (controller.has_event()) out.events.push_back(controller.take_event());
    script.host(step, controller);
    if (static_cast<int64_t>(out.context.size()) >= script.context) controller.context_full();
    const PhaseController::Action action = controller.next();
    if (action.kind == PhaseController::ActionKind::kDone) break;
    const bool forced = action.kind == PhaseController::ActionKind::kForce;
    REQUIRE((forced || written < script.model.size()));
    const int32_t token = forced ? action.token : script.model[written++];
    out.context.push_back(token);
    const size_t refused = controller.accept(token, -0.25F * static_cast<float>(step), forced);
    REQUIRE(refused <= out.context.size());
    out.context.resize(out.context.size() - refused);
  }
  while (controller.has_event()) out.events.push_back(controller.take_event());
  out.reply = controller.reply();
  for (const Event& e : out.events) {
    CHECK(!find_malformed_utf8(e.text));  // every piece is whole
    (e.phase == Phase::kThought ? out.thought : out.answer) += e.text;
  }
  // Every reply ends with kAnswerEnd and kDone, and tells each ending once more in the reply.
  REQUIRE(out.events.size() >= 3);
  CHECK(out.events.back().kind == EventKind::kDone);
  const Event& last = out.events[out.events.size() - 2];
  CHECK(last.kind == EventKind::kAnswerEnd);
  CHECK(last.answer_end == out.reply.answer_end);
  CHECK(out.reply.thought_end != ThoughtEnd::kNone);
  CHECK(out.reply.usage.reply_tokens() == static_cast<int64_t>(out.context.size()));
  return out;
}

std::vector<ThoughtEnd> thought_ends(const Outcome& out) {
  std::vector<ThoughtEnd> ends;
  for (const Event& e : out.events) {
    if (e.kind == EventKind::kThoughtEnd) ends.push_back(e.thought_end);
  }
  return ends;
}

// Delimiters of several tokens: "<t>" opens, "</t>" closes.
Script sequence_script(std::vector<int32_t> model) {
  return {.model = std::move(model),
          .prompt = tokens_of("<t>"),
          .delimiters = {tokens_of("<t>"), tokens_of("</t>"), {kEos}}};
}

TEST_CASE("closed and complete") {
  const Outcome out = run(
      {.model = tokens_of("ab\n") + std::vector{kClose} + tokens_of("\n\ncd") + std::vector{kEos}});
  CHECK(out.thought == "ab\n");
  CHECK(out.answer == "\n\ncd");
  CHECK(out.reply.thought == "ab");
  CHECK(out.reply.answer == "cd");
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
  CHECK(out.reply.answer_end == AnswerEnd::kComplete);
  CHECK(out.reply.usage.thought_tokens == 3);
  CHECK(out.reply.usage.answer_tokens == 4);
  CHECK(out.reply.usage.control_tokens == 2);
  CHECK(out.reply.usage.forced_tokens == 0);
  // Events carry their token and its log-probability, the endings those of their delimiter.
  REQUIRE(out.events.size() == 10);
  CHECK(out.events[1].token == 'b');
  CHECK(out.events[1].log_prob == -0.25F);
  CHECK(out.events[3].kind == EventKind::kThoughtEnd);
  CHECK(out.events[3].token == kClose);
  CHECK(out.events[8].token == kEos);
  CHECK(out.events[9].token == kNoToken);
}

TEST_CASE("an empty thought and an empty answer are valid") {
  const Outcome out = run({.model = {kClose, kEos}});
  CHECK(out.thought.empty());
  CHECK(out.answer.empty());
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
  CHECK(out.reply.answer_end == AnswerEnd::kComplete);
}

TEST_CASE("eos in the thought: no answer was given") {
  const Outcome out = run({.model = tokens_of("ab") + std::vector{kEos}});
  CHECK(out.reply.thought == "ab");
  CHECK(out.reply.thought_end == ThoughtEnd::kEos);
  CHECK(out.reply.answer_end == AnswerEnd::kNone);
}

TEST_CASE("skipped: the prompt opens no thought") {
  for (const std::vector<int32_t>& prompt : {std::vector<int32_t>{}, {kOpen, kClose}}) {
    const Outcome out = run({.model = tokens_of("cd") + std::vector{kEos}, .prompt = prompt});
    CHECK(out.events[0].kind == EventKind::kThoughtEnd);
    CHECK(out.reply.thought_end == ThoughtEnd::kSkipped);
    CHECK(out.reply.answer == "cd");
    CHECK(out.reply.usage.control_tokens == 1);
  }
}

TEST_CASE("a budget closes the thought") {
  const auto thought_of = [](int64_t budget, std::string message = {}) {
    return run({.options = {.thinking_token_budget = budget, .budget_message = message},
                .model = tokens_of("abcdef") + std::vector{kEos}});
  };
  Outcome out = thought_of(2);
  CHECK(out.thought == "ab");
  CHECK(out.answer == "cdef");  // the script writes on
  CHECK(out.reply.thought_end == ThoughtEnd::kBudget);
  CHECK(out.reply.answer_end == AnswerEnd::kComplete);
  CHECK(out.reply.usage.thought_tokens == 2);
  CHECK(out.reply.usage.forced_tokens == 1);
  CHECK(out.events[2].kind == EventKind::kThoughtEnd);
  CHECK(out.events[2].forced);
  out = thought_of(0);
  CHECK(out.thought.empty());
  CHECK(out.reply.thought_end == ThoughtEnd::kBudget);
  CHECK(out.reply.usage.thought_tokens == 0);
  CHECK(out.answer == "abcdef");
  out = thought_of(2, "...\n");
  CHECK(out.thought == "ab...\n");
  CHECK(out.reply.thought_end == ThoughtEnd::kBudget);
  CHECK(out.reply.usage.thought_tokens == 6);
  CHECK(out.reply.usage.forced_tokens == 5);
  CHECK(!out.events[1].forced);
  CHECK(out.events[2].forced);
  CHECK(out.context ==
        tokens_of("ab...\n") + std::vector{kClose} + tokens_of("cdef") + std::vector{kEos});
}

TEST_CASE("a thought within its budget is closed by the model") {
  const Outcome out =
      run({.options = {.thinking_token_budget = 3},
           .model = tokens_of("ab") + std::vector{kClose} + tokens_of("c") + std::vector{kEos}});
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
  CHECK(out.reply.usage.forced_tokens == 0);
}

TEST_CASE("a budget waits for the end of the character") {
  const std::vector<int32_t> model =
      tokens_of("a") + std::vector{kEuro1, kEuro2, kEuro3} + tokens_of("b") + std::vector{kEos};
  for (const int64_t budget : {2, 3, 4}) {
    const Outcome out = run({.options = {.thinking_token_budget = budget}, .model = model});
    CHECK(out.thought == "a" + kEuro);
    CHECK(out.answer == "b");
    CHECK(out.reply.usage.thought_tokens == 4);
    CHECK(out.reply.thought_end == ThoughtEnd::kBudget);
  }
  // Bytes that never become a character do not keep the thought open.
  const Outcome out =
      run({.options = {.thinking_token_budget = 2},
           .model = tokens_of("a") + std::vector{kEuro1} + tokens_of("bc") + std::vector{kEos}});
  CHECK(out.thought == "a" + kReplacement + "b");
  // Nor do those that each begin one.
  const std::vector<int32_t> begun(20, kEuro1);
  for (const bool asked : {false, true}) {
    const auto ask = [](size_t step, PhaseController& c) {
      if (step == 3) c.end_thinking();
    };
    const Outcome endless = run({.options = {.thinking_token_budget = asked ? kNoCap : 3},
                                 .model = begun + std::vector{kEos},
                                 .host = asked ? ask : [](size_t, PhaseController&) {}});
    CHECK(endless.reply.usage.thought_tokens == 6);
    CHECK(endless.reply.thought_end == (asked ? ThoughtEnd::kStopped : ThoughtEnd::kBudget));
    CHECK(endless.reply.answer_end == AnswerEnd::kComplete);
  }
}

TEST_CASE("an incomplete character at an end becomes U+FFFD in its own phase") {
  const Outcome out = run({.model = {'a', kEuro1, kClose, kEuro1, kEuro2, kEos}});
  CHECK(out.thought == "a" + kReplacement);
  CHECK(out.answer == kReplacement);
}

TEST_CASE("truncated: max_tokens or the context ran out in the thought") {
  Outcome out = run({.options = {.max_tokens = 3}, .model = tokens_of("abcdef")});
  CHECK(out.thought == "abc");
  CHECK(out.reply.thought_end == ThoughtEnd::kTruncated);
  CHECK(out.reply.answer_end == AnswerEnd::kNone);
  out = run({.model = tokens_of("abcdef"), .context = 4});
  CHECK(out.thought == "abcd");
  CHECK(out.reply.thought_end == ThoughtEnd::kTruncated);
  CHECK(out.reply.answer_end == AnswerEnd::kNone);
  out = run({.options = {.max_tokens = 0}, .model = {}});
  CHECK(out.reply.thought_end == ThoughtEnd::kTruncated);
}

TEST_CASE("length and context_full in the answer") {
  const std::vector<int32_t> model = tokens_of("ab") + std::vector{kClose} + tokens_of("cdefgh");
  Outcome out = run({.options = {.max_answer_tokens = 3}, .model = model});
  CHECK(out.reply.thought == "ab");
  CHECK(out.reply.answer == "cde");
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
  CHECK(out.reply.answer_end == AnswerEnd::kLength);
  CHECK(out.reply.usage.answer_tokens == 3);
  out = run({.options = {.max_tokens = 5}, .model = model});
  CHECK(out.reply.answer == "cd");
  CHECK(out.reply.answer_end == AnswerEnd::kLength);
  CHECK(out.reply.usage.reply_tokens() == 5);
  out = run({.model = model, .context = 4});
  CHECK(out.reply.answer == "c");
  CHECK(out.reply.answer_end == AnswerEnd::kContextFull);
  out = run({.options = {.max_answer_tokens = 0}, .model = model});
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
  CHECK(out.reply.answer_end == AnswerEnd::kLength);
  CHECK(out.answer.empty());
}

TEST_CASE("end_thinking closes the thought at a whole character; in the answer it does nothing") {
  const std::vector<int32_t> model =
      tokens_of("a") + std::vector{kEuro1, kEuro2, kEuro3} + tokens_of("bcdef") + std::vector{kEos};
  const Outcome out = run({.options = {.budget_message = "never"},
                           .model = model,
                           .host = [](size_t step, PhaseController& c) {
                             if (step == 2 || step == 7) c.end_thinking();
                           }});
  CHECK(out.thought == "a" + kEuro);
  CHECK(out.answer == "bcdef");
  CHECK(out.reply.thought_end == ThoughtEnd::kStopped);
  CHECK(out.reply.answer_end == AnswerEnd::kComplete);
  CHECK(out.reply.usage.forced_tokens == 1);
}

TEST_CASE("a thought that the model is about to open is closed too") {
  const std::vector<int32_t> model =
      std::vector{kOpen} + tokens_of("ab") + std::vector{kClose} + tokens_of("c");
  const auto asked_at = [&](size_t at, const std::vector<int32_t>& script) {
    return run({.model = script + std::vector{kEos},
                .prompt = {},
                .host = [at](size_t step, PhaseController& c) {
                  if (step == at) c.end_thinking();
                }});
  };
  Outcome out = asked_at(0, model);
  CHECK(out.thought.empty());
  CHECK(out.reply.thought_end == ThoughtEnd::kStopped);
  CHECK(out.answer == "abc");  // the script writes on
  // Once the answer has begun, it is too late.
  out = asked_at(0, tokens_of("x") + model);
  CHECK(out.thought == "ab");
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
}

TEST_CASE("no tokens of answer: the thought that the model opens is written") {
  Outcome out = run({.options = {.max_answer_tokens = 0},
                     .model = std::vector{kOpen} + tokens_of("ab") + std::vector{kClose},
                     .prompt = {}});
  CHECK(out.thought == "ab");
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
  CHECK(out.reply.answer_end == AnswerEnd::kLength);
  // What is no thought is refused, also where a thought begins behind it.
  Script spelled = sequence_script(tokens_of("<<t>"));
  spelled.options.max_answer_tokens = 0;
  spelled.prompt = {};
  out = run(spelled);
  CHECK(out.context.empty());
  CHECK(out.answer.empty());
  CHECK(thought_ends(out) == std::vector{ThoughtEnd::kSkipped});
  out = run({.options = {.max_answer_tokens = 0}, .model = tokens_of("a"), .prompt = {}});
  CHECK(out.context.empty());
  CHECK(out.answer.empty());
  CHECK(out.reply.thought_end == ThoughtEnd::kSkipped);
  CHECK(out.reply.answer_end == AnswerEnd::kLength);
  out = run({.options = {.max_answer_tokens = 0}, .model = {kEos}, .prompt = {}});
  CHECK(out.reply.answer_end == AnswerEnd::kComplete);
  out = run(
      {.options = {.thinking = Thinking::kOff, .max_answer_tokens = 0}, .prompt = {kOpen, kClose}});
  CHECK(out.reply.answer_end == AnswerEnd::kLength);
}

TEST_CASE("an answer that was begun before a thought has the ending that the reply has") {
  const std::vector<int32_t> model = tokens_of("ab") + std::vector{kOpen} + tokens_of("cdef");
  Outcome out = run({.model = model + std::vector{kEos}, .prompt = {}});
  CHECK(out.reply.answer == "ab");
  CHECK(out.reply.thought_end == ThoughtEnd::kEos);
  CHECK(out.reply.answer_end == AnswerEnd::kComplete);
  out = run({.options = {.max_tokens = 5}, .model = model, .prompt = {}});
  CHECK(out.reply.thought_end == ThoughtEnd::kTruncated);
  CHECK(out.reply.answer_end == AnswerEnd::kLength);
  out = run({.model = model, .prompt = {}, .context = 5});
  CHECK(out.reply.answer_end == AnswerEnd::kContextFull);
  // White space is no answer.
  out = run({.model = tokens_of("\n") + std::vector{kOpen, int32_t{'c'}, kEos}, .prompt = {}});
  CHECK(out.reply.answer_end == AnswerEnd::kNone);
}

TEST_CASE("cancel ends the reply in either phase") {
  const std::vector<int32_t> model = tokens_of("ab") + std::vector{kClose} + tokens_of("cdefgh");
  const auto cancelled_at = [&](size_t at) {
    return run({.model = model, .host = [at](size_t step, PhaseController& c) {
                  if (step == at) c.cancel();
                }});
  };
  Outcome out = cancelled_at(0);
  CHECK(out.thought.empty());
  CHECK(out.reply.thought_end == ThoughtEnd::kStopped);
  CHECK(out.reply.answer_end == AnswerEnd::kCancelled);
  out = cancelled_at(1);
  CHECK(out.thought == "a");
  CHECK(out.reply.thought_end == ThoughtEnd::kStopped);
  CHECK(out.reply.answer_end == AnswerEnd::kCancelled);
  out = cancelled_at(5);
  CHECK(out.thought == "ab");
  CHECK(out.answer == "cd");
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
  CHECK(out.reply.answer_end == AnswerEnd::kCancelled);
}

TEST_CASE("a stop string ends the answer, never the thought") {
  const std::vector<int32_t> model =
      tokens_of("a END b") + std::vector{kClose} + tokens_of("x EN END more") + std::vector{kEos};
  Outcome out = run({.options = {.stop = {"END", "zzz"}}, .model = model});
  CHECK(out.thought == "a END b");
  CHECK(out.answer == "x EN ");
  CHECK(out.reply.answer_end == AnswerEnd::kStopString);
  CHECK(out.reply.usage.answer_tokens == 8);
  // What looked like a beginning is shown when the answer ends otherwise.
  out = run({.options = {.max_answer_tokens = 4, .stop = {"END"}}, .model = model});
  CHECK(out.answer == "x EN");
  CHECK(out.reply.answer_end == AnswerEnd::kLength);
  out = run({.options = {.stop = {"more" + kReplacement}},
             .model = std::vector{kClose} + tokens_of("more") + std::vector{kEuro1, kEos}});
  CHECK(out.answer.empty());
  CHECK(out.reply.answer_end == AnswerEnd::kStopString);
  // Complete only when a thought begins.
  out = run({.options = {.stop = {"x" + kReplacement}},
             .model = std::vector{kClose} + tokens_of("ax") + std::vector{kEuro1, kOpen}});
  CHECK(out.answer == "a");
  CHECK(out.reply.answer_end == AnswerEnd::kStopString);
}

TEST_CASE("a thought opened in the answer is thought, and delimiters never show") {
  const std::vector<int32_t> model = tokens_of("\n") + std::vector{kOpen} + tokens_of("ab") +
                                     std::vector{kOpen, kClose} + tokens_of("c") +
                                     std::vector{kClose, kEuro1, kOpen} + tokens_of("de") +
                                     std::vector{kClose} + tokens_of("f") + std::vector{kEos};
  const Outcome out = run({.options = {.stop = {"cf"}}, .model = model, .prompt = {}});
  CHECK(out.thought == "abde");
  CHECK(out.answer == "\nc" + kReplacement + "f");
  CHECK(thought_ends(out) == std::vector{ThoughtEnd::kClosed, ThoughtEnd::kClosed});
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
  CHECK(out.reply.usage.control_tokens == 5);
}

TEST_CASE("delimiters that change nothing have their events, and pass no cap") {
  const std::vector<int32_t> closes(9, kClose);
  Outcome out = run({.options = {.thinking_token_budget = 3, .max_answer_tokens = 2},
                     .model = std::vector{kOpen, kOpen, kOpen} + closes});
  CHECK(out.thought.empty());
  CHECK(out.answer.empty());
  CHECK(out.reply.thought_end == ThoughtEnd::kBudget);
  CHECK(out.reply.answer_end == AnswerEnd::kLength);
  CHECK(out.reply.usage.thought_tokens == 3);
  CHECK(out.reply.usage.answer_tokens == 2);
  CHECK(out.reply.usage.control_tokens == 1);
  REQUIRE(out.events.size() == 8);
  for (const size_t i : {0U, 1U, 2U, 4U, 5U}) {
    CHECK(out.events[i].kind == EventKind::kToken);
    CHECK(out.events[i].phase == (i < 3 ? Phase::kThought : Phase::kAnswer));
    CHECK(out.events[i].token == (i < 3 ? kOpen : kClose));
  }
  // No answer at all is to be written.
  out = run({.options = {.max_answer_tokens = 0}, .model = closes, .prompt = {}});
  CHECK(out.context.empty());
  CHECK(out.reply.answer_end == AnswerEnd::kLength);
  // Spelled by several tokens.
  Script spelled = sequence_script(tokens_of("<t><t>a"));
  spelled.options.max_tokens = 7;
  out = run(spelled);
  CHECK(out.thought == "a");
  CHECK(out.reply.usage.thought_tokens == 7);
  CHECK(out.reply.thought_end == ThoughtEnd::kTruncated);
}

TEST_CASE("with thinking off a thought that the model opens is closed at once") {
  const Outcome out =
      run({.options = {.thinking = Thinking::kOff},
           .model = tokens_of("a") + std::vector{kOpen} + tokens_of("b") + std::vector{kEos},
           .prompt = {kOpen, kClose}});
  CHECK(out.thought.empty());
  CHECK(out.answer == "ab");
  CHECK(out.reply.thought_end == ThoughtEnd::kSkipped);
}

TEST_CASE("special tokens have no text but are counted") {
  const Outcome out = run({.model = {kClose, 'a', kSpecial, 'b', kEos}});
  CHECK(out.answer == "ab");
  CHECK(out.reply.usage.answer_tokens == 3);
}

TEST_CASE("a thought closed too early is extended") {
  const std::vector<int32_t> model = tokens_of("a") + std::vector{kClose} + tokens_of("b") +
                                     std::vector{kClose} + tokens_of("c") + std::vector{kClose} +
                                     tokens_of("d") + std::vector{kEos};
  ReplyOptions options{.min_thought_tokens = 6, .extension_text = "Hm"};
  Outcome out = run({.options = options, .model = model});
  CHECK(out.thought == "aHmbHmc");
  CHECK(out.answer == "d");
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
  CHECK(out.reply.usage.forced_tokens == 4);
  CHECK(out.context == tokens_of("aHmbHmc") + std::vector{kClose, int32_t{'d'}, kEos});
  options.max_extensions = 1;
  out = run({.options = options, .model = model});
  CHECK(out.thought == "aHmb");
  // The budget goes before the extension.
  options.max_extensions = kNoCap;
  options.thinking_token_budget = 4;
  out = run({.options = options, .model = model});
  CHECK(out.thought == "aHmb");
  CHECK(out.reply.thought_end == ThoughtEnd::kBudget);
  // It ends an extension in its middle; so does the host.
  options.thinking_token_budget = 3;
  options.extension_text = "Hmmmm";
  out = run({.options = options, .model = model});
  CHECK(out.thought == "aHm");
  CHECK(out.reply.thought_end == ThoughtEnd::kBudget);
  CHECK(out.reply.usage.forced_tokens == 3);
  options.thinking_token_budget = kNoCap;
  out = run({.options = options, .model = model, .host = [](size_t step, PhaseController& c) {
               if (step == 3) c.end_thinking();
             }});
  CHECK(out.thought == "aH");
  CHECK(out.reply.thought_end == ThoughtEnd::kStopped);
}

TEST_CASE("delimiters of several tokens are held back and never shown") {
  Outcome out = run(sequence_script(tokens_of("a</b<</t>c<d</t") + std::vector{kEos}));
  CHECK(out.thought == "a</b<");
  CHECK(out.answer == "c<d</t");
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
  CHECK(out.reply.usage.control_tokens == 5);
  // Log-probabilities stay with their tokens though they are shown later.
  CHECK(out.events[1].token == '<');
  CHECK(out.events[1].log_prob == -0.25F);
  // An end while tokens are held shows them.
  Script script = sequence_script(tokens_of("abc</t"));
  script.options.max_tokens = 6;
  out = run(script);
  CHECK(out.thought == "abc</t");
  CHECK(out.reply.thought_end == ThoughtEnd::kTruncated);
  // So does a budget; the close written by the engine is found behind them.
  script.options = {.thinking_token_budget = 5, .max_answer_tokens = 0};
  out = run(script);
  CHECK(out.thought == "abc</");
  CHECK(out.reply.thought_end == ThoughtEnd::kBudget);
  CHECK(out.reply.usage.forced_tokens == 4);
}

TEST_CASE("a stop string ends the thought where that is asked for, and the reply with it") {
  const auto model = tokens_of("thinENDk") + std::vector<int32_t>{kClose} + tokens_of("x") +
                     std::vector<int32_t>{kEos};
  Script script{.options = {.stop = {"END", "zzz"}, .stop_in_thought = true}, .model = model};
  Outcome out = run(script);
  CHECK(out.thought == "thin");
  CHECK(out.answer.empty());
  CHECK(out.reply.thought_end == ThoughtEnd::kStopped);
  CHECK(out.reply.answer_end == AnswerEnd::kStopString);
  CHECK(out.reply.usage.thought_tokens == 7);
  CHECK(thought_ends(out) == std::vector{ThoughtEnd::kStopped});
  // What may begin one is thought when the thought ends, and the answer has its own.
  script.model = tokens_of("thinEN") + std::vector<int32_t>{kClose} + tokens_of("D!END");
  out = run(script);
  CHECK(out.thought == "thinEN");
  CHECK(out.answer == "D!");
  CHECK(out.reply.thought_end == ThoughtEnd::kClosed);
  CHECK(out.reply.answer_end == AnswerEnd::kStopString);
  // One that only the end of the thought completes, at each way to end it.
  script.options.stop = {"x" + kReplacement};
  for (const int32_t end : {kClose, kEos}) {
    script.model = tokens_of("tx") + std::vector<int32_t>{kEuro1, end};
    out = run(script);
    CHECK(out.thought == "t");
    CHECK(out.reply.thought_end == ThoughtEnd::kStopped);
    CHECK(out.reply.answer_end == AnswerEnd::kStopString);
  }
  // Bytes of a character begun do not come after it.
  script.options.stop = {"x"};
  script.model = tokens_of("tx") + std::vector<int32_t>{kEuro1, kEos};
  CHECK(run(script).thought == "t");
  // The engine's own words end nothing, not even what the model began.
  script.options = {.thinking_token_budget = 2,
                    .budget_message = "ND",
                    .stop = {"END", "N"},
                    .stop_in_thought = true};
  script.model = tokens_of("aE") + tokens_of("x") + std::vector<int32_t>{kEos};
  out = run(script);
  CHECK(out.thought == "aEND");
  CHECK(out.answer == "x");
  CHECK(out.reply.thought_end == ThoughtEnd::kBudget);
  script.options = {.stop_in_thought = true};
  // Tokens that wait count as thought.
  script.delimiters = {{'<', 't'}, {'<', '/', 't'}, {kEos}};
  script.prompt = {'<', 't'};
  script.options.stop = {"<"};
  script.model = tokens_of("a<<b");
  out = run(script);
  CHECK(out.thought == "a");
  CHECK(out.reply.usage.thought_tokens == 3);
  CHECK(out.reply.usage.answer_tokens == 0);
}

TEST_CASE("tokens that come with a stop string are counted") {
  // run() compares the counts with the context.
  for (const std::vector<int32_t>& end : {tokens_of("b"), std::vector{kEos}}) {
    Script script = sequence_script(tokens_of("</t>a<") + end);
    script.options.stop = {"<"};
    const Outcome out = run(script);
    CHECK(out.answer == "a");
    CHECK(out.reply.answer_end == AnswerEnd::kStopString);
  }
}

TEST_CASE("a refused close of several tokens leaves the context as a whole") {
  Script script = sequence_script(tokens_of("a</t>b</t>c") + std::vector{kEos});
  script.options = {.min_thought_tokens = 3, .extension_text = "!"};
  const Outcome out = run(script);
  CHECK(out.thought == "a!b");
  CHECK(out.context == tokens_of("a!b</t>c") + std::vector{kEos});
}

TEST_CASE("bad options make no controller") {
  const auto error = [](const ReplyOptions& options) {
    const auto controller =
        PhaseController::create({{{kOpen}, {kClose}, {kEos}}, {}, {}, token_bytes}, options);
    REQUIRE(!controller.ok());
    CHECK(controller.error().status == Status::kInvalidArgument);
    return controller.error().message.substr(0, controller.error().message.find(':'));
  };
  CHECK(error({.max_tokens = -2}) == "max_tokens");
  CHECK(error({.stop = {""}}) == "stop");
}

}  // namespace
}  // namespace pensee
