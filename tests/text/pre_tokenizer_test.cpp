#include "pensee/text/pre_tokenizer.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace pensee {
namespace {

Result<PreTokenizer> load_pre_tokenizer(const std::string& text) {
  PENSEE_ASSIGN_OR_RETURN(const JsonDocument json, parse_json(text, "t.json"));
  return PreTokenizer::from_json(JsonView(json, "t.json"));
}

std::string sequence(const std::string& steps) {
  return R"({"type":"Sequence","pretokenizers":[)" + steps + "]}";
}
std::string split_step(const std::string& regex) {
  return R"({"type":"Split","behavior":"Isolated","invert":false,"pattern":{"Regex":")" + regex +
         "\"}}";
}
const std::string kByteLevel = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})";

std::vector<std::string> pieces(const PreTokenizer& pre_tokenizer, const std::string& text) {
  PreTokenizerScratch scratch;
  REQUIRE(pre_tokenizer.split(text, scratch));
  std::vector<std::string> out;
  for (const auto& piece : scratch.pieces) {
    out.push_back(text.substr(piece.begin, piece.end - piece.begin));
  }
  return out;
}

TEST_CASE("splits apply one after the other, each piece by itself") {
  const auto digits = load_pre_tokenizer(sequence(
      split_step("[0-9]{1,3}") + "," + split_step("\\\\s+(?!\\\\S)|b+") + "," + kByteLevel));
  REQUIRE(digits);
  using Pieces = std::vector<std::string>;
  CHECK(pieces(*digits, "a12345") == Pieces{"a", "123", "45"});
  CHECK(pieces(*digits, "abba") == Pieces{"a", "bb", "a"});
  // The digit ends the piece, so the white space before it is not followed by anything.
  CHECK(pieces(*digits, "a  1") == Pieces{"a", "  ", "1"});
  CHECK(pieces(*digits, "a  c") == Pieces{"a", " ", " c"});
  CHECK(pieces(*digits, "") == Pieces{});
  const auto none = load_pre_tokenizer(kByteLevel);
  REQUIRE(none);
  CHECK(pieces(*none, "a 1") == Pieces{"a 1"});
}

TEST_CASE("Digits cuts out digits, one by one or together") {
  using Pieces = std::vector<std::string>;
  const auto load = [](const std::string& fields) {
    auto result = load_pre_tokenizer(sequence(R"({"type":"Digits")" + fields + "}," + kByteLevel));
    REQUIRE(result);
    return std::move(result).value();
  };
  // Also those that the regexes do not know: U+11DE0 is of Unicode 17.
  const std::string text = "a12\u0663b\U00011DE0\u00BD";
  CHECK(pieces(load(R"(,"individual_digits":true)"), text) ==
        Pieces{"a", "1", "2", "\u0663", "b", "\U00011DE0", "\u00BD"});
  const Pieces together = {"a", "12\u0663", "b", "\U00011DE0\u00BD"};
  CHECK(pieces(load(R"(,"individual_digits":false)"), text) == together);
  CHECK(pieces(load(""), text) == together);
}

TEST_CASE("ranges of a regex see the text itself, properties what the tokenizers know") {
  using Pieces = std::vector<std::string>;
  const auto cut = [](std::vector<std::string_view> regexes, const std::string& text) {
    const auto pre_tokenizer = PreTokenizer::from_regexes(regexes, "test");
    REQUIRE(pre_tokenizer);
    return pieces(*pre_tokenizer, text);
  };
  // PCRE2's tables may not know U+A7CB, a letter of Unicode 16; U+1E00 stands in for it.
  CHECK(cut({R"(\p{L}+)"}, ".\uA7CB.") == Pieces{".", "\uA7CB", "."});
  CHECK(cut({"[\u1E00-\u1E01]"}, ".\uA7CB\u1E00.") == Pieces{".\uA7CB", "\u1E00", "."});
  CHECK(cut({"\uA7CB", R"(\p{L})"}, "a\uA7CB") == Pieces{"a", "\uA7CB"});
  // U+180E is no white space any more.
  CHECK(cut({R"(\s?a)"}, "\u180Ea\u3000a") == Pieces{"\u180E", "a", "\u3000a"});
  CHECK(cut({R"(\S)"}, " \u180E") == Pieces{" ", "\u180E"});
  CHECK(cut({R"([\sx]+)"}, "a\u0085x\u180E") == Pieces{"a", "\u0085x", "\u180E"});
}

TEST_CASE("white space at the end of lines is found, in linear time") {
  const std::vector<std::string_view> regexes = {R"(\s+$)"};
  const auto pre_tokenizer = PreTokenizer::from_regexes(regexes, "test");
  REQUIRE(pre_tokenizer);
  using Pieces = std::vector<std::string>;
  CHECK(pieces(*pre_tokenizer, "a \t") == Pieces{"a", " \t"});
  CHECK(pieces(*pre_tokenizer, " a  b ") == Pieces{" a  b", " "});
  CHECK(pieces(*pre_tokenizer, "a \n b\n") == Pieces{"a", " ", "\n b", "\n"});
  CHECK(pieces(*pre_tokenizer, "a \n\n b") == Pieces{"a", " \n", "\n b"});
  CHECK(pieces(*pre_tokenizer, "a \r b") == Pieces{"a \r b"});
  const std::string spaces(1'000'000, ' ');  // hours, were every place tried
  CHECK(pieces(*pre_tokenizer, spaces + "a") == Pieces{spaces + "a"});
  CHECK(pieces(*pre_tokenizer, "a" + spaces) == Pieces{"a", spaces});
}

TEST_CASE("other pre-tokenizers are refused by name, malformed ones by place") {
  struct Case {
    std::string json;
    Status status;
    std::string word;
  };
  const std::vector<Case> cases = {
      {"null", Status::kUnsupported, "none"},
      {R"({"type":"Metaspace"})", Status::kUnsupported, "Metaspace"},
      {R"({"type":"ByteLevel"})", Status::kUnsupported, "add_prefix_space"},
      {R"({"type":"ByteLevel","add_prefix_space":false})", Status::kUnsupported, "use_regex"},
      {R"({"type":"ByteLevel","add_prefix_space":0})", Status::kCorruptFile, "add_prefix_space"},
      {sequence(""), Status::kUnsupported, "ByteLevel"},
      {sequence(split_step("a")), Status::kUnsupported, "Split"},
      {sequence(kByteLevel + "," + split_step("a")), Status::kUnsupported, "[0]"},
      {sequence(sequence(kByteLevel) + "," + kByteLevel), Status::kUnsupported, "Sequence"},
      {sequence(R"({"type":"Punctuation"},)" + kByteLevel), Status::kUnsupported, "Punctuation"},
      {sequence(kByteLevel + R"(,{"type":"Digits"})"), Status::kUnsupported, "[0]"},
      {sequence(R"({"type":"Digits","individual_digits":1},)" + kByteLevel), Status::kCorruptFile,
       "individual_digits"},
      {sequence(split_step("(") + "," + kByteLevel), Status::kCorruptFile, "regex"},
      {sequence(split_step("a*") + "," + kByteLevel), Status::kUnsupported, "empty"},
      {sequence(R"({"type":"Split","behavior":"Removed","pattern":{"Regex":"a"}},)" + kByteLevel),
       Status::kUnsupported, "Removed"},
      {sequence(R"({"type":"Split","behavior":"Isolated","invert":true,"pattern":{"Regex":"a"}},)" +
                kByteLevel),
       Status::kUnsupported, "invert"},
      {sequence(R"({"type":"Split","behavior":"Isolated","pattern":{"String":"a"}},)" + kByteLevel),
       Status::kUnsupported, "String"},
      {sequence(R"({"type":"Split","behavior":"Isolated"},)" + kByteLevel), Status::kCorruptFile,
       "pattern"},
      {sequence(R"({"type":"Split","behavior":"Isolated","pattern":{"Regex":3}},)" + kByteLevel),
       Status::kCorruptFile, "Regex"},
      {R"({"type":"Sequence"})", Status::kCorruptFile, "pretokenizers"},
      {R"({"type":"Sequence","pretokenizers":{}})", Status::kCorruptFile, "array"},
      {R"({"type":3})", Status::kCorruptFile, "type"},
      {R"({})", Status::kCorruptFile, "type"},
      {R"([])", Status::kCorruptFile, "object"},
  };
  for (const Case& item : cases) {
    CAPTURE(item.json);
    const auto result = load_pre_tokenizer(item.json);
    REQUIRE_FALSE(result);
    CAPTURE(result.error().message);
    CHECK(result.error().status == item.status);
    CHECK(result.error().message.find("t.json") == 0);
    CHECK(result.error().message.find(item.word) != std::string::npos);
  }
}

}  // namespace
}  // namespace pensee
