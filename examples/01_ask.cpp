// 01 ask: one question, and three ways to think about it.
//
//   01_ask [MODEL]     from the root of the repository, or with the directory of a checkpoint
//
// A model is loaded once, never changes, and is shared. A session is one conversation with it.
// What can fail gives a Result: the value, or an Error whose message can be shown as it is.
// PENSEE_ASSIGN_OR_RETURN takes the value, or returns the error to the caller.
#include <cstdio>
#include <pensee/pensee.hpp>
#include <string>

namespace {

void print(const char* title, const pensee::Reply& reply) {
  std::printf("== %s\n", title);
  std::printf("thought (%s, %d tokens): %s\n", name_of(reply.thought_end),
              static_cast<int>(reply.usage.thought_tokens), reply.thought.c_str());
  std::printf("answer (%s): %s\n\n", name_of(reply.answer_end), reply.answer.c_str());
}

pensee::Result<void> run(const std::string& path) {
  pensee::LoadOptions load;
  load.kernels = &pensee::best_kernels();  // of this machine; needs pensee::pensee to be linked
  PENSEE_ASSIGN_OR_RETURN(const auto model, pensee::Model::load(path, load));
  PENSEE_ASSIGN_OR_RETURN(const auto session, pensee::Session::create(model));
  const char* question = "What is 57 * 84 - 9?";

  // The model thinks as long as it wants to. Temperature 0 takes the most probable token each time;
  // what is not set for the answer, it inherits from the thought.
  pensee::ReplyOptions options;
  options.thought_sampler.temperature = 0.0F;
  PENSEE_ASSIGN_OR_RETURN(const pensee::Reply free, session->ask(question, options));
  print("A thought as long as it takes", free);

  // After 30 tokens the engine closes the thought, and the model answers with what it has.
  session->reset();  // a new conversation; without it, this would be the second question of one
  options.thinking_token_budget = 30;
  PENSEE_ASSIGN_OR_RETURN(const pensee::Reply limited, session->ask(question, options));
  print("A thought of at most 30 tokens", limited);

  session->reset();
  options.thinking = pensee::Thinking::kOff;
  PENSEE_ASSIGN_OR_RETURN(const pensee::Reply none, session->ask(question, options));
  print("No thought", none);

  std::printf("The last prompt had %d tokens, %d of them read before.\n",
              static_cast<int>(none.usage.prompt_tokens),
              static_cast<int>(none.usage.cached_tokens));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const pensee::Result<void> done = run(argc > 1 ? argv[1] : "examples/tiny_r1/model");
  if (!done) std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
