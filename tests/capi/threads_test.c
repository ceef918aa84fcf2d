/* One model, two threads; cancel and end_thinking from another thread. threads_test MODEL */
#include <pthread.h>
#include <stdatomic.h>

#include "check.h"

enum { kReplies = 5, kTokens = 2048 };
static const char* const kQuestions[2] = {"What is 12 + 30?", "What is 45 - 17?"};

typedef struct {
  const pensee_model* model;
  const char* question;
  int32_t tokens[kReplies * kTokens];
  size_t n_tokens;
  pensee_status status;
} talk;

/* Asks the same again and again, and keeps all tokens. */
static void* run_talk(void* data) {
  talk* t = data;
  pensee_session* session = NULL;
  pensee_sampler_options sampler;
  const pensee_reply_options options = greedy(&sampler, 300);
  int i;
  t->status = pensee_session_create(t->model, NULL, &session, NULL);
  for (i = 0; i < kReplies && t->status == PENSEE_OK; ++i) {
    const int32_t* tokens;
    size_t n = 0;
    t->status = pensee_session_reset(session, NULL);
    if (t->status != PENSEE_OK) break;
    t->status = pensee_session_ask(session, t->question, PENSEE_NUL_TERMINATED, &options, NULL);
    tokens = pensee_session_tokens(session, &n);
    memcpy(t->tokens + t->n_tokens, tokens, n * sizeof *tokens);
    t->n_tokens += n;
  }
  pensee_session_destroy(session);
  return NULL;
}

static void side_by_side(const pensee_model* model) {
  static talk alone[2];
  static talk together[2];
  pthread_t threads[2];
  int i;
  for (i = 0; i < 2; ++i) {
    alone[i].model = together[i].model = model;
    alone[i].question = together[i].question = kQuestions[i];
    run_talk(&alone[i]);
  }
  for (i = 0; i < 2; ++i) {
    if (pthread_create(&threads[i], NULL, run_talk, &together[i]) != 0) exit(1);
  }
  for (i = 0; i < 2; ++i) {
    pthread_join(threads[i], NULL);
    CHECK(alone[i].status == PENSEE_OK && together[i].status == PENSEE_OK);
    CHECK(alone[i].n_tokens > 50 && alone[i].n_tokens == together[i].n_tokens);
    CHECK(memcmp(alone[i].tokens, together[i].tokens, alone[i].n_tokens * sizeof(int32_t)) == 0);
  }
}

typedef struct {
  pensee_session* session;
  void (*act)(pensee_session*);
  atomic_int phase; /* of the reply: the thread acts when it is reached */
  int act_in;
} watcher;

static void* watch(void* data) {
  watcher* w = data;
  while (atomic_load(&w->phase) < w->act_in) {
  }
  w->act(w->session);
  atomic_store(&w->phase, 100);
  return NULL;
}

enum { kInPrompt = 1, kInThought = 2 };

/* Waits for the other thread to have acted. */
static void reach(watcher* w, int phase) {
  if (atomic_load(&w->phase) >= phase) return;
  atomic_store(&w->phase, phase);
  while (phase == w->act_in && atomic_load(&w->phase) != 100) {
  }
}

static int32_t on_prompt(void* data, int64_t done, int64_t total) {
  if (done < total) reach(data, kInPrompt);
  return 0;
}

static int32_t on_event(void* data, const pensee_event* event) {
  if (event->phase == PENSEE_PHASE_THOUGHT) reach(data, kInThought);
  return 0;
}

/* A reply to a long question, in which another thread acts once. */
static pensee_session* interrupted(const pensee_model* model, int act_in,
                                   void (*act)(pensee_session*)) {
  pensee_session_options room;
  pensee_session* session = NULL;
  pensee_sampler_options sampler;
  pensee_reply_options options = greedy(&sampler, 600);
  watcher w;
  pthread_t thread;
  CHECK(pensee_session_options_init(&room, sizeof room, PENSEE_VERSION) == PENSEE_OK);
  room.prefill_chunk = 4;
  MUST(pensee_session_create(model, &room, &session, &error));
  MUST(pensee_session_add_message(session, PENSEE_ROLE_USER, kQuestions[0], PENSEE_NUL_TERMINATED,
                                  &error));
  w.session = session;
  w.act = act;
  w.act_in = act_in;
  atomic_init(&w.phase, 0);
  options.prefill_progress = on_prompt;
  options.prefill_progress_user_data = &w;
  MUST(pensee_session_start(session, &options, &error));
  if (pthread_create(&thread, NULL, watch, &w) != 0) exit(1);
  MUST(pensee_session_run(session, on_event, &w, &error));
  pthread_join(thread, NULL);
  return session;
}

static void from_outside(const pensee_model* model) {
  pensee_usage usage;
  pensee_session* session = interrupted(model, kInPrompt, pensee_session_cancel);
  CHECK(pensee_usage_init(&usage, sizeof usage, PENSEE_VERSION) == PENSEE_OK);
  CHECK(pensee_session_answer_end(session) == PENSEE_ANSWER_END_CANCELLED);
  MUST(pensee_session_get_usage(session, &usage, &error));
  CHECK(usage.thought_tokens == 0);
  pensee_session_destroy(session);

  session = interrupted(model, kInThought, pensee_session_cancel);
  CHECK(pensee_session_answer_end(session) == PENSEE_ANSWER_END_CANCELLED);
  MUST(pensee_session_get_usage(session, &usage, &error));
  CHECK(usage.thought_tokens >= 1 && usage.thought_tokens <= 2);
  pensee_session_destroy(session);

  session = interrupted(model, kInThought, pensee_session_end_thinking);
  CHECK(pensee_session_thought_end(session) == PENSEE_THOUGHT_END_STOPPED);
  CHECK(pensee_session_answer_end(session) != PENSEE_ANSWER_END_CANCELLED);
  pensee_session_destroy(session);
}

int main(int argc, char** argv) {
  pensee_model* model;
  int32_t n_threads;
  if (argc < 2) return 2;
  for (n_threads = 1; n_threads <= 2; ++n_threads) {
    model = load_tiny(argv[1], n_threads);
    side_by_side(model);
    from_outside(model);
    pensee_model_destroy(model);
  }
  return failures == 0 ? 0 : 1;
}
