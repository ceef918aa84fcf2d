#include "pensee/reason/answer_form.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "pensee/reason/step_many.hpp"
#include "reason/ascii_tokens.hpp"
#include "reason/replies.hpp"

namespace pensee::answer_form_test {
namespace {

constexpr int32_t kOpen = 200;
constexpr int32_t kClose = 201;
constexpr int32_t kEos = 202;
constexpr int32_t kSpecial = 203;
constexpr int32_t kCloseAndLine = 210;  // ">\n"
constexpr int32_t kCloseAndX = 211;     // ">x"

// Tokens are characters, but for a few.
std::string_view token_bytes(int32_t token) {
  // As in checkpoints, where they are not special.
  if (token == kOpen) return "<think>";
  if (token == kClose) return "</think>";
  if (token == kCloseAndLine) return ">\n";
  if (token == kCloseAndX) return ">x";
  return ascii_token_bytes(token);
}

const Delimiters kTokens = {{kOpen}, {kClose}, {kEos}};
const Delimiters kSpelled = {{'<', 't', '>'}, {'<', '/', 't', '>'}, {kEos}, "<t>", "</t>"};

AnswerForm form_of(const std::string& grammar, const Delimiters& delimiters) {
  ReplyOptions options;
  options.answer_grammar = grammar;
  return must(AnswerForm::create(options, delimiters));
}

TEST_CASE("a form lets by what goes on with it, and the end where it is whole") {
  AnswerForm form = form_of(R"(root ::= "ab" "c"?)", kTokens);
  PhaseMachine machine(kTokens, token_bytes);
  machine.read_prompt({});
  const auto allows = [&](int32_t token, bool may_think = false) {
    return form.allows(token, machine, token_bytes, may_think);
  };
  CHECK(allows('a'));
  CHECK(allows('\n'));
  CHECK_FALSE(allows('b'));
  CHECK_FALSE(allows(kEos));
  CHECK_FALSE(allows(kSpecial));
  CHECK_FALSE(allows(kOpen));
  CHECK(allows(kOpen, true));
  CHECK_FALSE(allows(kClose, true));
  form.take("ab");
  CHECK(allows(kEos));
  CHECK(allows('c'));
  CHECK_FALSE(form.is_finished());
  form.take("c");
  CHECK(form.is_finished());
  form.restart();
  CHECK(allows('a'));
  // Not even where the form would take their text.
  form = form_of("root ::= .*", kTokens);
  CHECK_FALSE(allows(kOpen));
  CHECK_FALSE(allows(kClose));
  CHECK(allows('<'));
}

TEST_CASE("thoughts are free, and what follows their close in its token is the answer's") {
  AnswerForm form = form_of(R"(root ::= "y")", kSpelled);
  PhaseMachine machine(kSpelled, token_bytes);
  machine.read_prompt(kSpelled.open);
  REQUIRE(machine.phase() == Phase::kThought);
  for (const int32_t token : {int32_t{'q'}, int32_t{'<'}, kSpecial}) {
    CHECK(form.allows(token, machine, token_bytes, false));
  }
  for (const char c : std::string("</t")) static_cast<void>(machine.observe(c));
  CHECK(form.allows('>', machine, token_bytes, false));
  CHECK(form.allows(kCloseAndLine, machine, token_bytes, false));
  CHECK_FALSE(form.allows(kCloseAndX, machine, token_bytes, false));
}

TEST_CASE("where delimiters are text, an answer may begin with one, and has none later") {
  AnswerForm form = form_of(R"(root ::= [a-z<>]+)", kSpelled);
  PhaseMachine machine(kSpelled, token_bytes);
  machine.read_prompt({});
  const auto write = [&](std::string_view text) {
    for (const char c : text) {
      static_cast<void>(machine.observe(c));
      form.take(std::string_view(&c, 1));
    }
  };
  write("<t");
  CHECK(form.allows('>', machine, token_bytes, true));
  CHECK(form.allows(kCloseAndLine, machine, token_bytes, true));
  CHECK_FALSE(form.allows('>', machine, token_bytes, false));
  CHECK(form.allows('a', machine, token_bytes, false));
  form = form_of(R"(root ::= [a-z<>]+)", kSpelled);
  machine = PhaseMachine(kSpelled, token_bytes);
  machine.read_prompt({});
  write("a<t");
  CHECK_FALSE(form.allows('>', machine, token_bytes, true));
  AnswerForm narrow = form_of(R"(root ::= "x")", kSpelled);
  PhaseMachine start(kSpelled, token_bytes);
  start.read_prompt({});
  CHECK(narrow.allows('<', start, token_bytes, true));
}

// What for_allowed() finds, in order.
std::vector<int32_t> found_by(AnswerForm& form, const TokenOrder& order,
                              const PhaseMachine& machine, const PhaseMachine::TokenBytes& bytes,
                              bool may_think) {
  std::vector<int32_t> found;
  form.for_allowed(order, machine, bytes, may_think,
                   [&](int32_t token) { found.push_back(token); });
  std::sort(found.begin(), found.end());
  return found;
}

TEST_CASE("all tokens that a form lets by at once are those that it lets by one by one") {
  for (const Delimiters& delimiters : {kTokens, kSpelled}) {
    AnswerForm form = form_of(R"(root ::= ("<" | "ab" | [>\n]+ "x")+ "c"?)", delimiters);
    PhaseMachine machine(delimiters, token_bytes);
    machine.read_prompt({});
    const TokenOrder order(kCloseAndX + 1, token_bytes);
    const std::string text = ">>xaba<b";
    for (size_t i = 0; i <= text.size(); ++i) {
      for (const bool may_think : {false, true}) {
        std::vector<int32_t> expected;
        for (int32_t token = 0; token <= kCloseAndX; ++token) {
          if (form.allows(token, machine, token_bytes, may_think)) expected.push_back(token);
        }
        CHECK(found_by(form, order, machine, token_bytes, may_think) == expected);
      }
      static_cast<void>(machine.observe(text[i]));
      form.take(text.substr(i, 1));
    }
  }
}

TEST_CASE("so are those of a real vocabulary") {
  const auto model = new_session()->model();
  const auto bytes = [&](int32_t token) { return model->text_of(token); };
  ReplyOptions options;
  options.answer_json_schema = R"({"type": "array", "items": {"enum": ["yes", "no", 345, true]}})";
  AnswerForm form = must(AnswerForm::create(options, model->delimiters()));
  PhaseMachine machine(model->delimiters(), bytes);
  machine.read_prompt({});
  size_t most = 0;
  for (const char* text : {"", "[", "\n", "  ", "\"", "yes\"", ",", "34", "5", "]"}) {
    form.take(text);
    std::vector<int32_t> expected;
    for (int32_t token = 0; token < model->config().vocab_size; ++token) {
      if (form.allows(token, machine, bytes, true)) expected.push_back(token);
    }
    CHECK(found_by(form, model->token_order(), machine, bytes, true) == expected);
    most = std::max(most, expected.size());
  }
  CHECK(most > 5);
}

ReplyOptions with_schema(const char* schema) {
  ReplyOptions options = greedy();
  options.answer_json_schema = schema;
  return options;
}
constexpr const char* kResult =
    R"({"type": "object", "properties": {"result": {"type": "integer"}}, "required": ["result"]})";

TEST_CASE("the thought stays as it is, and the answer keeps to the form") {
  auto session = new_session();
  const Reply free = must(session->ask(kQuestion, greedy()));
  session->reset();
  const Reply reply = must(session->ask(kQuestion, with_schema(kResult)));
  CHECK(reply.thought == free.thought);
  CHECK(reply.thought_end == ThoughtEnd::kClosed);
  CHECK(reply.answer_end == AnswerEnd::kComplete);
  const auto json = nlohmann::json::parse(reply.answer, nullptr, false);
  REQUIRE_MESSAGE(json.is_object(), reply.answer);
  CHECK(json.at("result").is_number_integer());
  CHECK(session->messages().back().content == reply.answer);

  session->reset();
  ReplyOptions options = greedy();
  options.answer_grammar = R"(root ::= "\\boxed{" [0-9]+ "}")";
  const Reply boxed = must(session->ask(kQuestion, options));
  CHECK(boxed.thought == free.thought);
  CHECK(boxed.answer == "\\boxed{91}");
  CHECK(boxed.answer_end == AnswerEnd::kComplete);
}

TEST_CASE("whatever is drawn keeps to the form, with and without thoughts, or was cut off") {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    auto session = new_session();
    ReplyOptions options = with_schema(R"({"type": "array", "items": {"enum": ["yes", "no", 3]},
                                           "minItems": 2, "maxItems": 4})");
    options.thinking = seed % 2 == 0 ? Thinking::kOff : Thinking::kAuto;
    options.thinking_token_budget = 40;
    options.thought_sampler = {.temperature = 1.5F, .top_p = 1.0F, .seed = seed};
    const Reply reply = must(session->ask(kQuestion, options));
    CAPTURE(reply.answer);
    CHECK(reply.answer_end == AnswerEnd::kComplete);
    const auto json = nlohmann::json::parse(reply.answer, nullptr, false);
    REQUIRE(json.is_array());
    CHECK(json.size() >= 2);
    CHECK(json.size() <= 4);
  }
  auto session = new_session();
  ReplyOptions options = with_schema(kResult);
  options.max_answer_tokens = 3;
  const Reply cut = must(session->ask(kQuestion, options));
  CHECK(cut.answer_end == AnswerEnd::kLength);
  CHECK(cut.usage.answer_tokens == 3);
  options.answer_json_schema = "{\"const\": 7}";
  for (const bool capped : {false, true}) {  // a cap that the last token reaches
    options.max_answer_tokens = capped ? session->usage().answer_tokens : kNoCap;
    session->reset();
    const Reply whole = must(session->ask(kQuestion, options));
    CHECK(whole.answer == "7");
    CHECK(whole.answer_end == AnswerEnd::kComplete);
  }
}

TEST_CASE("guesses, forks and sessions that are stepped together change nothing") {
  ReplyOptions options = with_schema(kResult);
  options.thought_sampler = {.temperature = 0.8F, .seed = 7};
  const auto start = [&](Speculation speculation) {
    auto session = new_session({.speculation = speculation});
    REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
    REQUIRE(session->start(options).ok());
    return session;
  };
  auto plain = start(Speculation::kOff);
  const std::vector<Event> expected = run(*plain);
  CHECK(plain->answer_end() == AnswerEnd::kComplete);
  const auto equal = [&](const std::vector<Event>& events) {
    return std::equal(events.begin(), events.end(), expected.begin(), expected.end(), same);
  };
  CHECK(equal(run(*start(Speculation::kAuto))));

  auto source = start(Speculation::kOff);
  std::vector<Event> events;
  do {
    events.push_back(must(source->step()));
  } while (events.back().kind != EventKind::kThoughtEnd);
  for (int i = 0; i < 4; ++i) events.push_back(must(source->step()));
  auto fork = must(source->fork());
  const std::vector<Event> rest = run(*fork);
  events.insert(events.end(), rest.begin(), rest.end());
  CHECK(equal(events));

  auto first = start(Speculation::kOff);
  auto second = start(Speculation::kOff);
  const std::vector<Session*> both = {first.get(), second.get()};
  std::vector<Event> together;
  do {
    const auto steps = step_many(both);
    together.push_back(must(steps[0]));
    CHECK(same(together.back(), must(steps[1])));
  } while (together.back().kind != EventKind::kDone);
  CHECK(equal(together));
}

TEST_CASE("forms that are wrong are refused before anything is read") {
  auto session = new_session();
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  const auto refuses = [&](const ReplyOptions& options, Status status, const std::string& what) {
    const Result<void> started = session->start(options);
    REQUIRE_FALSE(started.ok());
    CHECK(started.error().status == status);
    CHECK_MESSAGE(started.error().message.find(what) != std::string::npos, started.error().message);
    CHECK_FALSE(session->is_replying());
  };
  ReplyOptions options;
  options.answer_grammar = "root ::= (";
  refuses(options, Status::kInvalidArgument, "answer_grammar: line 1");
  options.answer_json_schema = "true";
  refuses(options, Status::kInvalidArgument, "answer_json_schema: expected none");
  options.answer_grammar.clear();
  options.answer_json_schema = R"({"not": true})";
  refuses(options, Status::kUnsupported, "\"not\"");
  options.answer_json_schema = R"({"properties": {"a": {"$ref": "#"}}, "required": ["a"]})";
  refuses(options, Status::kInvalidArgument, "answer_json_schema: no text is of it");
}

TEST_CASE("a form that no token goes on with ends the reply with an error") {
  auto session = new_session();
  ReplyOptions options = greedy();
  options.thinking = Thinking::kOff;
  options.answer_grammar = "root ::= \"\xF4\x8F\xBF\xBF\"";
  const auto asked = session->ask(kQuestion, options);
  // Byte tokens can spell any character, where the vocabulary has them.
  if (asked.ok()) {
    CHECK(asked->answer == "\xF4\x8F\xBF\xBF");
  } else {
    CHECK(asked.error().status == Status::kUnsupported);
    CHECK(session->messages().empty());
  }
}

}  // namespace
}  // namespace pensee::answer_form_test
