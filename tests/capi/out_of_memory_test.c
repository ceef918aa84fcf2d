/* Every allocation fails in turn: alone, or it and all after it until the call returns. The call
 * must then say PENSEE_ERROR_OUT_OF_MEMORY and have changed nothing: made again, with memory, it
 * works, and everything comes out as if nothing had happened. Nothing leaks.
 *
 * out_of_memory_test MODEL FOLDER             a sample of the allocations
 * out_of_memory_test MODEL FOLDER all         all of them
 * out_of_memory_test MODEL FOLDER NAME N 0|1  scenario NAME, allocation N (and all later), for a
 *                                             debugger
 *
 * Each failure has a process of its own. A model has been loaded in it before: oneDNN and OpenMP do
 * not survive a failure while they set themselves up, so the library looks beforehand whether there
 * is memory. */
#define _GNU_SOURCE
#include <sys/wait.h>
#include <unistd.h>

#include "allocations.h"
#include "check.h"

/* The failure to come, until a scenario asks for it by start_failing(). */
static long failing_allocation = 0;
static int and_later = 0;

static const char* model_path;
static char save_path[4096];
static pensee_buffer files[5];
static pensee_model* shared; /* for the scenarios that load none */
static char outcome[8192];   /* texts that came out */

static void start_failing(void) {
  outcome[0] = '\0';
  fail_allocation(failing_allocation, and_later);
}

static void came_out(const char* text) {
  CHECK(text != NULL);
  if (text == NULL) return;
  CHECK(strlen(outcome) + strlen(text) + 2 < sizeof outcome);
  strcat(strcat(outcome, text), "\n");
}

/* Whether a call failed; checks that it did so for memory and only where an allocation failed. */
static int was_refused(int line, const char* call, pensee_status status, pensee_error* error) {
  if (status == PENSEE_OK) return 0;
  if (stop_failing() == 0 || status != PENSEE_ERROR_OUT_OF_MEMORY ||
      pensee_error_status(error) != status || pensee_error_message(error)[0] == 0) {
    ++failures;
    fprintf(stderr, "%s:%d: %s: status %d, message \"%s\"\n", __FILE__, line, call, (int)status,
            pensee_error_message(error));
  }
  pensee_error_destroy(error);
  return 1;
}

/* Makes a call, and again if an allocation failed; `unchanged` must hold between. */
#define TRY_WITH(unchanged, expression)                           \
  do {                                                            \
    int refused;                                                  \
    {                                                             \
      pensee_error* error = NULL;                                 \
      const pensee_status found = (expression);                   \
      refused = was_refused(__LINE__, #expression, found, error); \
    }                                                             \
    if (refused) CHECK(unchanged);                                \
    if (refused) MUST(expression);                                \
  } while (0)
#define TRY(expression) TRY_WITH(1, expression)

/* A text that is NULL without memory. */
static const char* lent(const char* (*get)(const pensee_session*, size_t*),
                        const pensee_session* session) {
  const char* text = get(session, NULL);
  if (text != NULL) return text;
  CHECK(stop_failing() > 0);
  return get(session, NULL);
}

static void ignore_log(void* user_data, int32_t level, const char* message) {
  (void)user_data;
  (void)level;
  (void)message;
}

static void load(void) {
  pensee_load_options options;
  pensee_model_info info;
  pensee_model* model = NULL;
  start_failing();
  CHECK(pensee_load_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
  options.n_threads = 2;
  options.log = ignore_log;
  TRY_WITH(model == NULL, pensee_model_load(model_path, &options, &model, &error));
  CHECK(pensee_model_info_init(&info, sizeof info, PENSEE_VERSION) == PENSEE_OK);
  TRY(pensee_model_get_info(model, &info, &error));
  came_out(info.thought_open);
  pensee_model_destroy(model);
}

static void load_buffers(void) {
  pensee_model* model = NULL;
  pensee_load_options options;
  start_failing();
  CHECK(pensee_load_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
  options.n_threads = 1;
  TRY_WITH(model == NULL, pensee_model_load_buffers(files, 5, &options, &model, &error));
  pensee_model_destroy(model);
}

static void estimate(void) {
  pensee_memory_estimate memory;
  start_failing();
  CHECK(pensee_memory_estimate_init(&memory, sizeof memory, PENSEE_VERSION) == PENSEE_OK);
  TRY(pensee_estimate_memory(model_path, NULL, 1, &memory, &error));
  CHECK(memory.session_bytes > 0);
}

/* Other errors than memory's: without memory for the message, that is the error. */
static void errors(void) {
  pensee_model* model = NULL;
  pensee_error* error = NULL;
  pensee_status status;
  start_failing();
  status = pensee_model_load("/no/such/model", NULL, &model, &error);
  if (status != PENSEE_ERROR_NOT_FOUND) CHECK(was_refused(__LINE__, "load", status, error));
  if (status == PENSEE_ERROR_NOT_FOUND) pensee_error_destroy(error);
  CHECK(pensee_has_feature(pensee_has_feature("avx2") ? "avx2" : "reference") == 1);
}

static void tokens(void) {
  const char* text = "What is 17 * 23? \xC3\xA9\xE2\x86\x92 <think>";
  int32_t* ids = NULL;
  size_t n = 0;
  char* back = NULL;
  static float logits[64 * 640];
  start_failing();
  TRY_WITH(ids == NULL && n == 0,
           pensee_model_tokenize(shared, text, PENSEE_NUL_TERMINATED, 0, &ids, &n, &error));
  TRY_WITH(back == NULL, pensee_model_detokenize(shared, ids, n, 0, &back, NULL, &error));
  CHECK(strcmp(back, text) == 0);
  CHECK(n <= 64);
  TRY(pensee_model_logits(shared, ids, n, logits, n * 640, NULL, NULL, &error));
  pensee_free(ids);
  pensee_free(back);
  ids = NULL;
  n = 0;
  TRY_WITH(ids == NULL && n == 0,
           pensee_model_tokenize(shared, text, PENSEE_NUL_TERMINATED, 1, &ids, &n, &error));
  CHECK(n > 5 && pensee_model_token_bytes(shared, ids[0], NULL) != NULL);
  CHECK(pensee_model_token_is_special(shared, ids[0]) == 0);
  pensee_free(ids);
}

static const char* const kQuestion = "What is 12 + 30?";

/* Controls of every kind. */
static pensee_reply_options controls(pensee_sampler_options samplers[2]) {
  static const char* const stops[2] = {"never written", "nor this"};
  pensee_reply_options options = greedy(&samplers[0], 30);
  CHECK(pensee_sampler_options_init(&samplers[1], sizeof samplers[1], PENSEE_VERSION) == PENSEE_OK);
  samplers[0].repetition_penalty = 1.05F;
  samplers[1].temperature = 0.7F;
  samplers[1].top_k = 40;
  samplers[1].has_seed = 1;
  options.answer_sampler = &samplers[1];
  options.thinking_token_budget = 12;
  options.budget_message = "That is enough.";
  options.stop = stops;
  options.n_stop = 2;
  return options;
}

static void ask(void) {
  pensee_sampler_options samplers[2];
  const pensee_reply_options options = controls(samplers);
  pensee_session* session = NULL;
  pensee_usage usage;
  CHECK(pensee_usage_init(&usage, sizeof usage, PENSEE_VERSION) == PENSEE_OK);
  start_failing();
  TRY_WITH(session == NULL, pensee_session_create(shared, NULL, &session, &error));
  TRY_WITH(pensee_session_message_count(session) == 0 && !pensee_session_is_replying(session),
           pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  came_out(lent(pensee_session_thought_text, session));
  came_out(lent(pensee_session_answer_text, session));
  CHECK(pensee_session_thought_end(session) == PENSEE_THOUGHT_END_BUDGET);
  CHECK(pensee_session_answer_end(session) != PENSEE_ANSWER_END_NONE);
  TRY(pensee_session_get_usage(session, &usage, &error));
  CHECK(usage.thought_tokens >= 12);
  CHECK(pensee_session_message_count(session) == 2);
  pensee_session_destroy(session);
}

static int32_t ignore_event(void* user_data, const pensee_event* event) {
  ++*(int*)user_data;
  CHECK(event->text != NULL);
  return 0;
}

/* A reply in its parts. An error of a step ends it, so it is begun again as a whole. */
static pensee_status in_parts(pensee_session* session, pensee_error** error) {
  pensee_sampler_options samplers[2];
  const pensee_reply_options options = controls(samplers);
  pensee_event event;
  int events = 0;
  pensee_status status = pensee_session_start(session, &options, error);
  if (status == PENSEE_OK) status = pensee_session_prefill(session, error);
  CHECK(pensee_event_init(&event, sizeof event, PENSEE_VERSION) == PENSEE_OK);
  if (status == PENSEE_OK) status = pensee_session_step(session, &event, error);
  if (status == PENSEE_OK) status = pensee_session_think(session, error);
  if (status == PENSEE_OK) status = pensee_session_run(session, ignore_event, &events, error);
  CHECK(status != PENSEE_OK || events > 2);
  CHECK(!pensee_session_is_replying(session));
  return status;
}

static pensee_status from_text(pensee_session* session, pensee_error** error) {
  pensee_sampler_options sampler;
  const pensee_reply_options options = greedy(&sampler, 5);
  pensee_status status = pensee_session_start_text(session, "2+2=", 4, &options, error);
  if (status == PENSEE_OK) status = pensee_session_answer(session, error);
  CHECK(!pensee_session_is_replying(session));
  return status;
}

static void parts(void) {
  pensee_session* session = NULL;
  const float* logits = NULL;
  size_t n_logits = 0;
  MUST(pensee_session_create(shared, NULL, &session, &error));
  start_failing();
  TRY_WITH(pensee_session_message_count(session) == 0,
           pensee_session_add_message(session, PENSEE_ROLE_SYSTEM, "Be brief and polite, always.",
                                      PENSEE_NUL_TERMINATED, &error));
  TRY_WITH(pensee_session_message_count(session) == 1,
           pensee_session_add_message(session, PENSEE_ROLE_USER, kQuestion, PENSEE_NUL_TERMINATED,
                                      &error));
  TRY_WITH(pensee_session_message_count(session) == 2, in_parts(session, &error));
  CHECK(pensee_session_message_count(session) == 3);
  came_out(lent(pensee_session_answer_text, session));
  TRY(pensee_session_logits(session, &logits, &n_logits, &error));
  CHECK(n_logits == 640);
  TRY_WITH(pensee_session_message_count(session) == 3, from_text(session, &error));
  came_out(lent(pensee_session_answer_text, session));
  pensee_session_destroy(session);
}

/* Starts both, and steps them together. */
static pensee_status together(pensee_session* a, pensee_session* b, pensee_error** error) {
  pensee_sampler_options sampler;
  const pensee_reply_options options = greedy(&sampler, 5);
  pensee_session* sessions[2];
  pensee_event events[2];
  pensee_event* outs[2];
  pensee_status statuses[2];
  pensee_status status = PENSEE_OK;
  int i;
  sessions[0] = a;
  sessions[1] = b;
  for (i = 0; i < 2 && status == PENSEE_OK; ++i) {
    CHECK(pensee_event_init(&events[i], sizeof events[i], PENSEE_VERSION) == PENSEE_OK);
    outs[i] = &events[i];
    status = pensee_session_rewind(sessions[i], 0, error);
    if (status == PENSEE_OK)
      status = pensee_session_add_message(sessions[i], PENSEE_ROLE_USER, "1+1?", 4, error);
    if (status == PENSEE_OK) status = pensee_session_start(sessions[i], &options, error);
  }
  for (i = 0; i < 3 && status == PENSEE_OK; ++i) {
    statuses[0] = statuses[1] = PENSEE_OK;
    status = pensee_session_step_many(sessions, 2, outs, statuses, error);
    CHECK(status == PENSEE_OK || statuses[0] == status || statuses[1] == status);
  }
  CHECK(status != PENSEE_OK || events[0].token == events[1].token);
  CHECK(pensee_session_reset(a, NULL) == PENSEE_OK); /* needs no memory */
  CHECK(pensee_session_reset(b, NULL) == PENSEE_OK);
  return status;
}

/* What copies a session. */
static void copies(void) {
  pensee_sampler_options samplers[2];
  const pensee_reply_options options = controls(samplers);
  pensee_session* session = NULL;
  pensee_session* fork_of_it = NULL;
  pensee_session* restored = NULL;
  pensee_session* read = NULL;
  void* data = NULL;
  size_t size = 0;
  MUST(pensee_session_create(shared, NULL, &session, &error));
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  start_failing();
  TRY_WITH(fork_of_it == NULL, pensee_session_fork(session, &fork_of_it, &error));
  TRY(pensee_session_reseed(fork_of_it, 7, &error));
  TRY_WITH(data == NULL && size == 0, pensee_session_save(session, &data, &size, &error));
  TRY_WITH(restored == NULL, pensee_session_restore(shared, data, size, NULL, &restored, &error));
  TRY_WITH(access(save_path, F_OK) != 0, pensee_session_save_file(session, save_path, &error));
  TRY_WITH(read == NULL, pensee_session_restore_file(shared, save_path, NULL, &read, &error));
  CHECK(pensee_session_message_count(read) == 2);
  TRY_WITH(pensee_session_message_count(restored) == 2,
           pensee_session_ask(restored, "And 5 + 5?", PENSEE_NUL_TERMINATED, &options, &error));
  came_out(lent(pensee_session_thought_text, restored));
  TRY(together(session, fork_of_it, &error));
  pensee_free(data);
  remove(save_path);
  pensee_session_destroy(session);
  pensee_session_destroy(fork_of_it);
  pensee_session_destroy(restored);
  pensee_session_destroy(read);
}

/* A vote from the start, with a thought of the past in its prompt and a form for the answers. */
static pensee_status voted(pensee_session* session, pensee_error** error) {
  pensee_sampler_options sampler;
  pensee_reply_options options = greedy(&sampler, 40);
  pensee_vote* vote = NULL;
  pensee_status status = pensee_session_add_answer(session, "So it is.", 9, "42", 2, error);
  options.thinking = PENSEE_THINKING_OFF;
  options.history = PENSEE_HISTORY_KEEP;
  options.answer_grammar = "root ::= \"\\\\boxed{\" [1-9] [0-9] \"}\"";
  if (status == PENSEE_OK)
    status = pensee_session_add_message(session, PENSEE_ROLE_USER, "1+1?", 4, error);
  if (status == PENSEE_OK) status = pensee_session_start(session, &options, error);
  if (status == PENSEE_OK) status = pensee_session_vote(session, 2, 5, NULL, NULL, &vote, error);
  CHECK((status == PENSEE_OK) == (vote != NULL));
  if (status == PENSEE_OK) {
    CHECK(pensee_session_message_count(session) == 3);
    CHECK(strlen(pensee_vote_winner(vote, NULL, NULL)) == 2);
    came_out(pensee_vote_winner(vote, NULL, NULL));
  } else {
    CHECK(pensee_session_reset(session, NULL) == PENSEE_OK);
  }
  pensee_vote_destroy(vote);
  return status;
}

static void votes(void) {
  pensee_session* session = NULL;
  MUST(pensee_session_create(shared, NULL, &session, &error));
  start_failing();
  TRY_WITH(pensee_session_message_count(session) == 0, voted(session, &error));
  came_out(lent(pensee_session_answer_text, session));
  pensee_session_destroy(session);
}

static const struct {
  const char* name;
  void (*run)(void);
  int loads; /* its own model */
} scenarios[] = {{"load", load, 1},     {"load_buffers", load_buffers, 1},
                 {"errors", errors, 1}, {"estimate", estimate, 1},
                 {"tokens", tokens, 0}, {"ask", ask, 0},
                 {"parts", parts, 0},   {"copies", copies, 0},
                 {"votes", votes, 0}};
enum { kScenarios = sizeof scenarios / sizeof scenarios[0] };

/* Runs a scenario with a failure. Returns whether there was one. */
static int run_failing(size_t scenario, long number, int later) {
  failing_allocation = number;
  and_later = later;
  scenarios[scenario].run();
  return stop_failing() > 0;
}

/* What a child process does: the failure; nothing; the failure again, which must leave no block
 * behind. */
enum { kPassed = 0, kWrong = 1, kNoFailure = 3 };
static int try_failure(size_t scenario, long number, int later) {
  char expected[sizeof outcome];
  char found[sizeof outcome];
  long live;
  int failed;
  failures = 0; /* those of the parent process */
  failed = run_failing(scenario, number, later);
  strcpy(found, outcome);
  CHECK(!run_failing(scenario, 0, 0));
  strcpy(expected, outcome);
  CHECK(strcmp(found, expected) == 0);
  if (failed) {
    live = live_blocks();
    run_failing(scenario, number, later);
    CHECK(strcmp(outcome, expected) == 0);
    if (live_blocks() != live) {
      ++failures;
      fprintf(stderr, "%ld blocks leaked\n", live_blocks() - live);
    }
  }
  if (failures > 0) return kWrong;
  return failed ? kPassed : kNoFailure;
}

/* The same in a child process. */
static int try_failure_apart(size_t scenario, long number, int later) {
  int status = 0;
  const pid_t child = fork();
  if (child < 0) exit(2);
  if (child == 0) _exit(try_failure(scenario, number, later));
  if (waitpid(child, &status, 0) != child) exit(2);
  if (WIFEXITED(status) && WEXITSTATUS(status) != kWrong) return WEXITSTATUS(status);
  ++failures;
  fprintf(stderr, "%s: allocation %ld%s: %s %d\n", scenarios[scenario].name, number,
          later ? " and later" : "", WIFEXITED(status) ? "exit code" : "killed by signal",
          WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
  return kWrong;
}

/* Lets allocation after allocation fail, until there are none left. */
static void run_scenario(size_t scenario, int all) {
  long number = 1;
  long tried = 0;
  enum { kEachOfFirst = 10, kMostFailures = 20 };
  for (;;) {
    /* Of the sample, every other one fails alone. */
    const int first = all ? 0 : tried % 2 == 1;
    int mode;
    for (mode = first; mode <= (all ? 1 : first); ++mode) {
      if (try_failure_apart(scenario, number, mode) == kNoFailure) {
        printf("%s: %ld of %ld allocations\n", scenarios[scenario].name, tried, number - 1);
        return;
      }
      if (failures >= kMostFailures) return;
    }
    ++tried;
    number += all ? 1 : 1 + number / kEachOfFirst;
  }
}

static void read_files(void) {
  static const char* const names[5] = {"config.json", "generation_config.json", "tokenizer.json",
                                       "tokenizer_config.json", "model.safetensors"};
  size_t i;
  for (i = 0; i < 5; ++i) files[i] = read_file(model_path, names[i]);
}

int main(int argc, char** argv) {
  size_t i;
  if (argc < 3) return 2;
  model_path = argv[1];
  snprintf(save_path, sizeof save_path, "%s/saved_without_memory", argv[2]);
  remove(save_path);
  read_files();
  pensee_model_destroy(load_tiny(model_path, 1));
  for (i = 0; i < kScenarios && failures == 0; ++i) {
    if (argc == 6 && strcmp(argv[3], scenarios[i].name) != 0) continue;
    if (!scenarios[i].loads) shared = load_tiny(model_path, 1);
    if (argc == 6) return try_failure(i, atol(argv[4]), atoi(argv[5]));
    run_scenario(i, argc == 4 && strcmp(argv[3], "all") == 0);
    pensee_model_destroy(shared);
    shared = NULL;
  }
  for (i = 0; i < 5; ++i) free((void*)files[i].data);
  return failures == 0 ? 0 : 1;
}
