/* Versions, errors, structs, models and tokens. models_test MODEL */
#include "check.h"

static void versions(void) {
  CHECK(pensee_version() == PENSEE_VERSION);
  CHECK(strcmp(pensee_version_string(), "0.1.0") == 0);
  CHECK(pensee_has_feature("safetensors") == 1);
  CHECK(pensee_has_feature("gguf") == 1);
  CHECK(pensee_has_feature("fp8") == 1);
  CHECK(pensee_has_feature("reference") == 1);
  CHECK(pensee_has_feature("telepathy") == 0);
  CHECK(pensee_has_feature(NULL) == 0);
  CHECK(strcmp(pensee_status_string(PENSEE_OK), "ok") == 0);
  CHECK(strcmp(pensee_status_string(PENSEE_ERROR_CORRUPT_FILE), "corrupt file") == 0);
  CHECK(strcmp(pensee_status_string(-5), "unknown status") == 0);
  CHECK(strcmp(pensee_phase_string(PENSEE_PHASE_THOUGHT), "thought") == 0);
  CHECK(strcmp(pensee_event_kind_string(PENSEE_EVENT_DONE), "done") == 0);
  CHECK(strcmp(pensee_thought_end_string(PENSEE_THOUGHT_END_BUDGET), "budget") == 0);
  CHECK(strcmp(pensee_answer_end_string(PENSEE_ANSWER_END_LENGTH), "length") == 0);
  CHECK(strcmp(pensee_phase_string(99), "unknown") == 0);
  CHECK(strcmp(pensee_event_kind_string(0), "unknown") == 0);
  CHECK(strcmp(pensee_thought_end_string(-1), "unknown") == 0);
  CHECK(strcmp(pensee_answer_end_string(77), "unknown") == 0);
  CHECK(pensee_error_status(NULL) == PENSEE_OK);
  CHECK(strcmp(pensee_error_message(NULL), "") == 0);
  pensee_error_destroy(NULL);
  pensee_free(NULL);
}

/* A struct as a later release may have it, and one from before the first. */
typedef struct {
  pensee_reply_options known;
  int64_t later[4];
} future_reply_options;

static void structs(const pensee_model* model) {
  future_reply_options future;
  pensee_reply_options options;
  pensee_usage usage;
  struct {
    pensee_usage known;
    int64_t later[2];
  } future_usage;
  pensee_session* session = new_session(model);
  size_t i;
  const unsigned char* bytes = (const unsigned char*)&future;

  memset(&future, 0xAB, sizeof future);
  CHECK(pensee_reply_options_init(&future.known, sizeof future, PENSEE_VERSION) == PENSEE_OK);
  CHECK(future.known.struct_size == sizeof future);
  for (i = sizeof future.known; i < sizeof future; ++i) CHECK(bytes[i] == 0);
  MUST(pensee_session_add_message(session, PENSEE_ROLE_USER, "1+1?", 4, &error));
  future.later[3] = 1;
  EXPECT(PENSEE_ERROR_UNSUPPORTED, "pensee_reply_options",
         pensee_session_start(session, &future.known, &error));
  future.later[3] = 0;
  MUST(pensee_session_start(session, &future.known, &error));

  CHECK(pensee_reply_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
  MUST(pensee_session_reset(session, &error));
  MUST(pensee_session_add_message(session, PENSEE_ROLE_USER, "1+1?", 4, &error));
  for (i = 0; i < sizeof options; i += sizeof options / 4) {
    options.struct_size = i;
    EXPECT(INVALID, "struct_size", pensee_session_start(session, &options, &error));
  }
  options.struct_size = SIZE_MAX;
  EXPECT(INVALID, "struct_size", pensee_session_start(session, &options, &error));

  CHECK(pensee_reply_options_init(NULL, sizeof options, PENSEE_VERSION) == INVALID);
  CHECK(pensee_reply_options_init(&options, 3, PENSEE_VERSION) == INVALID);
  CHECK(pensee_reply_options_init(&options, SIZE_MAX, PENSEE_VERSION) == INVALID);
  CHECK(pensee_reply_options_init(&options, sizeof options, 77000000) == PENSEE_ERROR_UNSUPPORTED);

  memset(&future_usage, 0xAB, sizeof future_usage);
  CHECK(pensee_usage_init(&future_usage.known, sizeof future_usage, PENSEE_VERSION) == PENSEE_OK);
  memset(future_usage.later, 0xAB, sizeof future_usage.later);
  MUST(pensee_session_get_usage(session, &future_usage.known, &error));
  CHECK(future_usage.later[0] == 0 && future_usage.later[1] == 0);
  CHECK(future_usage.known.struct_size == sizeof future_usage);
  CHECK(pensee_usage_init(&usage, sizeof usage, PENSEE_VERSION) == PENSEE_OK);
  usage.struct_size = 8;
  EXPECT(INVALID, "struct_size", pensee_session_get_usage(session, &usage, &error));
  EXPECT(INVALID, "usage", pensee_session_get_usage(session, NULL, &error));
  pensee_session_destroy(session);
}

static int32_t refuse(void* user_data, double fraction) {
  CHECK(fraction >= 0 && fraction <= 1);
  ++*(int*)user_data;
  return 1;
}

static int32_t accept(void* user_data, double fraction) {
  *(double*)user_data = fraction;
  return 0;
}

static int32_t count_progress(void* user_data, double fraction) {
  CHECK(fraction >= 0 && fraction <= 1);
  ++*(int*)user_data;
  return 0;
}

static void count_log(void* user_data, int32_t level, const char* message) {
  CHECK(level >= PENSEE_LOG_DEBUG && level <= PENSEE_LOG_WARNING);
  CHECK(strlen(message) > 0);
  ++*(int*)user_data;
}

static void loading(const char* path) {
  pensee_model* model = (pensee_model*)&failures; /* must become NULL on failure */
  pensee_load_options options;
  int calls = 0;
  int messages = 0;
  double progress = -1;
  EXPECT(INVALID, "path", pensee_model_load(NULL, NULL, &model, &error));
  CHECK(model == NULL);
  EXPECT(INVALID, "model", pensee_model_load(path, NULL, NULL, &error));
  EXPECT(PENSEE_ERROR_NOT_FOUND, "/no/such/model",
         pensee_model_load("/no/such/model", NULL, &model, &error));
  CHECK(pensee_model_load("/no/such/model", NULL, &model, NULL) == PENSEE_ERROR_NOT_FOUND);
  CHECK(pensee_load_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
  options.n_threads = -1;
  EXPECT(INVALID, "threads", pensee_model_load(path, &options, &model, &error));
  options.n_threads = 1;
  options.progress = refuse;
  options.progress_user_data = &calls;
  EXPECT(PENSEE_ERROR_CANCELLED, "cancel", pensee_model_load(path, &options, &model, &error));
  CHECK(calls == 1);
  CHECK(model == NULL);
  options.progress = accept;
  options.progress_user_data = &progress;
  options.log = count_log;
  options.log_user_data = &messages;
  MUST(pensee_model_load(path, &options, &model, &error));
  CHECK(progress == 1.0);
  CHECK(messages > 0);
  pensee_model_destroy(model);
  pensee_model_destroy(NULL);
}

/* Reading ahead is part of the load: it has progress of its own. */
static void reading_ahead(const char* path) {
  pensee_model* model = NULL;
  pensee_load_options options;
  int calls[2] = {0, 0};
  CHECK(pensee_load_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
  CHECK(options.read_ahead == 0);
  CHECK(options.repack_dir == NULL);
  options.n_threads = 2;
  options.progress = count_progress;
  for (int32_t ahead = 0; ahead < 2; ++ahead) {
    options.read_ahead = ahead;
    options.progress_user_data = &calls[ahead];
    MUST(pensee_model_load(path, &options, &model, &error));
    pensee_model_destroy(model);
  }
  CHECK(calls[1] > calls[0]);
  /* Nothing of this model can be repacked, so that the directory need not be. */
  options.repack_dir = path;
  MUST(pensee_model_load(path, &options, &model, &error));
  pensee_model_destroy(model);
  /* A caller whose header does not have the fields yet. */
  options.struct_size = offsetof(pensee_load_options, read_ahead);
  options.read_ahead = 1;
  options.progress_user_data = &calls[0];
  calls[0] = 0;
  MUST(pensee_model_load(path, &options, &model, &error));
  pensee_model_destroy(model);
  CHECK(calls[0] < calls[1]);
}

static void info(const pensee_model* model, const char* path) {
  pensee_model_info facts;
  pensee_memory_estimate memory;
  CHECK(pensee_model_info_init(&facts, sizeof facts, PENSEE_VERSION) == PENSEE_OK);
  MUST(pensee_model_get_info(model, &facts, &error));
  CHECK(strcmp(facts.architecture, "deepseek_v3") == 0);
  CHECK(pensee_has_feature(facts.kernels) == 1);
  CHECK(facts.n_threads == 1);
  CHECK(facts.n_layers == 4);
  CHECK(facts.vocab_size == 640);
  CHECK(facts.max_context_length == 2048);
  CHECK(facts.n_routed_experts == 16 && facts.num_experts_per_tok == 4);
  CHECK(facts.weights_bytes > 3000000 && facts.weights_bytes < 8000000);
  CHECK(facts.can_think == 1 && facts.has_chat_template == 1);
  CHECK(strcmp(facts.thought_open, "<think>") == 0);
  CHECK(strcmp(facts.thought_close, "</think>") == 0);
  EXPECT(INVALID, "model", pensee_model_get_info(NULL, &facts, &error));
  EXPECT(INVALID, "info", pensee_model_get_info(model, NULL, &error));

  CHECK(pensee_memory_estimate_init(&memory, sizeof memory, PENSEE_VERSION) == PENSEE_OK);
  MUST(pensee_estimate_memory(path, NULL, 1, &memory, &error));
  CHECK(memory.weights_bytes == facts.weights_bytes);
  CHECK(memory.session_bytes > 100000);
  EXPECT(INVALID, "path", pensee_estimate_memory(NULL, NULL, 1, &memory, &error));
  EXPECT(INVALID, "estimate", pensee_estimate_memory(path, NULL, 1, NULL, &error));
  EXPECT(PENSEE_ERROR_NOT_FOUND, "/no/such",
         pensee_estimate_memory("/no/such", NULL, 1, &memory, &error));
}

static void tokens(const pensee_model* model) {
  const char* text = "What is 17 * 23? \xC3\xA9\xE2\x86\x92 <think>";
  int32_t* ids = NULL;
  int32_t* special = NULL;
  size_t n = 0;
  size_t n_special = 0;
  char* back = NULL;
  size_t size = 0;
  size_t i;
  size_t joined = 0;
  const int32_t bad = 640;
  MUST(pensee_model_tokenize(model, text, PENSEE_NUL_TERMINATED, 0, &ids, &n, &error));
  MUST(pensee_model_tokenize(model, text, strlen(text), 1, &special, &n_special, &error));
  CHECK(n > n_special && n_special > 0);
  CHECK(pensee_model_token_is_special(model, 0) == 1);
  CHECK(pensee_model_token_is_special(model, ids[0]) == 0);
  CHECK(pensee_model_token_is_special(NULL, 0) == 0);
  CHECK(pensee_model_token_is_special(model, -1) == 0);
  MUST(pensee_model_detokenize(model, ids, n, 0, &back, &size, &error));
  CHECK(size == strlen(text) && memcmp(back, text, size + 1) == 0);
  pensee_free(back);
  for (i = 0; i < n; ++i) {
    size_t piece = 0;
    const char* bytes = pensee_model_token_bytes(model, ids[i], &piece);
    CHECK(bytes != NULL && memcmp(bytes, text + joined, piece) == 0);
    joined += piece;
  }
  CHECK(joined == strlen(text));
  CHECK(pensee_model_token_bytes(model, -1, &size) == NULL && size == 0);
  CHECK(pensee_model_token_bytes(model, 1000000, NULL) == NULL);
  CHECK(pensee_model_token_bytes(NULL, 0, NULL) == NULL);
  pensee_free(ids);
  pensee_free(special);
  MUST(pensee_model_tokenize(model, NULL, 0, 0, &ids, &n, &error));
  CHECK(n == 0 && ids != NULL);
  pensee_free(ids);
  MUST(pensee_model_detokenize(model, NULL, 0, 0, &back, NULL, &error));
  CHECK(back[0] == '\0');
  pensee_free(back);
  EXPECT(INVALID, "text", pensee_model_tokenize(model, NULL, 4, 0, &ids, &n, &error));
  CHECK(ids == NULL && n == 0);
  EXPECT(INVALID, "text", pensee_model_tokenize(model, NULL, SIZE_MAX, 0, &ids, &n, &error));
  EXPECT(INVALID, "text", pensee_model_tokenize(model, text, SIZE_MAX - 1, 0, &ids, &n, &error));
  EXPECT(INVALID, "UTF-8", pensee_model_tokenize(model, "ab\xFF", 3, 0, &ids, &n, &error));
  EXPECT(INVALID, "model", pensee_model_tokenize(NULL, text, 1, 0, &ids, &n, &error));
  EXPECT(INVALID, "tokens", pensee_model_tokenize(model, text, 1, 0, NULL, &n, &error));
  EXPECT(INVALID, "n_tokens", pensee_model_tokenize(model, text, 1, 0, &ids, NULL, &error));
  EXPECT(INVALID, "640", pensee_model_detokenize(model, &bad, 1, 0, &back, &size, &error));
  CHECK(back == NULL && size == 0);
  EXPECT(INVALID, "tokens", pensee_model_detokenize(model, NULL, 1, 0, &back, &size, &error));
  EXPECT(INVALID, "tokens", pensee_model_detokenize(model, &bad, SIZE_MAX, 0, &back, NULL, &error));
  EXPECT(INVALID, "text", pensee_model_detokenize(model, &bad, 1, 0, NULL, &size, &error));
  EXPECT(INVALID, "model", pensee_model_detokenize(NULL, &bad, 1, 0, &back, &size, &error));
}

static int32_t count_tokens(void* user_data, int64_t done, int64_t total) {
  int64_t* counted = user_data;
  *counted = done;
  return done < total ? 0 : 7;
}

static void logits(const pensee_model* model) {
  const int32_t ids[3] = {0, 5, 9};
  const int32_t bad[1] = {-1};
  static float values[3 * 640];
  MUST(pensee_model_logits(model, ids, 3, values, 3 * 640, NULL, NULL, &error));
  CHECK(values[0] != 0 && values[3 * 640 - 640] != values[0]);
  int64_t counted = 0;
  EXPECT(PENSEE_ERROR_CANCELLED, "3 of 3",
         pensee_model_logits(model, ids, 3, values, 3 * 640, count_tokens, &counted, &error));
  CHECK(counted == 3);
  EXPECT(INVALID, "n_logits", pensee_model_logits(model, ids, 3, values, 640, NULL, NULL, &error));
  EXPECT(INVALID, "n_logits",
         pensee_model_logits(model, ids, 3, values, 3 * 640 + 1, NULL, NULL, &error));
  EXPECT(INVALID, "logits", pensee_model_logits(model, ids, 1, NULL, 640, NULL, NULL, &error));
  EXPECT(INVALID, "tokens", pensee_model_logits(model, NULL, 1, values, 640, NULL, NULL, &error));
  EXPECT(INVALID, "tokens", pensee_model_logits(model, ids, 0, values, 0, NULL, NULL, &error));
  EXPECT(INVALID, "token", pensee_model_logits(model, bad, 1, values, 640, NULL, NULL, &error));
  EXPECT(INVALID, "model", pensee_model_logits(NULL, ids, 1, values, 640, NULL, NULL, &error));
}

static void buffers(const char* folder) {
  const char* names[5] = {"config.json", "generation_config.json", "tokenizer.json",
                          "tokenizer_config.json", "model.safetensors"};
  pensee_buffer files[5];
  pensee_buffer broken;
  pensee_model* model = NULL;
  pensee_session* session;
  pensee_sampler_options sampler;
  pensee_reply_options options = greedy(&sampler, 8);
  size_t i;
  for (i = 0; i < 5; ++i) files[i] = read_file(folder, names[i]);
  MUST(pensee_model_load_buffers(files, 5, NULL, &model, &error));
  session = new_session(model);
  MUST(pensee_session_ask(session, "1+1?", 4, &options, &error));
  pensee_session_destroy(session);
  pensee_model_destroy(model);
  EXPECT(PENSEE_ERROR_NOT_FOUND, "model.safetensors",
         pensee_model_load_buffers(files, 4, NULL, &model, &error));
  EXPECT(PENSEE_ERROR_NOT_FOUND, "", pensee_model_load_buffers(NULL, 0, NULL, &model, &error));
  EXPECT(INVALID, "buffers", pensee_model_load_buffers(NULL, 1, NULL, &model, &error));
  EXPECT(INVALID, "model", pensee_model_load_buffers(files, 5, NULL, NULL, &error));
  broken = files[4];
  files[4].size /= 2;
  EXPECT(PENSEE_ERROR_CORRUPT_FILE, "model.safetensors",
         pensee_model_load_buffers(files, 5, NULL, &model, &error));
  files[4].data = NULL;
  EXPECT(INVALID, "model.safetensors", pensee_model_load_buffers(files, 5, NULL, &model, &error));
  files[4] = broken;
  files[4].name = NULL;
  EXPECT(INVALID, "name", pensee_model_load_buffers(files, 5, NULL, &model, &error));
  CHECK(model == NULL);
  for (i = 0; i < 5; ++i) free((void*)files[i].data);
}

int main(int argc, char** argv) {
  pensee_model* model;
  if (argc < 2) return 2;
  versions();
  loading(argv[1]);
  reading_ahead(argv[1]);
  model = load_tiny(argv[1], 1);
  structs(model);
  info(model, argv[1]);
  tokens(model);
  logits(model);
  pensee_model_destroy(model);
  buffers(argv[1]);
  return failures == 0 ? 0 : 1;
}
