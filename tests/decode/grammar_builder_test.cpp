#include "pensee/decode/grammar_builder.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "pensee/text/utf8.hpp"

namespace pensee::grammar_builder_test {
namespace {

TEST_CASE("every character of a range has its own bytes, and no others have them") {
  GrammarBuilder builder;
  const int32_t root = builder.add_rule();
  builder.add_production(root, {builder.characters({{0x100, 0xfff0}, {'a', 'a'}}, true)});
  REQUIRE(builder.finish(root) == Grammar::kNone);
  const auto grammar = builder.take();
  for (char32_t c = 1; c <= 0x10ffff; c += c < 0x20000 ? 1 : 997) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    std::string text;
    append_utf8_character(c, text);
    const bool expected = c != U'a' && (c < 0x100 || c > 0xfff0);
    if (GrammarMatcher(grammar).takes(text) != expected) FAIL(static_cast<uint32_t>(c));
  }
  for (const char* text : {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF", "\x80"}) {
    CHECK_FALSE(GrammarMatcher(grammar).takes(text));
  }
}

TEST_CASE("a rule that is no text, however long, is found") {
  GrammarBuilder builder;
  const int32_t root = builder.add_rule();
  const int32_t endless = builder.add_rule();
  GrammarBuilder::Sequence letter;
  builder.append_text("x", letter);
  builder.add_production(root, letter);
  builder.add_production(endless, {letter[0], {.rule = endless}});
  CHECK(builder.finish(root) == endless);
  builder.add_production(endless, {});
  CHECK(builder.finish(root) == Grammar::kNone);
}

}  // namespace
}  // namespace pensee::grammar_builder_test
