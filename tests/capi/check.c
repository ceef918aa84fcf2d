#include "check.h"

int failures = 0;

pensee_model* load_tiny(const char* path, int32_t n_threads) {
  pensee_model* model = NULL;
  pensee_load_options options;
  CHECK(pensee_load_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
  options.n_threads = n_threads;
  MUST(pensee_model_load(path, &options, &model, &error));
  CHECK(model != NULL);
  return model;
}

pensee_session* new_session(const pensee_model* model) {
  pensee_session* session = NULL;
  MUST(pensee_session_create(model, NULL, &session, &error));
  CHECK(session != NULL);
  return session;
}

pensee_reply_options greedy(pensee_sampler_options* sampler, int64_t max_tokens) {
  pensee_reply_options options;
  CHECK(pensee_sampler_options_init(sampler, sizeof *sampler, PENSEE_VERSION) == PENSEE_OK);
  CHECK(pensee_reply_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
  sampler->temperature = 0;
  options.thought_sampler = sampler;
  options.max_tokens = max_tokens;
  return options;
}

pensee_buffer read_file(const char* folder, const char* name) {
  char path[4096];
  pensee_buffer buffer = {NULL, NULL, 0};
  FILE* file;
  void* data;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  file = fopen(path, "rb");
  if (file == NULL) {
    fprintf(stderr, "cannot open %s\n", path);
    exit(1);
  }
  fseek(file, 0, SEEK_END);
  buffer.size = (size_t)ftell(file);
  rewind(file);
  data = malloc(buffer.size + 1);
  if (data == NULL || fread(data, 1, buffer.size, file) != buffer.size) exit(1);
  fclose(file);
  buffer.name = name;
  buffer.data = data;
  return buffer;
}
