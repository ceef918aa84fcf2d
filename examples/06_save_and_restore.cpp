// 06 save and restore: a conversation that goes on later, or in another process.
//
//   06_save_and_restore [MODEL [FILE]]
//
// A saved session has its messages, its tokens and its key-value cache, so that nothing is read
// again. It fits the model that it was made with and no other; a checksum finds damage; the file
// appears under its name only when it is whole.
#include <cstdio>
#include <pensee.hpp>
#include <string>

namespace {

using pensee::c::Session;

void print(const char* who, const pensee::c::Reply& reply) {
  std::printf("%s: %s (%d of %d prompt tokens were in the cache)\n", who, reply.answer.c_str(),
              static_cast<int>(reply.usage.cached_tokens),
              static_cast<int>(reply.usage.prompt_tokens));
}

void run(const std::string& path, const std::string& file) {
  const auto model = pensee::c::Model::load(path);
  Session session(model);
  print("before", session.ask("What is 12 + 30?"));
  session.save_file(file);

  // As another process would, with a model loaded from the same files.
  const auto model_again = pensee::c::Model::load(path);
  Session restored = Session::restore_file(model_again, file);
  for (const pensee::c::Message& message : restored.messages()) {
    std::printf("  %s: %s\n", message.role == PENSEE_ROLE_USER ? "user" : "assistant",
                message.text.c_str());
  }
  // Both go on alike.
  print("saved session", session.ask("What is 45 - 17?"));
  print("restored session", restored.ask("What is 45 - 17?"));

  // In memory, and damaged there.
  std::string bytes = session.save();
  std::printf("%zu bytes for %zu tokens\n", bytes.size(), session.tokens().size());
  bytes[bytes.size() / 2] ^= 1;
  try {
    Session::restore(model, bytes);
  } catch (const pensee::c::Error& error) {
    std::printf("%s: %s\n", pensee_status_string(error.status()), error.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc > 1 ? argv[1] : "examples/tiny_r1/model", argc > 2 ? argv[2] : "conversation.pensee");
  } catch (const pensee::c::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
