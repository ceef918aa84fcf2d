#include "pensee/io/gguf_split.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"

using pensee::GgufFile;
using pensee::GgufPartName;
using pensee::GgufType;
using pensee::parse_gguf_part_name;
using pensee_test::as_bytes;
using pensee_test::gguf;
using pensee_test::key;
using pensee_test::raw;

TEST_CASE("names of parts") {
  const auto part = parse_gguf_part_name("DeepSeek-R1-UD-IQ1_S-00002-of-00003.gguf");
  REQUIRE(part);
  CHECK(part->prefix == "DeepSeek-R1-UD-IQ1_S");
  CHECK(part->number == 2);
  CHECK(part->count == 3);
  CHECK(part->text() == "DeepSeek-R1-UD-IQ1_S-00002-of-00003.gguf");
  CHECK(part->with_number(1).text() == "DeepSeek-R1-UD-IQ1_S-00001-of-00003.gguf");
  CHECK(parse_gguf_part_name("-00001-of-00001.gguf")->prefix.empty());
  CHECK(parse_gguf_part_name("x-12345-of-65535.gguf")->number == 12345);
  for (const char* name :
       {"", "x.gguf", "00001-of-00001.gguf", "x-00001-of-00003.GGUF", "x-0001-of-0003.gguf",
        "x-00000-of-00003.gguf", "x-00004-of-00003.gguf", "x-00001-of-65536.gguf",
        "x-00001-of-0000a.gguf", "x-00001-of-00003.gguf.part", "x 00001-of-00003.gguf"}) {
    CAPTURE(name);
    CHECK(!parse_gguf_part_name(name));
  }
}

TEST_CASE("a part must be what its name says") {
  const auto check = [](const std::vector<std::string>& keys, const GgufPartName& name) {
    const std::string bytes = gguf({keys, {}, 0});
    const auto file = GgufFile::from_bytes(as_bytes(bytes), "m.gguf");
    REQUIRE(file.ok());
    const auto checked = pensee::check_gguf_part(**file, name);
    return checked ? std::string("good") : checked.error().message;
  };
  const auto u16 = [](const char* name, int value) {
    return key(name, GgufType::kU16, raw(static_cast<uint16_t>(value)));
  };
  CHECK(check({}, {"x", 1, 1}) == "good");
  CHECK(check({u16("split.count", 1)}, {"x", 1, 1}) == "good");
  CHECK(check({u16("split.count", 3), u16("split.no", 1)}, {"x", 2, 3}) == "good");
  CHECK(check({u16("split.count", 3), u16("split.no", 1)}, {"x", 1, 3}) ==
        "m.gguf: expected part 1 of 3, as its name says, found part 2 of 3");
  CHECK(check({u16("split.count", 3), u16("split.no", 0)}, {"x", 1, 1}) ==
        "m.gguf: expected part 1 of 1, as its name says, found part 1 of 3");
  CHECK(check({}, {"x", 1, 2}) ==
        "m.gguf: expected part 1 of 2, as its name says, found part 1 of 1");
  CHECK(check({u16("split.count", 3)}, {"x", 1, 3}) == "m.gguf: split.no: missing");
  CHECK(check({u16("split.count", 3), u16("split.no", 3)}, {"x", 1, 3}) ==
        "m.gguf: split.no: expected an integer from 0 to 2, found 3");
  CHECK(check({u16("split.count", 0), u16("split.no", 0)}, {"x", 1, 1}) == "good");
  CHECK(check({key("split.count", "3")}, {"x", 1, 3}) ==
        "m.gguf: split.count: expected an integer from 0 to 65535, found \"3\"");
}
