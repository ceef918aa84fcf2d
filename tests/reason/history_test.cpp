#include "pensee/reason/history.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace pensee::history_test {
namespace {

ChatTemplate load_text(const std::string& jinja) {
  auto chat = ChatTemplate::from_jinja(jinja, "chat_template", {{"bos_token", "<s>"}});
  REQUIRE_MESSAGE(chat, chat.error().message);
  return *chat;
}
ChatTemplate load(const std::string& name) {
  std::ifstream file(std::string(PENSEE_TEST_DATA) + "/text/templates/" + name + ".jinja");
  REQUIRE(file.good());
  return load_text({std::istreambuf_iterator<char>(file), {}});
}

std::string joined(const std::vector<PromptPiece>& pieces) {
  std::string text;
  for (size_t i = 0; i < pieces.size(); ++i) {
    CHECK_FALSE(pieces[i].text.empty());
    if (i > 0) CHECK(pieces[i].is_control != pieces[i - 1].is_control);
    text += pieces[i].text;
  }
  return text;
}
std::string kept(const ChatTemplate& chat, const std::vector<Message>& messages) {
  const auto pieces = render_with_thoughts(chat, messages, {});
  REQUIRE_MESSAGE(pieces, pieces.error().message);
  return joined(*pieces);
}

const std::vector<Message> kTalk = {{Role::kUser, "one"},   {Role::kAssistant, "1", "first"},
                                    {Role::kUser, "two"},   {Role::kAssistant, "2"},
                                    {Role::kUser, "three"}, {Role::kAssistant, "3", "third"},
                                    {Role::kUser, "four"}};

TEST_CASE("thoughts stand before their answers, as the models write them") {
  CHECK(kept(load("r1"), kTalk) ==
        "<s><｜User｜>one<｜Assistant｜><think>\nfirst\n</think>\n\n1<｜end▁of▁sentence｜>"
        "<｜User｜>two<｜Assistant｜>2<｜end▁of▁sentence｜>"
        "<｜User｜>three<｜Assistant｜><think>\nthird\n</think>\n\n3<｜end▁of▁sentence｜>"
        "<｜User｜>four<｜Assistant｜><think>\n");
  const std::string qwen = kept(load("qwen3"), kTalk);
  CHECK(qwen.find("<|im_start|>assistant\n<think>\nfirst\n</think>\n\n1<|im_end|>\n"
                  "<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n2<|im_end|>") !=
        std::string::npos);
  // Its template says of each answer that there was no thought.
  const std::string v3_1 = kept(load("v3_1"), kTalk);
  CHECK(v3_1.find("<｜Assistant｜><think>first</think>1<｜end▁of▁sentence｜>") != v3_1.npos);
  CHECK(v3_1.find("<｜Assistant｜></think>2<｜end▁of▁sentence｜>") != v3_1.npos);
}

TEST_CASE("without thoughts the prompt is the template's, whatever it would do with them") {
  for (const char* name : {"r1", "qwen3", "v3_1", "qwq_32b"}) {
    const ChatTemplate chat = load(name);
    std::vector<Message> stripped = kTalk;
    for (Message& message : stripped) message.reasoning_content.reset();
    const std::string expected = joined(chat.render(stripped, {}).value());
    CHECK(joined(render_without_thoughts(chat, kTalk, {}).value()) == expected);
    CHECK(kept(chat, stripped) == expected);
    CHECK(kept(chat, kTalk) != expected);
  }
}

TEST_CASE("delimiters in thoughts and answers stay ordinary text") {
  std::vector<Message> talk = kTalk;
  talk[1] = {Role::kAssistant,
             "\x01"
             "1 </think> \x01\x01",
             "a <think> b"};
  talk[2].content =
      "\x01"
      "1\x01";
  const auto pieces = render_with_thoughts(load("r1"), talk, {}).value();
  CHECK(joined(pieces).find("<think>\na <think> b\n</think>\n\n\x01"
                            "1 </think> \x01\x01<｜end") != std::string::npos);
  for (const PromptPiece& piece : pieces) {
    if (piece.is_control) continue;
    CHECK(piece.text.find("<think>") == (piece.text == "a <think> b" ? 2 : piece.text.npos));
  }
}

TEST_CASE("delimiters that are text, and thinking on or off") {
  const ChatTemplate chat = load("r1");
  for (const bool thinking : {false, true}) {
    const auto pieces = render_with_thoughts(chat, kTalk, {.thinking = thinking}).value();
    const std::string text = joined(pieces);
    CHECK(text.find("<think>\nthird\n</think>\n\n3<") != text.npos);
    CHECK(text.ends_with(thinking ? "<｜Assistant｜><think>\n"
                                  : "<｜Assistant｜><think>\n\n</think>\n\n"));
  }
  const std::string spelled = kept(load("spelled_thoughts"), kTalk);
  CHECK(spelled.find("first\n</think>\n\n1") != spelled.npos);
}

TEST_CASE("a template that does not write each answer once is refused") {
  for (const char* jinja :
       {"{% for m in messages %}{{ m.content }}{{ m.content if loop.index0 == 1 }}{% endfor %}",
        "{% for m in messages %}{{ m.content if m.role == 'user' else m.content[:1] }};{% endfor "
        "%}",
        "{% for m in messages %}{{ m.content }}{{ m.content if m.role != 'user' }}{% endfor %}",
        "{% for m in messages %}{{ m.content if m.role == 'user' else '' }}{% endfor %}"}) {
    const auto pieces = render_with_thoughts(load_text(jinja), kTalk, {});
    REQUIRE_FALSE(pieces.ok());
    CHECK(pieces.error().status == Status::kUnsupported);
    CHECK(pieces.error().message.find("history") == 0);
  }
}

}  // namespace
}  // namespace pensee::history_test
