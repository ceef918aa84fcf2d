#include <pensee.h>
#include <stdio.h>

int main(int argc, char** argv) {
  pensee_model* model = NULL;
  pensee_session* session = NULL;
  pensee_sampler_options sampler;
  pensee_reply_options options;
  pensee_error* error = NULL;
  if (argc != 2) return 2;
  pensee_sampler_options_init(&sampler, sizeof sampler, PENSEE_VERSION);
  pensee_reply_options_init(&options, sizeof options, PENSEE_VERSION);
  sampler.temperature = 0;
  options.thought_sampler = &sampler;
  if (pensee_model_load(argv[1], NULL, &model, &error) == PENSEE_OK &&
      pensee_session_create(model, NULL, &session, &error) == PENSEE_OK &&
      pensee_session_ask(session, "What is 12 + 30?", PENSEE_NUL_TERMINATED, &options, &error) ==
          PENSEE_OK) {
    puts(pensee_session_answer_text(session, NULL));
  }
  const int failed = error != NULL;
  fputs(pensee_error_message(error), stderr);
  pensee_error_destroy(error);
  pensee_session_destroy(session);
  pensee_model_destroy(model);
  return failed;
}
