// Asks the model in argv[1] one question and prints the answer.
#include <cstdio>
#include <pensee/pensee.hpp>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  pensee::LoadOptions options;
#ifdef CONSUMER_WITH_KERNELS
  options.kernels = &pensee::best_kernels();
#endif
  auto model = pensee::Model::load(argv[1], options);
  if (!model) return std::fprintf(stderr, "%s\n", model.error().message.c_str()), 1;
  auto session = pensee::Session::create(*model);
  if (!session) return std::fprintf(stderr, "%s\n", session.error().message.c_str()), 1;
  pensee::ReplyOptions greedy;
  greedy.thought_sampler.temperature = 0.0F;
  auto reply = (*session)->ask("What is 12 + 30?", greedy);
  if (!reply) return std::fprintf(stderr, "%s\n", reply.error().message.c_str()), 1;
  std::printf("%s\n", reply->answer.c_str());
  return 0;
}
