/* 03 own threads and cancel: the host's threads, and replies that are cut short from outside.
 *
 *   03_own_threads_and_cancel [MODEL]
 *
 * Two threads, each with a session of its own, share one model, which any thread may use. When the
 * main thread has waited enough, it ends the thought of the first, which then answers, and cancels
 * the second, which ends with what it has. */
#include <pensee.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>

enum { WORKERS = 2, ENOUGH = 60 /* tokens */ };
static const char* const questions[WORKERS] = {"What is 57 * 84 - 9?", "What is 17 * 24 + 9?"};

typedef struct {
  pensee_session* session;
  pthread_t thread;
  sem_t has_thought; /* raised when it has thought enough, or has failed */
  int tokens;
  pensee_error* error; /* errors belong to no thread */
} worker;

/* Called on the worker's own thread, with each event. */
static int32_t count(void* data, const pensee_event* event) {
  worker* w = data;
  if (event->kind == PENSEE_EVENT_TOKEN && ++w->tokens == ENOUGH) sem_post(&w->has_thought);
  return 0; /* anything else would cancel the reply too */
}

static void* work(void* data) {
  worker* w = data;
  pensee_session_run(w->session, count, w, &w->error);
  sem_post(&w->has_thought);
  return NULL;
}

/* A session with a question, ready to be run. */
static pensee_status prepare(worker* w, const pensee_model* model, const char* question) {
  pensee_reply_options options;
  pensee_status status = pensee_session_create(model, NULL, &w->session, &w->error);
  if (status == PENSEE_OK) {
    status = pensee_session_add_message(w->session, PENSEE_ROLE_USER, question,
                                        PENSEE_NUL_TERMINATED, &w->error);
  }
  /* A thought that would go on and on: whenever the model closes it, the engine writes "Wait". */
  pensee_reply_options_init(&options, sizeof options, PENSEE_VERSION);
  options.min_thought_tokens = 1000000;
  if (status == PENSEE_OK) status = pensee_session_start(w->session, &options, &w->error);
  return status;
}

static void talk(worker* workers) {
  int i;
  for (i = 0; i < WORKERS; ++i) pthread_create(&workers[i].thread, NULL, work, &workers[i]);
  for (i = 0; i < WORKERS; ++i) sem_wait(&workers[i].has_thought);

  /* These two may come from any thread, and from signal handlers: Ctrl-C can end a thought. */
  pensee_session_end_thinking(workers[0].session);
  pensee_session_cancel(workers[1].session);

  for (i = 0; i < WORKERS; ++i) pthread_join(workers[i].thread, NULL);
}

static void print(const char* question, const pensee_session* session) {
  printf("== %s\nthought (%s): %s\nanswer (%s): %s\n\n", question,
         pensee_thought_end_string(pensee_session_thought_end(session)),
         pensee_session_thought_text(session, NULL),
         pensee_answer_end_string(pensee_session_answer_end(session)),
         pensee_session_answer_text(session, NULL));
}

int main(int argc, char** argv) {
  worker workers[WORKERS] = {0};
  pensee_load_options load;
  pensee_model* model = NULL;
  pensee_error* error = NULL;
  int i, failed;

  pensee_load_options_init(&load, sizeof load, PENSEE_VERSION);
  load.n_threads = 1; /* the caller's: the model has none of its own */
  pensee_model_load(argc > 1 ? argv[1] : "examples/tiny_r1/model", &load, &model, &error);
  failed = error != NULL;
  for (i = 0; i < WORKERS; ++i) {
    sem_init(&workers[i].has_thought, 0, 0);
    if (!failed) failed = prepare(&workers[i], model, questions[i]) != PENSEE_OK;
  }
  /* The sessions hold the model as long as they need it. */
  pensee_model_destroy(model);

  if (!failed) talk(workers);
  fputs(pensee_error_message(error), stderr); /* nothing if there is none */
  pensee_error_destroy(error);
  for (i = 0; i < WORKERS; ++i) {
    if (workers[i].error != NULL) failed = 1;
    fputs(pensee_error_message(workers[i].error), stderr);
    if (!failed) print(questions[i], workers[i].session);
    pensee_error_destroy(workers[i].error);
    pensee_session_destroy(workers[i].session);
    sem_destroy(&workers[i].has_thought);
  }
  return failed;
}
