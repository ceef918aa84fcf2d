// Grammars and JSON schemas, and what is written after them.
#include <algorithm>
#include <array>

#include "fuzz.hpp"
#include "pensee/decode/grammar_text.hpp"
#include "pensee/decode/json_schema.hpp"

std::span<const std::string_view> pensee::fuzz::words() {
  static constexpr auto kWords = std::to_array<std::string_view>({"root ::= ",
                                                                  "\na ::= ",
                                                                  " a ",
                                                                  " root ",
                                                                  "\"x\"",
                                                                  "[a-z]",
                                                                  "[^\\n]",
                                                                  ".",
                                                                  "(",
                                                                  ")",
                                                                  " | ",
                                                                  "*",
                                                                  "+",
                                                                  "?",
                                                                  "{2}",
                                                                  "{0,3}",
                                                                  "{1,}",
                                                                  "{99999}",
                                                                  "\\u00e9",
                                                                  "\\U0001F600",
                                                                  "\\x41",
                                                                  "# \n",
                                                                  "\"\"",
                                                                  "{\"type\":",
                                                                  "\"object\"",
                                                                  "\"array\"",
                                                                  "\"string\"",
                                                                  "\"integer\"",
                                                                  "\"null\"",
                                                                  "\"properties\":{",
                                                                  "\"required\":[",
                                                                  "\"additionalProperties\":",
                                                                  "\"items\":",
                                                                  "\"prefixItems\":[",
                                                                  "\"minItems\":",
                                                                  "\"maxItems\":",
                                                                  "\"minLength\":",
                                                                  "\"maxLength\":",
                                                                  "\"pattern\":\"",
                                                                  "\\\\d",
                                                                  "[^",
                                                                  "(?:",
                                                                  "{2,",
                                                                  "^",
                                                                  "$\"",
                                                                  "\"enum\":[",
                                                                  "\"const\":",
                                                                  "\"anyOf\":[",
                                                                  "\"allOf\":[",
                                                                  "\"$ref\":\"#\"",
                                                                  "\"$ref\":\"#/",
                                                                  "\"$defs\":{",
                                                                  "true",
                                                                  "false",
                                                                  "}",
                                                                  "]",
                                                                  ",",
                                                                  "-1",
                                                                  "1e9",
                                                                  "xxxxxxxx"});
  return kWords;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pensee;
  const std::string_view input = fuzz::text_of(data, size);
  const size_t end = std::min(input.find('\0'), input.size());
  std::string text(input.substr(0, end));
  // It begins what a grammar cannot begin with.
  const bool is_schema = text.starts_with('{') || text.starts_with('t');
  if (is_schema) {
    const Result<std::string> written = json_schema_grammar(text);
    if (!written) {
      FUZZ_CHECK(written.error().message.starts_with("answer_json_schema: "));
      return 0;
    }
    text = *written;
  }
  const auto grammar = parse_grammar(text);
  if (!grammar) {
    FUZZ_CHECK(grammar.error().message.starts_with("answer_grammar: "));
    return 0;
  }
  GrammarMatcher matcher(*grammar);
  // Every way from the beginning leads on, or to an end.
  FUZZ_CHECK(matcher.is_complete() || matcher.next_bytes().any());
  for (const char c : input.substr(std::min(end + 1, input.size()))) {
    const bool may_come = matcher.next_bytes().test(static_cast<unsigned char>(c));
    // An item is a symbol of the grammar and a place in the text: while there are fewer such pairs
    // than a matcher may have, it does not give up.
    const bool may_give_up =
        (*grammar)->symbols.size() * (matcher.size() + 2) > GrammarMatcher::kMostItems;
    const bool is_taken = matcher.takes({&c, 1});
    FUZZ_CHECK(is_taken == may_come || (may_come && may_give_up));
    if (!matcher.push({&c, 1})) break;
    FUZZ_CHECK(matcher.is_complete() || matcher.next_bytes().any());
  }
  return 0;
}
