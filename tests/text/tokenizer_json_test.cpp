#include "pensee/text/tokenizer_json.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "text/golden.hpp"

namespace pensee {
namespace {

const Json& tiny() {
  static const Json json = test::read_json(std::string(PENSEE_TINY_R1) + "/tokenizer.json");
  return json;
}

// Loads the bundled tokenizer after a change.
Result<Tokenizer> load_with(const std::function<void(Json&)>& change) {
  Json json = tiny();
  change(json);
  return Tokenizer::from_json(json.dump(), "dir/tokenizer.json");
}

struct Case {
  std::string word;  // must be in the message
  std::function<void(Json&)> change;
};

void check_all(const std::vector<Case>& cases, Status status) {
  for (const Case& item : cases) {
    CAPTURE(item.word);
    const auto result = load_with(item.change);
    REQUIRE_FALSE(result);
    CAPTURE(result.error().message);
    CHECK(result.error().status == status);
    CHECK(result.error().message.find("dir/tokenizer.json") == 0);
    CHECK(result.error().message.find(item.word) != std::string::npos);
  }
}

TEST_CASE("malformed and contradictory files are errors that say where") {
  check_all(
      {
          {"model", [](Json& j) { j.erase("model"); }},
          {"model", [](Json& j) { j["model"] = 3; }},
          {"vocab", [](Json& j) { j["model"].erase("vocab"); }},
          {"vocab", [](Json& j) { j["model"]["vocab"] = Json::array(); }},
          {"merges", [](Json& j) { j["model"].erase("merges"); }},
          {"merges", [](Json& j) { j["model"]["merges"] = "a b"; }},
          {"pre_tokenizer", [](Json& j) { j.erase("pre_tokenizer"); }},
          {"id of \"a\"", [](Json& j) { j["model"]["vocab"]["a"] = -1; }},
          {"id of \"a\"", [](Json& j) { j["model"]["vocab"]["a"] = 1.0; }},
          {"id of \"a\"", [](Json& j) { j["model"]["vocab"]["a"] = "1"; }},
          {"id of \"a\"", [](Json& j) { j["model"]["vocab"]["a"] = UINT64_MAX; }},
          {"id of \"a\"", [](Json& j) { j["model"]["vocab"]["a"] = 1 << 24; }},
          {"beyond", [](Json& j) { j["model"]["vocab"]["a"] = (1 << 24) - 1; }},
          {"belongs to both", [](Json& j) { j["model"]["vocab"]["a"] = 5; }},
          {"beyond", [](Json& j) { j["added_tokens"].erase(5); }},
          {"no token for byte 113 (\"q\")",
           [](Json& j) {
             // The last control token takes the id of q, so that no id is missing.
             j["added_tokens"].back()["id"] = j["model"]["vocab"]["q"];
             j["model"]["vocab"].erase("q");
             j["model"]["merges"] = Json::array();
           }},
          {"added twice", [](Json& j) { j["added_tokens"].push_back(j["added_tokens"].back()); }},
          {"added_tokens", [](Json& j) { j["added_tokens"] = 3; }},
          {"added_tokens[3]", [](Json& j) { j["added_tokens"][3] = 3; }},
          {"added_tokens[3].id", [](Json& j) { j["added_tokens"][3].erase("id"); }},
          {"added_tokens[3].id", [](Json& j) { j["added_tokens"][3]["id"] = 1e9; }},
          {"added_tokens[3].content", [](Json& j) { j["added_tokens"][3]["content"] = ""; }},
          {"added_tokens[3].content", [](Json& j) { j["added_tokens"][3]["content"] = 7; }},
          {"added_tokens[3].special", [](Json& j) { j["added_tokens"][3].erase("special"); }},
          {"added_tokens[3].lstrip", [](Json& j) { j["added_tokens"][3]["lstrip"] = "no"; }},
          {"in model.vocab", [](Json& j) { j["added_tokens"][0]["id"] = 1; }},
          {"merges[1]", [](Json& j) { j["model"]["merges"][1] = "ab"; }},
          {"merges[1]", [](Json& j) { j["model"]["merges"][1] = "a b c"; }},
          {"merges[1]", [](Json& j) { j["model"]["merges"][1] = 3; }},
          {"merges[1]", [](Json& j) { j["model"]["merges"][1] = Json::array({"a"}); }},
          {"merges[1]",
           [](Json& j) {
             j["model"]["merges"][1] = Json::array({"a", 1});
           }},
          {"\"☃\" is not in", [](Json& j) { j["model"]["merges"][1] = "☃ a"; }},
          {"\"☃\" is not in", [](Json& j) { j["model"]["merges"][1] = "a ☃"; }},
          {"\"~~\" is not in", [](Json& j) { j["model"]["merges"][1] = "~ ~"; }},
          {"merges[1]", [](Json& j) { j["model"]["merges"][1] = " a"; }},
          {"merges[1]", [](Json& j) { j["model"]["merges"][1] = "a "; }},
          {"ignore_merges", [](Json& j) { j["model"]["ignore_merges"] = 1; }},
          {"byte_fallback", [](Json& j) { j["model"]["byte_fallback"] = "no"; }},
          {"normalizer.type", [](Json& j) { j["normalizer"] = Json::object(); }},
          {"normalizer.normalizers", [](Json& j) { j["normalizer"].erase("normalizers"); }},
          {"normalizer.normalizers", [](Json& j) { j["normalizer"]["normalizers"] = 3; }},
          {"normalizer.normalizers[0]", [](Json& j) { j["normalizer"]["normalizers"] = {3}; }},
          {"normalizer", [](Json& j) { j["normalizer"] = "NFC"; }},
      },
      Status::kCorruptFile);
}

TEST_CASE("what is not supported is refused by name") {
  check_all(
      {
          {"Unigram", [](Json& j) { j["model"]["type"] = "Unigram"; }},
          {"dropout", [](Json& j) { j["model"]["dropout"] = 0.1; }},
          {"##", [](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; }},
          {"</w>", [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }},
          {"byte_fallback", [](Json& j) { j["model"]["byte_fallback"] = true; }},
          {"NFKC",
           [](Json& j) {
             j["normalizer"] = {{"type", "NFKC"}};
           }},
          {"Lowercase",
           [](Json& j) {
             j["normalizer"]["normalizers"].push_back({{"type", "Lowercase"}});
           }},
          {"Metaspace",
           [](Json& j) {
             j["pre_tokenizer"] = {{"type", "Metaspace"}};
           }},
          {"WordPiece",
           [](Json& j) {
             j["decoder"] = {{"type", "WordPiece"}};
           }},
          {"decoder", [](Json& j) { j["decoder"] = nullptr; }},
          {"\"e\u0301\", which shall be normalized",
           [](Json& j) {
             j["normalizer"] = {{"type", "NFC"}};
             j["added_tokens"][3]["content"] = "e\u0301";
           }},
          {"single_word", [](Json& j) { j["added_tokens"][3]["single_word"] = true; }},
          {"lstrip", [](Json& j) { j["added_tokens"][3]["lstrip"] = true; }},
          {"rstrip", [](Json& j) { j["added_tokens"][3]["rstrip"] = true; }},
          {"added_tokens[3].content: expected an added token of at most 256 bytes, found 257",
           [](Json& j) { j["added_tokens"][3]["content"] = std::string(257, 'x'); }},
          // An added token that merges, or a byte alone, would make of ordinary text.
          {"added token \"a\"",
           [](Json& j) {
             Json token = j["added_tokens"][3];
             token["content"] = "a";
             token["id"] = j["model"]["vocab"]["a"];
             j["added_tokens"].push_back(token);
           }},
          {"added token",
           [](Json& j) {
             const auto merge = j["model"]["merges"][0].get<std::string>();
             std::string made = merge;
             made.erase(made.find(' '), 1);
             Json token = j["added_tokens"][3];
             token["content"] = made;
             token["id"] = j["model"]["vocab"][made];
             j["added_tokens"].push_back(token);
           }},
      },
      Status::kUnsupported);
}

TEST_CASE("equivalent spellings load to the same tokenizer") {
  const std::string text = "17 × 23 = 391, so </think> the answer is \\boxed{391}.\n";
  const auto expected = test::tiny_r1().encode(text);
  REQUIRE(expected);
  const std::vector<std::function<void(Json&)>> changes = {
      [](Json& j) {
        for (Json& merge : j["model"]["merges"]) {
          const auto both = merge.get<std::string>();
          const size_t space = both.find(' ');
          merge = {both.substr(0, space), both.substr(space + 1)};
        }
      },
      [](Json& j) { j["normalizer"] = nullptr; },
      [](Json& j) { j.erase("normalizer"); },
      [](Json& j) { j["model"].erase("type"); },
      [](Json& j) { j["model"]["dropout"] = 0.0; },
      [](Json& j) { j["model"]["continuing_subword_prefix"] = ""; },
      [](Json& j) { j["post_processor"] = nullptr; },
      [](Json& j) { j["added_tokens"][3].erase("normalized"); },
      // Left from training; transformers resets both at each call, so they change no ids.
      [](Json& j) {
        j["truncation"] = {{"direction", "Right"}, {"max_length", 5}, {"stride", 0}};
      },
      [](Json& j) {
        j["padding"] = {{"strategy", {{"Fixed", 64}}}, {"pad_id", 5}, {"pad_token", "<pad>"}};
      },
  };
  for (const auto& change : changes) {
    const auto tokenizer = load_with(change);
    REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
    const auto ids = tokenizer->encode(text);
    REQUIRE(ids);
    CHECK(*ids == *expected);
  }
}

TEST_CASE("the longest added token there may be is found") {
  const std::string longest = std::string(kMaxAddedToken - 1, 'a') + "b";
  const auto tokenizer = load_with([&](Json& j) { j["added_tokens"][3]["content"] = longest; });
  REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
  const auto ids = tokenizer->encode(std::string(100000, 'a') + longest);
  REQUIRE(ids);
  CHECK(ids->back() == *tokenizer->token_to_id(longest));
}

TEST_CASE("NFC alone and as a step are the same; added tokens are found before or after it") {
  for (const bool alone : {true, false}) {
    const auto tokenizer = load_with([&](Json& j) {
      const Json nfc = {{"type", "NFC"}};
      j["normalizer"] =
          alone ? nfc : Json{{"type", "Sequence"}, {"normalizers", Json::array({nfc})}};
      for (Json& token : j["added_tokens"]) {
        token["normalized"] = token["content"] == "</think>";
      }
    });
    REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
    const int32_t think = *tokenizer->token_to_id("<think>");
    const int32_t end = *tokenizer->token_to_id("</think>");
    // U+0338 makes one character with ">", and then there is no </think> any more.
    const auto ids = tokenizer->encode("<think>\u0338</think></think>\u0338");
    REQUIRE(ids);
    CHECK(ids->front() == think);
    CHECK(std::count(ids->begin(), ids->end(), end) == 1);
    CHECK(tokenizer->decode(*ids, false) == "<think>\u0338</think></think\u226F");
    const auto composed = tokenizer->encode_ordinary("\u00E9");
    const auto separate = tokenizer->encode_ordinary("e\u0301");
    REQUIRE(composed);
    REQUIRE(separate);
    CHECK(*composed == *separate);
  }
}

TEST_CASE("with ignore_merges a piece that is a token is that token") {
  const auto without_merges = [](bool ignore) {
    return [ignore](Json& j) {
      j["model"]["merges"] = Json::array();
      j["model"]["ignore_merges"] = ignore;
    };
  };
  const auto merging = load_with(without_merges(false));
  const auto whole = load_with(without_merges(true));
  REQUIRE(merging);
  REQUIRE(whole);
  const std::string text = " average";
  CHECK(merging->encode(text)->size() == text.size());
  CHECK(*whole->encode(text) == std::vector<int32_t>{*whole->token_to_id("Ġaverage")});
  CHECK(whole->encode(" averagely")->size() == text.size() + 2);
}

TEST_CASE("a file cut or damaged anywhere is an error or a tokenizer, never a crash") {
  const std::string whole = tiny().dump();
  test::SplitMix64 random(3);
  int errors = 0;
  for (int i = 0; i < 300; ++i) {
    std::string text = whole;
    if (i % 2 == 0) {
      text.resize(random.below(whole.size()));
    } else {
      for (int k = 0; k < 3; ++k) {
        text[random.below(text.size())] = static_cast<char>(random.below(256));
      }
    }
    const auto result = Tokenizer::from_json(text, "t.json");
    if (!result) {
      ++errors;
      CHECK(result.error().message.find("t.json") == 0);
    } else {
      CHECK(result->encode("Any text 123").ok());
    }
  }
  CHECK(errors >= 150);
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string("[]"), std::string("null"),
        std::string(1'000'000, '['), "{\"model\":" + std::string(1'000'000, '['),
        std::string("\xFF\xFE")}) {
    CHECK_FALSE(Tokenizer::from_json(text, "t.json").ok());
  }
}

}  // namespace
}  // namespace pensee
