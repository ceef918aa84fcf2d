#include "pensee/reason/event.hpp"

#include <doctest/doctest.h>

#include <string>

namespace pensee {
namespace {

TEST_CASE("every kind of event has a name") {
  CHECK(std::string(name_of(EventKind::kToken)) == "token");
  CHECK(std::string(name_of(EventKind::kThoughtBegin)) == "thought_begin");
  CHECK(std::string(name_of(EventKind::kThoughtEnd)) == "thought_end");
  CHECK(std::string(name_of(EventKind::kAnswerEnd)) == "answer_end");
  CHECK(std::string(name_of(EventKind::kDone)) == "done");
  CHECK(std::string(name_of(static_cast<EventKind>(77))) == "unknown");
}

TEST_CASE("the reply's tokens are the thought's, the answer's and the delimiters'") {
  Usage usage;
  usage.prompt_tokens = 100;
  usage.thought_tokens = 20;
  usage.answer_tokens = 3;
  usage.control_tokens = 2;
  usage.forced_tokens = 1;  // counted among the others already
  CHECK(usage.reply_tokens() == 25);
}

}  // namespace
}  // namespace pensee
