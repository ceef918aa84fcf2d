// 04 many sessions: a queue of questions, and a few sessions of one model that are stepped
// together.
//
//   04_many_sessions [MODEL]
//
// In C++ over the C interface: objects that own their handles, and one type of exception. One call
// steps all the sessions, so that the library may work on them as one batch; each gets the reply
// that it would get alone. A session that is done takes the next question at once.
#include <cstddef>
#include <cstdio>
#include <iterator>
#include <pensee.hpp>
#include <string>
#include <vector>

namespace {

using pensee::c::Session;

constexpr size_t kPlaces = 3;
constexpr const char* kQuestions[] = {"What is 12 + 30?",     "What is 57 * 84 - 9?",
                                      "What is 45 - 17?",     "What is 144 / 12?",
                                      "What is 17 * 24 + 9?", "What is 7 * 8?"};

struct Place {
  Session session;
  const char* question;
};

void run(const std::string& path) {
  const auto model = pensee::c::Model::load(path);
  pensee::c::SamplerOptions greedy;
  greedy.temperature = 0;
  pensee::c::ReplyOptions options;
  options.thought_sampler = &greedy;

  const char* const* next = std::begin(kQuestions);
  const auto ask_next = [&](Place& place) {
    place.question = *next++;
    place.session.reset();
    place.session.add_message(PENSEE_ROLE_USER, place.question);
    place.session.start(options);
  };
  std::vector<Place> places;
  for (size_t i = 0; i < kPlaces; ++i) ask_next(places.emplace_back(Place{Session(model), ""}));

  int steps = 0;
  int n_events = 0;
  std::vector<Session*> sessions;
  std::vector<pensee::c::Event> events;
  while (!places.empty()) {
    sessions.clear();
    for (Place& place : places) sessions.push_back(&place.session);
    Session::step_many(sessions, events);  // events[i] is of *sessions[i]
    ++steps;
    n_events += static_cast<int>(events.size());
    for (size_t i = places.size(); i-- > 0;) {
      if (events[i].kind != PENSEE_EVENT_DONE) continue;
      std::printf("%s\n  thought %s after %d tokens, answer: %s\n", places[i].question,
                  pensee_thought_end_string(places[i].session.thought_end()),
                  static_cast<int>(places[i].session.usage().thought_tokens),
                  places[i].session.answer_text().c_str());
      if (next != std::end(kQuestions)) {
        ask_next(places[i]);
      } else {
        places.erase(places.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
  }
  std::printf("%d events in %d steps\n", n_events, steps);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc > 1 ? argv[1] : "examples/tiny_r1/model");
  } catch (const pensee::c::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
