#include "pensee/reason/delimiters.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "pensee/reason/budget.hpp"

namespace pensee {
namespace {

std::string tokenizer_json() {
  std::ifstream file(std::string(PENSEE_TINY_R1) + "/tokenizer.json", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The tiny R1's tokenizer, to which <think> and </think> may be ordinary text.
Tokenizer tokenizer_of(bool has_thought_tokens) {
  std::string json = tokenizer_json();
  for (const std::string token : {"\"<think>\"", "\"</think>\""}) {
    REQUIRE(json.find(token) != std::string::npos);
    for (size_t at = 0; !has_thought_tokens && (at = json.find(token)) != std::string::npos;) {
      json.replace(at, token.size(), "\"(" + token.substr(2, token.size() - 4) + ")\"");
    }
  }
  auto tokenizer = Tokenizer::from_json(json, "tokenizer.json");
  REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
  return std::move(tokenizer).value();
}

TEST_CASE("delimiters are tokens, or their spelling where the template knows of thoughts") {
  const Tokenizer tokens = tokenizer_of(true);
  for (const bool knows : {true, false}) {
    const Delimiters delimiters = find_thought_delimiters(tokens, knows).value();
    CHECK(delimiters.open == std::vector<int32_t>{*tokens.token_to_id("<think>")});
    CHECK(delimiters.close == std::vector<int32_t>{*tokens.token_to_id("</think>")});
    CHECK(delimiters.has_thoughts());
    CHECK_FALSE(delimiters.are_spelled());
  }
  const Tokenizer text = tokenizer_of(false);
  const Delimiters spelled = find_thought_delimiters(text, true).value();
  CHECK(spelled.are_spelled());
  CHECK(spelled.open.size() > 1);
  CHECK(text.decode(spelled.open, false) == "<think>");
  CHECK(text.decode(spelled.close, false) == "</think>");
  CHECK_FALSE(find_thought_delimiters(text, false)->has_thoughts());
}

// The thought and the answer of a reply whose text is given, in the tokens that it is cut into.
Reply reply_of(const Tokenizer& tokenizer, const std::string& text, const ReplyOptions& options,
               std::string* thought, std::string* answer) {
  PhaseRules rules;
  rules.delimiters = find_thought_delimiters(tokenizer, true).value();
  rules.delimiters.end = {1};
  rules.token_bytes = [&](int32_t token) { return tokenizer.token_bytes(token); };
  PhaseController controller = PhaseController::create(rules, options).value();
  controller.read_prompt(rules.delimiters.open);
  std::vector<int32_t> model = tokenizer.encode_ordinary(text).value();
  model.push_back(1);
  size_t written = 0;
  for (bool done = false; !done;) {
    const auto action = controller.next();
    done = action.kind == PhaseController::ActionKind::kDone;
    const bool forced = action.kind == PhaseController::ActionKind::kForce;
    REQUIRE((done || forced || written < model.size()));
    if (!done) CHECK(controller.accept(forced ? action.token : model[written++], 0, forced) == 0);
    while (controller.has_event()) {
      const Event event = controller.take_event();
      *(event.phase == Phase::kThought ? thought : answer) += event.text;
    }
  }
  return controller.reply();
}

TEST_CASE("thought and answer come apart at spelled delimiters, whatever stands around them") {
  const Tokenizer tokenizer = tokenizer_of(false);
  for (const std::string before : {"", "a", "a.", "a\n", "a ", "a <", "a</", "\u00e9", "1 < 2"}) {
    for (const std::string after : {"", "b", "\n\nb", " b", "> b", ".b", "\u00e9b", "\n"}) {
      CAPTURE(before);
      CAPTURE(after);
      std::string thought;
      std::string answer;
      const Reply reply = reply_of(tokenizer, before + "</think>" + after, {}, &thought, &answer);
      CHECK(thought == before);
      CHECK(answer == after);
      CHECK(reply.thought_end == ThoughtEnd::kClosed);
      CHECK(reply.answer_end == AnswerEnd::kComplete);
    }
  }
}

TEST_CASE("a thought that the model opens again, and one that is forced shut") {
  const Tokenizer tokenizer = tokenizer_of(false);
  std::string thought;
  std::string answer;
  Reply reply =
      reply_of(tokenizer, "a.</think>.b.<think>c.</think>\n\nd</think>.", {}, &thought, &answer);
  CHECK(thought == "a.c.");
  CHECK(answer == ".b.\n\nd.");
  thought.clear();
  answer.clear();
  reply =
      reply_of(tokenizer, "one two three four", {.thinking_token_budget = 3}, &thought, &answer);
  CHECK(reply.thought_end == ThoughtEnd::kBudget);
  CHECK(reply.usage.thought_tokens == 3);
  CHECK(thought + answer == "one two three four");
  CHECK(!thought.empty());
}

TEST_CASE("the token that ends a turn in the template ends a reply") {
  const Tokenizer tokenizer = tokenizer_of(true);
  const auto chat = [](const std::string& end) {
    return ChatTemplate::from_jinja(
               "{% for m in messages %}<｜User｜>{{ m.content }}" + end + "{% endfor %}", "file")
        .value();
  };
  const auto end_of = [&](const std::string& word, std::vector<int32_t> given) {
    Delimiters delimiters{{}, {}, std::move(given)};
    const Result<void> added = add_turn_end(tokenizer, chat(word), delimiters);
    REQUIRE_MESSAGE(added, added.error().message);
    return delimiters.end;
  };
  const int32_t eos = *tokenizer.token_to_id("<｜end▁of▁sentence｜>");
  const int32_t eot = *tokenizer.token_to_id("<|EOT|>");
  CHECK(end_of("<|EOT|>", {eos}) == std::vector<int32_t>{eos, eot});
  CHECK(end_of("<｜end▁of▁sentence｜>", {eos}) == std::vector<int32_t>{eos});
  CHECK(end_of("\n", {eos}) == std::vector<int32_t>{eos});
}

TEST_CASE("a template's control words must be the tokenizer's") {
  const auto check = [](const Tokenizer& tokenizer) {
    const auto chat = ChatTemplate::from_jinja(
        "{% for m in messages %}<｜User｜>{{ m.content }}<|EOT|>{% endfor %}", "file");
    return check_control_words(tokenizer, chat.value(), "tokenizer.json");
  };
  const auto changed = [](const std::string& to) {
    std::string json = tokenizer_json();
    const std::string word = "\"<|EOT|>\"";
    for (size_t at = 0; (at = json.find(word)) != std::string::npos; at += to.size()) {
      json.replace(at, word.size(), to);
    }
    return json;
  };
  const auto with = [](const std::string& json) {
    auto tokenizer = Tokenizer::from_json(json, "tokenizer.json");
    REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
    return std::move(tokenizer).value();
  };
  CHECK(check(tokenizer_of(true)).ok());
  const auto missing = check(with(changed("\"(another)\"")));
  REQUIRE_FALSE(missing);
  CHECK(missing.error().status == Status::kUnsupported);
  CHECK(missing.error().message.find("tokenizer.json: no token <|EOT|>, but the chat template") ==
        0);
  // A word of the vocabulary alone is no control word.
  auto root = Json::parse(tokenizer_json());
  auto& added = root["added_tokens"];
  for (size_t i = 0; i < added.size(); ++i) {
    if (added[i]["content"] != "<|EOT|>") continue;
    root["model"]["vocab"]["<|EOT|>"] = added[i]["id"];
    added.erase(i--);
  }
  const auto ordinary = check(with(root.dump()));
  REQUIRE_FALSE(ordinary);
  CHECK(ordinary.error().status == Status::kUnsupported);
  CHECK(ordinary.error().message.find(", <|EOT|>, is no control token, but the chat template") !=
        std::string::npos);
}

}  // namespace
}  // namespace pensee
