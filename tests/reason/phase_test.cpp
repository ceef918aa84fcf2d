#include "pensee/reason/phase.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace pensee {
namespace {

using Change = PhaseMachine::Change;
constexpr int32_t kOpenId = 90;
constexpr int32_t kCloseId = 91;
constexpr int32_t kEnd = 99;

PhaseMachine r1() {
  return PhaseMachine({{kOpenId}, {kCloseId}, {kEnd, 98}});
}
// Delimiters of several tokens with a common beginning: 1 2 3 opens, 1 4 1 5 closes.
PhaseMachine sequences() {
  return PhaseMachine({{1, 2, 3}, {1, 4, 1, 5}, {kEnd}});
}

void check_step(PhaseMachine& machine, int32_t token, size_t released, Change change,
                size_t consumed) {
  CAPTURE(token);
  const PhaseMachine::Step step = machine.observe(token);
  CHECK(step.released == released);
  CHECK(step.change == change);
  CHECK(step.consumed == consumed);
}

TEST_CASE("the prompt decides where the reply begins") {
  const auto after = [](std::vector<int32_t> control) {
    PhaseMachine machine = r1();
    CHECK(machine.phase() == Phase::kPrompt);
    machine.read_prompt(control);
    return machine.phase();
  };
  CHECK(after({}) == Phase::kAnswer);
  CHECK(after({5, 6}) == Phase::kAnswer);
  CHECK(after({5, kOpenId}) == Phase::kThought);
  CHECK(after({5, kOpenId, 7}) == Phase::kThought);
  CHECK(after({kOpenId, kCloseId}) == Phase::kAnswer);
  CHECK(after({kOpenId, kCloseId, kEnd, 5, kOpenId}) == Phase::kThought);
  CHECK(after({kOpenId, 7, kEnd, 5}) == Phase::kAnswer);
}

TEST_CASE("single-token delimiters change the phase at once and hold nothing back") {
  PhaseMachine machine = r1();
  machine.read_prompt(std::vector<int32_t>{kOpenId});
  check_step(machine, 1, 1, Change::kNone, 0);
  check_step(machine, kOpenId, 0, Change::kSwallowed, 1);
  CHECK(machine.phase() == Phase::kThought);
  check_step(machine, kCloseId, 0, Change::kClosed, 1);
  CHECK(machine.phase() == Phase::kAnswer);
  check_step(machine, kCloseId, 0, Change::kSwallowed, 1);
  check_step(machine, 2, 1, Change::kNone, 0);
  check_step(machine, kOpenId, 0, Change::kOpened, 1);
  CHECK(machine.phase() == Phase::kThought);
  check_step(machine, kCloseId, 0, Change::kClosed, 1);
  machine.reopen();
  CHECK(machine.phase() == Phase::kThought);
  check_step(machine, 98, 0, Change::kEnded, 1);
}

TEST_CASE("a delimiter of several tokens is held back until it is decided") {
  PhaseMachine machine = sequences();
  machine.read_prompt(std::vector<int32_t>{1, 2, 3});
  CHECK(machine.phase() == Phase::kThought);
  check_step(machine, 7, 1, Change::kNone, 0);
  check_step(machine, 1, 0, Change::kNone, 0);
  check_step(machine, 4, 0, Change::kNone, 0);
  check_step(machine, 1, 0, Change::kNone, 0);
  check_step(machine, 5, 0, Change::kClosed, 4);
  CHECK(machine.phase() == Phase::kAnswer);
  // 1 4 [1 2 3]: the first two are text after all, the rest opens.
  check_step(machine, 1, 0, Change::kNone, 0);
  check_step(machine, 4, 0, Change::kNone, 0);
  check_step(machine, 1, 0, Change::kNone, 0);
  check_step(machine, 2, 2, Change::kNone, 0);
  check_step(machine, 3, 0, Change::kOpened, 3);
  CHECK(machine.phase() == Phase::kThought);
  // 1 1 4 1 5: a repeated beginning still finds the close.
  check_step(machine, 1, 0, Change::kNone, 0);
  check_step(machine, 1, 1, Change::kNone, 0);
  check_step(machine, 4, 0, Change::kNone, 0);
  check_step(machine, 1, 0, Change::kNone, 0);
  check_step(machine, 5, 0, Change::kClosed, 4);
}

TEST_CASE("an end releases what was held") {
  PhaseMachine machine = sequences();
  machine.read_prompt({});
  check_step(machine, 1, 0, Change::kNone, 0);
  check_step(machine, 4, 0, Change::kNone, 0);
  check_step(machine, kEnd, 2, Change::kEnded, 1);
  check_step(machine, 1, 0, Change::kNone, 0);
  CHECK(machine.release_held() == 1);
  CHECK(machine.release_held() == 0);
}

TEST_CASE("a delimiter that the prompt leaves unfinished does not count") {
  PhaseMachine machine = sequences();
  machine.read_prompt(std::vector<int32_t>{1, 2});
  CHECK(machine.phase() == Phase::kAnswer);
  check_step(machine, 3, 1, Change::kNone, 0);
}

TEST_CASE("a model without thoughts has no delimiters, and holds nothing back") {
  PhaseMachine machine({{}, {}, {kEnd}});
  machine.read_prompt(std::vector<int32_t>{5});
  check_step(machine, 5, 1, Change::kNone, 0);
  check_step(machine, kEnd, 0, Change::kEnded, 1);
  CHECK(machine.phase() == Phase::kAnswer);
}

// Tokens whose text is below; 0 has none. "<t>" opens and "</t>" closes, however it is cut.
PhaseMachine spelled() {
  static const std::vector<std::string> kTexts = {"",    "<",       "t",   ">",    "</",  "a",
                                                  ".<",  "/t>",     ">\n", "<t",   "<t>", "</t>",
                                                  "t>b", "</t><t>", "></", "></t>"};
  return PhaseMachine({{1, 2, 3}, {4, 2, 3}, {kEnd}, "<t>", "</t>"}, [](int32_t token) {
    return std::string_view(kTexts.at(static_cast<size_t>(token)));
  });
}

void check_spelled(PhaseMachine& machine, int32_t token, const PhaseMachine::Step& expected) {
  CAPTURE(token);
  const PhaseMachine::Step step = machine.observe(token);
  CHECK(step.released == expected.released);
  CHECK(step.change == expected.change);
  CHECK(step.consumed == expected.consumed);
  CHECK(step.head == expected.head);
  CHECK(step.tail == expected.tail);
  CHECK(step.taken == expected.taken);
}

TEST_CASE("a delimiter that is ordinary text is found however it is cut into tokens") {
  PhaseMachine machine = spelled();
  machine.read_prompt(std::vector<int32_t>{1, 2, 3});
  CHECK(machine.phase() == Phase::kThought);
  check_spelled(machine, 5, {1, Change::kNone, 0});           // a
  check_spelled(machine, 4, {0, Change::kNone, 0});           // a </
  check_spelled(machine, 2, {0, Change::kNone, 0});           // a </t
  check_spelled(machine, 8, {0, Change::kClosed, 3, 0, 1});   // a </t>\n
  check_spelled(machine, 6, {0, Change::kNone, 0});           // .<
  check_spelled(machine, 5, {2, Change::kNone, 0});           // .<a
  check_spelled(machine, 6, {0, Change::kNone, 0});           // .<
  check_spelled(machine, 12, {0, Change::kOpened, 2, 1, 1});  // .<t>b
  check_spelled(machine, 10, {0, Change::kSwallowed, 1});     // <t>
  check_spelled(machine, 1, {0, Change::kNone, 0});           // <
  check_spelled(machine, 1, {1, Change::kNone, 0});           // <<
  check_spelled(machine, 7, {0, Change::kClosed, 2});         // <</t>
  check_spelled(machine, 11, {0, Change::kSwallowed, 1});     // </t>
  CHECK(machine.phase() == Phase::kAnswer);
  // What follows a delimiter in its own token is text.
  check_spelled(machine, 13, {0, Change::kSwallowed, 1, 0, 3});
  CHECK(machine.phase() == Phase::kAnswer);
}

TEST_CASE("a delimiter may begin in the token that ends the one before") {
  PhaseMachine machine = spelled();
  machine.read_prompt({});
  check_spelled(machine, 9, {0, Change::kNone, 0});             // <t
  check_spelled(machine, 14, {0, Change::kOpened, 2, 0, 2});    // <t></
  check_spelled(machine, 2, {0, Change::kNone, 0});             // </t
  check_spelled(machine, 3, {0, Change::kClosed, 2, 0, 0, 2});  // </t>
  check_spelled(machine, 9, {0, Change::kNone, 0});
  check_spelled(machine, 14, {0, Change::kOpened, 2, 0, 2});  // <t></
  check_spelled(machine, 5, {1, Change::kNone, 0});           // </a
  check_spelled(machine, 9, {0, Change::kNone, 0});
  check_spelled(machine, 14, {0, Change::kSwallowed, 2, 0, 2});  // <t></
  check_spelled(machine, 4, {0, Change::kNone, 0});              // </</
  check_spelled(machine, 2, {0, Change::kNone, 0});
  check_spelled(machine, 3, {0, Change::kClosed, 3});
  check_spelled(machine, 9, {0, Change::kNone, 0});
  check_spelled(machine, 14, {0, Change::kOpened, 2, 0, 2});  // <t></
  check_spelled(machine, kEnd, {0, Change::kEnded, 1});
  // The prompt's own.
  PhaseMachine after_prompt = spelled();
  after_prompt.read_prompt(std::vector<int32_t>{9, 14, 2, 3});
  CHECK(after_prompt.phase() == Phase::kAnswer);
}

TEST_CASE("a token without text, and the end, break a spelled delimiter off") {
  PhaseMachine machine = spelled();
  machine.read_prompt({});
  check_spelled(machine, 9, {0, Change::kNone, 0});  // <t
  check_spelled(machine, 0, {2, Change::kNone, 0});
  check_spelled(machine, 3, {1, Change::kNone, 0});  // >
  check_spelled(machine, 1, {0, Change::kNone, 0});
  check_spelled(machine, kEnd, {1, Change::kEnded, 1});
  check_spelled(machine, 2, {1, Change::kNone, 0});
  CHECK(machine.phase() == Phase::kAnswer);
}

TEST_CASE("every phase and ending has a name of its own") {
  std::set<std::string> names;
#define PENSEE_X(enumerator, value, name) names.insert(name_of(ThoughtEnd::enumerator));
  PENSEE_THOUGHT_END_LIST(PENSEE_X)
#undef PENSEE_X
  CHECK(names == std::set<std::string>{"none", "closed", "budget", "stopped", "truncated",
                                       "skipped", "eos"});
  names.clear();
#define PENSEE_X(enumerator, value, name) names.insert(name_of(AnswerEnd::enumerator));
  PENSEE_ANSWER_END_LIST(PENSEE_X)
#undef PENSEE_X
  CHECK(names == std::set<std::string>{"none", "complete", "stop_string", "length", "cancelled",
                                       "context_full"});
  CHECK(std::string(name_of(Phase::kThought)) == "thought");
  CHECK(std::string(name_of(static_cast<Phase>(77))) == "unknown");
}

}  // namespace
}  // namespace pensee
