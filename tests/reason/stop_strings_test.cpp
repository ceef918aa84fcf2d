#include "pensee/reason/stop_strings.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "pensee/decode/sampler.hpp"

namespace pensee {
namespace {

StopStrings make(std::vector<std::string> strings) {
  return StopStrings::create(std::move(strings)).value();
}

TEST_CASE("without stop strings text passes at once") {
  StopStrings stop = make({});
  CHECK(stop.push("abc").text == "abc");
  CHECK(!stop.push("").stopped);
  CHECK(stop.flush().empty());
}

TEST_CASE("a possible beginning is held back, and shown when it was none") {
  StopStrings stop = make({"END"});
  CHECK(stop.push("a E").text == "a ");
  CHECK(stop.push("N").text.empty());
  CHECK(stop.push("x").text == "ENx");
  CHECK(stop.push("EE").text == "E");
  CHECK(stop.flush() == "E");
  const StopStrings::Found found = stop.push("b EN");
  CHECK(found.text == "b ");
  CHECK(!found.stopped);
  const StopStrings::Found end = stop.push("D and more");
  CHECK(end.text.empty());
  CHECK(end.stopped);
}

TEST_CASE("the stop string that ends first wins, the longest of those") {
  CHECK(make({"abcd", "bc"}).push("xabcd").text == "xa");
  CHECK(make({"bc", "abc"}).push("xabcd").text == "x");
  CHECK(make({"aab"}).push("aaab").text == "a");
}

TEST_CASE("characters stay whole") {
  StopStrings stop = make({"\xC3\xA9t\xC3\xA9"});           // "été"
  CHECK(stop.push("\xC3\xA8").text == "\xC3\xA8");          // "è" begins with the same byte
  CHECK(stop.push("x\xC3\xA9").text == "x");                // "é" is held back as a whole
  CHECK(stop.push("\xC3\xA8").text == "\xC3\xA9\xC3\xA8");  // and shown as a whole
  CHECK(stop.push("\xC3\xA9t\xC3\xA9").stopped);
}

TEST_CASE("the pieces do not matter") {
  SplitMix64 random(11);
  int stops = 0;
  for (int round = 0; round < 3000; ++round) {
    const auto word = [&](size_t most) {
      std::string s;
      for (size_t n = 1 + random.next() % most; n > 0; --n) {
        s.push_back(static_cast<char>('a' + random.next() % 3));
      }
      return s;
    };
    std::vector<std::string> strings;
    for (size_t n = 1 + random.next() % 3; n > 0; --n) strings.push_back(word(5));
    const std::string text = word(20);
    // Naive: the shortest beginning of the text that ends with a stop string.
    std::string expected = text;
    bool expected_stop = false;
    for (size_t n = 1; n <= text.size() && !expected_stop; ++n) {
      for (const std::string& s : strings) {
        const std::string begin = text.substr(0, n);
        if (begin.ends_with(s) && n - s.size() < expected.size()) {
          expected = text.substr(0, n - s.size());
          expected_stop = true;
        }
      }
    }
    StopStrings stop = make(strings);
    std::string shown;
    bool stopped = false;
    for (size_t i = 0; i < text.size() && !stopped;) {
      const size_t n = 1 + random.next() % 4;
      const StopStrings::Found found = stop.push(text.substr(i, n));
      shown += found.text;
      stopped = found.stopped;
      i += n;
    }
    if (!stopped) shown += stop.flush();
    stops += stopped ? 1 : 0;
    REQUIRE(stopped == expected_stop);
    REQUIRE(shown == expected);
  }
  CHECK(stops > 500);
}

TEST_CASE("stop strings must be text") {
  CHECK(StopStrings::create({""}).error().status == Status::kInvalidArgument);
  CHECK(StopStrings::create({"a", "\xC3"}).error().status == Status::kInvalidArgument);
}

}  // namespace
}  // namespace pensee
