#include "pensee/text/jinja_tags.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace pensee {
namespace {

using Tags = std::vector<std::string>;

Tags tags(const std::string& text) {
  auto result = JinjaReader::tags(text, "t.json");
  REQUIRE_MESSAGE(result, result.error().message);
  return std::move(result).value();
}

TEST_CASE("tags have one spelling") {
  CHECK(tags("") == Tags{});
  CHECK(tags("{{ a }}{%- if  b == \"x y\" -%}{%+ endif +%}") ==
        Tags{"{{a}}", "{%ifb=='x y'%}", "{%endif%}"});
  CHECK(tags(R"({{ 'a\n\t\'%}' + "}}" }})") == Tags{"{{'a\n\t'%}'+'}}'}}"});
  CHECK(tags("{{-}}") == Tags{"{{}}"});
  CHECK(tags("{{ a - 1 }}{# c #}{{ b }}") == Tags{"{{a-1}}", "{{b}}"});
}

TEST_CASE("white space that Jinja drops may stand between tags") {
  for (const char* text : {"{{a}}\n", "  {% if a %}\n  {% endif %}\n",
                           "{{a}} \n {%- if a %}\n{{b}}", "{{a -}} \n {{b}}", "{# c #}\n{{a}}"}) {
    CAPTURE(text);
    CHECK(JinjaReader::tags(text, "t").ok());
  }
}

TEST_CASE("text outside tags is refused") {
  for (const char* text :
       {"x", " {{a}}", "{{a}} {{b}}", "{{a}}\n{{b}}", "{{a}} {% if b %}", "{% if a %} {{b}}",
        "{% if a %}\n\n{{b}}", "{{a}}\n\n", "  {%+ if a %}{% endif %}", "{{a -}} x", "}}"}) {
    CAPTURE(text);
    const auto result = JinjaReader::tags(text, "t.json");
    REQUIRE_FALSE(result);
    CHECK(result.error().status == Status::kUnsupported);
    CHECK(result.error().message.find("t.json") == 0);
  }
}

TEST_CASE("unclosed tags are malformed") {
  for (const char* text : {"{{", "{%", "{#", "{{a", "{{a}", "{%a}}", "{{'a}}", "{{'a\\", "{{-",
                           "{#a", "{{'a\\'}}", "{{a}}{%"}) {
    CAPTURE(text);
    const auto result = JinjaReader::tags(text, "t.json");
    REQUIRE_FALSE(result);
    CHECK(result.error().status == Status::kCorruptFile);
  }
}

}  // namespace
}  // namespace pensee
