#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "pensee.hpp"

namespace {

using namespace pensee::c;

constexpr const char* kQuestion = "What is 12 + 30?";

Model load_tiny() {
  LoadOptions options;
  options.n_threads = 1;
  return Model::load(PENSEE_TINY_R1, options);
}

// Greedy options; the sampler lives beside them.
struct Greedy {
  Greedy() {
    sampler.temperature = 0;
    options.thought_sampler = &sampler;
    options.max_tokens = 400;
  }
  SamplerOptions sampler;
  ReplyOptions options;
};

// The status that `function` throws; PENSEE_OK if nothing.
template <class Function>
pensee_status status_of(Function&& function, const std::string& text = "") {
  try {
    function();
  } catch (const Error& error) {
    CHECK_MESSAGE(std::string(error.what()).find(text) != std::string::npos, error.what());
    return error.status();
  }
  return PENSEE_OK;
}

TEST_CASE("a model tells of itself, and its tokens are its text") {
  const Model model = load_tiny();
  const ModelInfo info = model.info();
  CHECK(std::string(info.architecture) == "deepseek_v3");
  CHECK(info.n_threads == 1);
  CHECK(info.can_think == 1);
  const std::string text = "7 + 8 \xc3\xa9 <think>";
  const std::vector<int32_t> plain = model.tokenize(text);
  const std::vector<int32_t> parsed = model.tokenize(text, true);
  CHECK(parsed.size() < plain.size());
  CHECK(model.detokenize(plain) == text);
  CHECK(model.is_special(model
                             .tokenize("<\xef\xbd\x9c"
                                       "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
                                       true)
                             .at(0)));
  CHECK(!model.is_special(plain.at(0)));
  CHECK(model.token_bytes(plain.at(0)) == "7");
  CHECK(model.token_bytes(-1).data() == nullptr);
  CHECK(model.tokenize("").empty());
  CHECK(model.detokenize({}).empty());
  const std::vector<float> logits = model.logits(plain);
  CHECK(logits.size() == plain.size() * static_cast<size_t>(info.vocab_size));
  CHECK(std::isfinite(logits.back()));
  CHECK(estimate_memory(PENSEE_TINY_R1).session_bytes > 0);
}

TEST_CASE("whole, in parts, by events and by callbacks: the same reply") {
  const Model model = load_tiny();
  const Greedy greedy;
  Session whole(model);
  const Reply reply = whole.ask(kQuestion, greedy.options);
  CHECK(reply.answer.find("\\boxed{42}") != std::string::npos);
  CHECK(reply.thought.size() > 10);
  CHECK(reply.thought_end == PENSEE_THOUGHT_END_CLOSED);
  CHECK(reply.answer_end == PENSEE_ANSWER_END_COMPLETE);
  CHECK(reply.usage.thought_tokens > 10);
  REQUIRE(whole.messages().size() == 2);
  CHECK(whole.messages()[0].text == kQuestion);
  CHECK(whole.messages()[1].role == PENSEE_ROLE_ASSISTANT);
  CHECK(whole.messages()[1].text == reply.answer);

  Session parts(model);
  parts.add_message(PENSEE_ROLE_USER, kQuestion);
  parts.start(greedy.options);
  parts.prefill();
  CHECK(parts.think() == reply.thought);
  CHECK(parts.is_replying());
  CHECK(parts.answer() == reply.answer);
  CHECK(!parts.is_replying());

  std::string answer;
  Session stepped(model);
  stepped.add_message(PENSEE_ROLE_USER, kQuestion);
  stepped.start(greedy.options);
  for (Event event = stepped.step(); event.kind != PENSEE_EVENT_DONE; event = stepped.step()) {
    if (event.phase == PENSEE_PHASE_ANSWER) answer.append(event.text, event.text_size);
  }
  CHECK(answer.find(reply.answer) != std::string::npos);
  CHECK(stepped.logits().size() == static_cast<size_t>(model.info().vocab_size));

  int tokens = 0;
  Session called(model);
  std::vector<int32_t> prompt = whole.tokens();
  prompt.resize(static_cast<size_t>(reply.usage.prompt_tokens));
  called.start_tokens(prompt, greedy.options);
  called.run([&](const pensee_event& event) { tokens += event.kind == PENSEE_EVENT_TOKEN; });
  CHECK(tokens == reply.usage.thought_tokens + reply.usage.answer_tokens);
  CHECK(called.reply().answer == reply.answer);
  CHECK(called.tokens() == whole.tokens());
}

TEST_CASE("an exception of a callback cancels the reply and comes out") {
  const Model model = load_tiny();
  const Greedy greedy;
  Session session(model);
  session.start_text("What is 12 + 30?", greedy.options);
  int calls = 0;
  const auto fail_at_third = [&](const pensee_event&) {
    if (++calls == 3) throw std::runtime_error("enough");
  };
  CHECK_THROWS_WITH_AS(session.run(fail_at_third), "enough", std::runtime_error);
  CHECK(calls == 3);
  CHECK(!session.is_replying());
  CHECK(session.ask(kQuestion, greedy.options).answer.find("42") != std::string::npos);
}

TEST_CASE("cancel and end_thinking end what is under way") {
  const Model model = load_tiny();
  const Greedy greedy;
  Session session(model);
  session.add_message(PENSEE_ROLE_USER, kQuestion);
  session.start(greedy.options);
  session.step();
  session.end_thinking();
  session.think();
  CHECK(session.thought_end() == PENSEE_THOUGHT_END_STOPPED);
  session.cancel();
  session.answer();
  CHECK(session.answer_end() == PENSEE_ANSWER_END_CANCELLED);
}

TEST_CASE("failures are exceptions with the status and the message of the C interface") {
  CHECK(status_of([] { Model::load("/no/such/model"); }, "/no/such/model") ==
        PENSEE_ERROR_NOT_FOUND);
  CHECK(status_of([] { Model::load_buffers({}); }) != PENSEE_OK);
  const Model model = load_tiny();
  CHECK(status_of([&] { model.tokenize("\xff"); }, "UTF-8") == PENSEE_ERROR_INVALID_ARGUMENT);
  CHECK(status_of([&] { model.detokenize({-1}); }) == PENSEE_ERROR_INVALID_ARGUMENT);
  CHECK(status_of([&] { model.logits({-1}); }) == PENSEE_ERROR_INVALID_ARGUMENT);
  Session session(model);
  CHECK(status_of([&] { session.step(); }) == PENSEE_ERROR_WRONG_STATE);
  CHECK(status_of([&] { session.think(); }) == PENSEE_ERROR_WRONG_STATE);
  CHECK(status_of([&] { session.rewind(1); }) == PENSEE_ERROR_INVALID_ARGUMENT);
  CHECK(status_of([&] { session.add_message(9, "x"); }, "role") == PENSEE_ERROR_INVALID_ARGUMENT);
  CHECK(status_of([&] { Session::restore(model, "nonsense"); }) == PENSEE_ERROR_CORRUPT_FILE);
}

TEST_CASE("a path with a NUL in it is refused, not cut to one that is there") {
  const std::string nul(1, '\0');
  const std::string path = PENSEE_TINY_R1 + nul + ".gguf";
  const auto refuses = [](auto&& function) {
    CHECK(status_of(function, "NUL") == PENSEE_ERROR_INVALID_ARGUMENT);
  };
  refuses([&] { estimate_memory(path); });
  refuses([&] { Model::load(path); });
  const Model model = load_tiny();
  const std::string saved = std::string(PENSEE_TEST_FOLDER) + "/hpp_test_nul.session" + nul;
  refuses([&] { Session(model).save_file(saved); });
  refuses([&] { Session::restore_file(model, saved); });
}

TEST_CASE("forks, saved sessions and moved objects go on as the original") {
  Model first = load_tiny();
  const Model model = std::move(first);
  const Greedy greedy;
  Session session(model);
  session.ask(kQuestion, greedy.options);
  Session fork = session.fork();
  Session restored = Session::restore(model, session.save());
  const std::string path = std::string(PENSEE_TEST_FOLDER) + "/hpp_test.session";
  session.save_file(path);
  Session from_file = Session::restore_file(model, path);
  Session moved = std::move(session);
  const std::string next = "What is 5 * 7?";
  const Reply reply = moved.ask(next, greedy.options);
  CHECK(reply.usage.cached_tokens > 0);
  for (Session* other : {&fork, &restored, &from_file}) {
    CHECK(other->ask(next, greedy.options).thought == reply.thought);
    CHECK(other->reply().usage.cached_tokens == reply.usage.cached_tokens);
  }
  moved.rewind(2);
  CHECK(moved.messages().size() == 2);
  moved.reseed(3);
  moved.reset();
  CHECK(moved.messages().empty());
  CHECK(moved.context_length() > 0);
}

TEST_CASE("a vote has every voter's reply; the session goes on as the elected one") {
  const Model model = load_tiny();
  const Greedy greedy;
  Session session(model);
  session.add_message(PENSEE_ROLE_USER, kQuestion);
  session.start(greedy.options);
  const Vote vote = session.vote(2);
  const Reply reply = session.reply();
  REQUIRE(vote.ballots.size() == 2);
  CHECK(vote.n_votes == 2);
  for (const Ballot& ballot : vote.ballots) {  // greedy: all alike
    CHECK(ballot.choice == vote.winner);
    CHECK(ballot.thought == reply.thought);
    CHECK(ballot.answer == reply.answer);
    CHECK(ballot.thought_end == reply.thought_end);
    CHECK(ballot.answer_end == PENSEE_ANSWER_END_COMPLETE);
    CHECK(ballot.usage.prompt_tokens == reply.usage.prompt_tokens);
    CHECK(ballot.usage.thought_tokens == reply.usage.thought_tokens);
  }
}

TEST_CASE("sessions step together; an error of one leaves the others' events") {
  const Model model = load_tiny();
  const Greedy greedy;
  Session a(model);
  Session b(model);
  Session alone(model);
  for (Session* session : {&a, &alone}) {
    session->add_message(PENSEE_ROLE_USER, kQuestion);
    session->start(greedy.options);
  }
  std::vector<Event> events;
  CHECK(status_of([&] { Session::step_many({&b, &a}, events); }) == PENSEE_ERROR_WRONG_STATE);
  REQUIRE(events.size() == 2);
  CHECK(events[1].token == alone.step().token);
  Session::step_many({&a}, events);
  CHECK(events.at(0).token == alone.step().token);
}

}  // namespace
