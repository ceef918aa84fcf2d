// 02 stream thoughts: a reply token by token, each with its phase.
//
//   02_stream_thoughts [MODEL]
//
// step() does at most one token's work and gives one event. The host keeps the reins: between two
// steps it may draw, look at other sessions, or stop stepping. In events
//   phase     says what the text belongs to; no delimiter ever shows in it
//   text      is whole characters, often none; all texts of a phase, joined, are the phase's text
//   log_prob  is how sure the model was of the token: its logarithm under the model's own logits
//   forced    marks what the engine wrote, not the model
#include <cmath>
#include <cstdio>
#include <pensee/pensee.hpp>
#include <string>

namespace {

// Shows what the engine wrote [in brackets].
void show(const pensee::Event& event) {
  if (event.text.empty()) return;
  std::printf(event.forced ? "[%s]" : "%s", event.text.c_str());
  std::fflush(stdout);
}

pensee::Result<void> run(const std::string& path) {
  pensee::LoadOptions load;
  load.kernels = &pensee::best_kernels();
  PENSEE_ASSIGN_OR_RETURN(const auto model, pensee::Model::load(path, load));
  PENSEE_ASSIGN_OR_RETURN(const auto session, pensee::Session::create(model));

  pensee::ReplyOptions options;
  options.thought_sampler.temperature = 0.0F;
  options.thinking_token_budget = 300;
  options.min_thought_tokens = 100;  // a shorter thought is not closed, but goes on with ...
  options.extension_text = "Wait";
  options.max_extensions = 1;
  PENSEE_RETURN_IF_ERROR(session->add_message(pensee::Role::kUser, "What is 12 + 30?"));
  PENSEE_RETURN_IF_ERROR(session->start(options));

  pensee::Phase phase = pensee::Phase::kPrompt;
  pensee::Event least_sure;
  for (;;) {
    PENSEE_ASSIGN_OR_RETURN(const pensee::Event event, session->step());
    if (event.kind == pensee::EventKind::kDone) break;
    if (event.phase != phase) {
      phase = event.phase;
      std::printf("--- %s\n", name_of(phase));
    }
    show(event);
    switch (event.kind) {
      case pensee::EventKind::kToken:
        if (!event.forced && event.log_prob < least_sure.log_prob) least_sure = event;
        break;
      case pensee::EventKind::kThoughtEnd:
        std::printf("\n--- thought ended: %s\n", name_of(event.thought_end));
        break;
      case pensee::EventKind::kAnswerEnd:
        std::printf("\n--- answer ended: %s\n", name_of(event.answer_end));
        break;
      default:
        break;
    }
  }
  std::printf("least sure, with %.0f %%, of '%s' in the %s\n",
              100 * std::exp(static_cast<double>(least_sure.log_prob)), least_sure.text.c_str(),
              name_of(least_sure.phase));
  const pensee::Usage usage = session->reply().usage;
  std::printf("%d tokens of thought, %d of answer, %d written by the engine\n",
              static_cast<int>(usage.thought_tokens), static_cast<int>(usage.answer_tokens),
              static_cast<int>(usage.forced_tokens));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const pensee::Result<void> done = run(argc > 1 ? argv[1] : "examples/tiny_r1/model");
  if (!done) std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
