/* Sessions in one thread: whole replies, parts, steps, errors, order of destruction, saving.
 * sessions_test MODEL FOLDER */
#include "check.h"

static const char* const kQuestion = "What is 12 + 30?";

static void add_question(pensee_session* session) {
  MUST(pensee_session_add_message(session, PENSEE_ROLE_USER, kQuestion, PENSEE_NUL_TERMINATED,
                                  &error));
}

typedef struct {
  char thought[8192];
  char answer[8192];
  int events;
  int dones;
  int cancel_after; /* events; 0: never */
} collected;

static void append(char* text, size_t room, const pensee_event* event) {
  const size_t used = strlen(text);
  CHECK(strlen(event->text) == event->text_size);
  if (used + event->text_size < room) strcat(text, event->text);
}

static int32_t collect(void* user_data, const pensee_event* event) {
  collected* all = user_data;
  ++all->events;
  if (event->kind == PENSEE_EVENT_DONE) ++all->dones;
  if (event->phase == PENSEE_PHASE_THOUGHT) append(all->thought, sizeof all->thought, event);
  if (event->phase == PENSEE_PHASE_ANSWER) append(all->answer, sizeof all->answer, event);
  if (event->token != PENSEE_NO_TOKEN) CHECK(event->log_prob <= 0);
  return all->cancel_after != 0 && all->events >= all->cancel_after;
}

/* Whether the events' texts are the reply's, but for white space at the ends. */
static int holds(const char* text, const char* trimmed) {
  const char* at = strstr(text, trimmed);
  return at != NULL && strspn(text, " \n") == (size_t)(at - text);
}

static void whole_replies(const pensee_model* model) {
  pensee_sampler_options sampler;
  const pensee_reply_options options = greedy(&sampler, 400);
  pensee_session* whole = new_session(model);
  pensee_session* parts = new_session(model);
  pensee_session* steps = new_session(model);
  pensee_session* events = new_session(model);
  pensee_usage usage;
  pensee_event event;
  static collected all;
  size_t size = 0;
  int n_events = 0;

  CHECK(strcmp(pensee_session_thought_text(whole, &size), "") == 0 && size == 0);
  CHECK(pensee_session_answer_end(whole) == PENSEE_ANSWER_END_NONE);
  MUST(pensee_session_ask(whole, kQuestion, strlen(kQuestion), &options, &error));
  CHECK(strstr(pensee_session_answer_text(whole, &size), "\\boxed{42}") != NULL);
  CHECK(size == strlen(pensee_session_answer_text(whole, NULL)));
  CHECK(strlen(pensee_session_thought_text(whole, NULL)) > 10);
  CHECK(pensee_session_thought_end(whole) == PENSEE_THOUGHT_END_CLOSED);
  CHECK(pensee_session_answer_end(whole) == PENSEE_ANSWER_END_COMPLETE);
  CHECK(pensee_session_is_replying(whole) == 0);
  CHECK(pensee_session_message_count(whole) == 2);

  CHECK(pensee_usage_init(&usage, sizeof usage, PENSEE_VERSION) == PENSEE_OK);
  MUST(pensee_session_get_usage(whole, &usage, &error));
  CHECK(usage.prompt_tokens > 5 && usage.thought_tokens > 10 && usage.answer_tokens > 3);
  CHECK(usage.prefill_seconds > 0 && usage.thought_seconds > 0 && usage.answer_seconds > 0);
  pensee_session_tokens(whole, &size);
  CHECK((int64_t)size ==
        usage.prompt_tokens + usage.thought_tokens + usage.answer_tokens + usage.control_tokens);

  add_question(parts);
  MUST(pensee_session_start(parts, &options, &error));
  CHECK(pensee_session_is_replying(parts) == 1);
  MUST(pensee_session_prefill(parts, &error));
  MUST(pensee_session_think(parts, &error));
  CHECK(strcmp(pensee_session_thought_text(parts, NULL),
               pensee_session_thought_text(whole, NULL)) == 0);
  CHECK(strcmp(pensee_session_answer_text(parts, NULL), "") == 0);
  EXPECT(PENSEE_ERROR_WRONG_STATE, "think", pensee_session_think(parts, &error));
  MUST(pensee_session_answer(parts, &error));
  CHECK(strcmp(pensee_session_answer_text(parts, NULL), pensee_session_answer_text(whole, NULL)) ==
        0);

  add_question(steps);
  MUST(pensee_session_start(steps, &options, &error));
  CHECK(pensee_event_init(&event, sizeof event, PENSEE_VERSION) == PENSEE_OK);
  do {
    MUST(pensee_session_step(steps, &event, &error));
    ++n_events;
  } while (event.kind != PENSEE_EVENT_DONE);
  CHECK(strcmp(pensee_session_answer_text(steps, NULL), pensee_session_answer_text(whole, NULL)) ==
        0);
  EXPECT(PENSEE_ERROR_WRONG_STATE, "step", pensee_session_step(steps, &event, &error));

  add_question(events);
  MUST(pensee_session_start(events, &options, &error));
  MUST(pensee_session_run(events, collect, &all, &error));
  CHECK(all.events == n_events && all.dones == 1);
  CHECK(holds(all.thought, pensee_session_thought_text(whole, NULL)));
  CHECK(holds(all.answer, pensee_session_answer_text(whole, NULL)));

  pensee_session_destroy(whole);
  pensee_session_destroy(parts);
  pensee_session_destroy(steps);
  pensee_session_destroy(events);
}

static int32_t refuse_prompt(void* user_data, int64_t done, int64_t total) {
  CHECK(done <= total);
  ++*(int*)user_data;
  return 1;
}

static void controls(const pensee_model* model) {
  pensee_sampler_options sampler;
  pensee_reply_options options = greedy(&sampler, 400);
  pensee_session* session = new_session(model);
  const char* stops[2] = {"nowhere", "boxed"};
  const char* no_stop[1] = {NULL};
  static collected all;
  int calls = 0;

  options.thinking = PENSEE_THINKING_OFF;
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  CHECK(pensee_session_thought_end(session) == PENSEE_THOUGHT_END_SKIPPED);
  options.thinking = PENSEE_THINKING_ON;
  options.thinking_token_budget = 5;
  options.budget_message = " Enough.";
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  CHECK(pensee_session_thought_end(session) == PENSEE_THOUGHT_END_BUDGET);
  CHECK(strstr(pensee_session_thought_text(session, NULL), "Enough.") != NULL);
  options.thinking_token_budget = PENSEE_NO_CAP;
  options.stop = stops;
  options.n_stop = 2;
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  CHECK(pensee_session_answer_end(session) == PENSEE_ANSWER_END_STOP_STRING);
  CHECK(strstr(pensee_session_answer_text(session, NULL), "boxed") == NULL);
  options.n_stop = 0;
  options.max_answer_tokens = 1;
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  CHECK(pensee_session_answer_end(session) == PENSEE_ANSWER_END_LENGTH);
  options = greedy(&sampler, 400);
  options.prefill_progress = refuse_prompt;
  options.prefill_progress_user_data = &calls;
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  CHECK(calls == 1);
  CHECK(pensee_session_answer_end(session) == PENSEE_ANSWER_END_CANCELLED);
  options.prefill_progress = NULL;
  add_question(session);
  MUST(pensee_session_start(session, &options, &error));
  all.cancel_after = 3;
  MUST(pensee_session_run(session, collect, &all, &error));
  CHECK(all.dones == 1);
  CHECK(pensee_session_answer_end(session) == PENSEE_ANSWER_END_CANCELLED);

  MUST(pensee_session_reset(session, &error));
  add_question(session);
  options.thinking = 3;
  EXPECT(INVALID, "thinking", pensee_session_start(session, &options, &error));
  options = greedy(&sampler, 400);
  options.thinking_token_budget = -2;
  EXPECT(INVALID, "thinking_token_budget", pensee_session_start(session, &options, &error));
  options = greedy(&sampler, 400);
  options.n_stop = 1;
  EXPECT(INVALID, "stop", pensee_session_start(session, &options, &error));
  options.stop = no_stop;
  EXPECT(INVALID, "stop", pensee_session_start(session, &options, &error));
  options.stop = stops;
  options.n_stop = SIZE_MAX;
  EXPECT(INVALID, "stop", pensee_session_start(session, &options, &error));
  options = greedy(&sampler, 400);
  sampler.top_p = 2;
  EXPECT(INVALID, "top_p", pensee_session_start(session, &options, &error));
  sampler.struct_size = 2;
  EXPECT(INVALID, "pensee_sampler_options", pensee_session_start(session, &options, &error));
  options = greedy(&sampler, 400);
  options.budget_message = "\xFF";
  EXPECT(INVALID, "budget_message", pensee_session_start(session, &options, &error));
  CHECK(pensee_session_is_replying(session) == 0);
  CHECK(pensee_session_message_count(session) == 1);
  pensee_session_destroy(session);
}

static void forms(const pensee_model* model) {
  pensee_sampler_options sampler;
  pensee_reply_options options = greedy(&sampler, 400);
  pensee_session* session = new_session(model);
  options.answer_grammar = "root ::= \"= \" [0-9]{2} \".\"";
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  CHECK(pensee_session_answer_end(session) == PENSEE_ANSWER_END_COMPLETE);
  CHECK(pensee_session_thought_end(session) == PENSEE_THOUGHT_END_CLOSED);
  CHECK(strncmp(pensee_session_answer_text(session, NULL), "= ", 2) == 0);
  CHECK(strlen(pensee_session_answer_text(session, NULL)) == 5);
  MUST(pensee_session_reset(session, &error));
  options.answer_grammar = "";
  options.answer_json_schema = "{\"enum\": [\"so\", {\"a\": null}]}";
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  CHECK(pensee_session_answer_end(session) == PENSEE_ANSWER_END_COMPLETE);
  CHECK(strcmp(pensee_session_answer_text(session, NULL), "\"so\"") == 0 ||
        strcmp(pensee_session_answer_text(session, NULL), "{\"a\":null}") == 0);
  add_question(session);
  options.answer_grammar = "root ::= x";
  EXPECT(INVALID, "answer_json_schema", pensee_session_start(session, &options, &error));
  options.answer_json_schema = NULL;
  EXPECT(INVALID, "answer_grammar: no rule x", pensee_session_start(session, &options, &error));
  options.answer_grammar = NULL;
  options.answer_json_schema = "{\"not\": true}";
  EXPECT(PENSEE_ERROR_UNSUPPORTED, "\"not\"", pensee_session_start(session, &options, &error));
  pensee_session_destroy(session);
}

static void thoughts_of_the_past(const pensee_model* model) {
  pensee_sampler_options sampler;
  pensee_reply_options options = greedy(&sampler, 400);
  pensee_session* session = new_session(model);
  pensee_usage usage;
  size_t size = 0;
  size_t n_tokens = 0;
  options.history = PENSEE_HISTORY_KEEP;
  CHECK(pensee_usage_init(&usage, sizeof usage, PENSEE_VERSION) == PENSEE_OK);
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  CHECK(strcmp(pensee_session_message_thought(session, 1, &size),
               pensee_session_thought_text(session, NULL)) == 0);
  CHECK(size > 0 && size == strlen(pensee_session_message_thought(session, 1, NULL)));
  CHECK(strcmp(pensee_session_message_thought(session, 0, &size), "") == 0 && size == 0);
  CHECK(pensee_session_message_thought(session, 2, &size) == NULL && size == 0);
  CHECK(pensee_session_message_thought(NULL, 0, &size) == NULL);
  CHECK(pensee_session_tokens(session, &n_tokens) != NULL);
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  MUST(pensee_session_get_usage(session, &usage, &error));
  CHECK(usage.cached_tokens + 1 >= (int64_t)n_tokens);
  MUST(pensee_session_reset(session, &error));
  MUST(pensee_session_add_answer(session, "so", PENSEE_NUL_TERMINATED, "42", 2, &error));
  CHECK(strcmp(pensee_session_message_thought(session, 0, NULL), "so") == 0);
  CHECK(strcmp(pensee_session_message(session, 0, NULL, NULL), "42") == 0);
  MUST(pensee_session_add_answer(session, NULL, 0, "43", 2, &error));
  CHECK(strcmp(pensee_session_message_thought(session, 1, NULL), "") == 0);
  EXPECT(INVALID, "thought", pensee_session_add_answer(session, "\xFF", 1, "42", 2, &error));
  EXPECT(INVALID, "text", pensee_session_add_answer(session, "", 0, NULL, 2, &error));
  EXPECT(INVALID, "session", pensee_session_add_answer(NULL, "", 0, "42", 2, &error));
  add_question(session);
  options.history = 2;
  EXPECT(INVALID, "history", pensee_session_start(session, &options, &error));
  pensee_session_destroy(session);
}

static void stop_in_thought(const pensee_model* model) {
  static const char* const kStop[] = {"+"};
  pensee_sampler_options sampler;
  pensee_reply_options options = greedy(&sampler, 400);
  pensee_session* session = new_session(model);
  options.stop = kStop;
  options.n_stop = 1;
  options.stop_in_thought = 1;
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  CHECK(pensee_session_thought_end(session) == PENSEE_THOUGHT_END_STOPPED);
  CHECK(pensee_session_answer_end(session) == PENSEE_ANSWER_END_STOP_STRING);
  CHECK(strchr(pensee_session_thought_text(session, NULL), '+') == NULL);
  pensee_session_destroy(session);
}

static int32_t stop_voting(void* calls, int32_t done, int32_t n_voters) {
  CHECK(n_voters == 2 && done >= 0 && done <= 2);
  return ++*(int*)calls == 5;
}

/* The account of every voter of a greedy vote is that of the session, which goes on as one. */
static void accounts(const pensee_session* session, const pensee_vote* vote) {
  pensee_usage usage;
  pensee_usage own;
  int32_t i = 0;
  CHECK(pensee_usage_init(&own, sizeof own, PENSEE_VERSION) == PENSEE_OK);
  MUST(pensee_session_get_usage(session, &own, &error));
  for (i = 0; i < pensee_vote_voter_count(vote); ++i) {
    CHECK(pensee_usage_init(&usage, sizeof usage, PENSEE_VERSION) == PENSEE_OK);
    MUST(pensee_vote_get_usage(vote, i, &usage, &error));
    CHECK(usage.struct_size == sizeof usage);
    CHECK(usage.prompt_tokens == own.prompt_tokens && usage.prompt_tokens > 0);
    CHECK(usage.thought_tokens == own.thought_tokens && usage.thought_tokens > 0);
    CHECK(usage.answer_tokens == own.answer_tokens && usage.answer_tokens > 0);
    CHECK(pensee_vote_thought_end(vote, i) == PENSEE_THOUGHT_END_CLOSED);
    CHECK(pensee_vote_answer_end(vote, i) == PENSEE_ANSWER_END_COMPLETE);
  }
  CHECK(pensee_vote_thought_end(vote, i) == PENSEE_THOUGHT_END_NONE);
  CHECK(pensee_vote_answer_end(vote, -1) == PENSEE_ANSWER_END_NONE);
  EXPECT(INVALID, "found 3", pensee_vote_get_usage(vote, i, &usage, &error));
  EXPECT(INVALID, "found -1", pensee_vote_get_usage(vote, -1, &usage, &error));
  EXPECT(INVALID, "vote", pensee_vote_get_usage(NULL, 0, &usage, &error));
  EXPECT(INVALID, "usage", pensee_vote_get_usage(vote, 0, NULL, &error));
  own.struct_size = 0;
  EXPECT(INVALID, "pensee_usage", pensee_vote_get_usage(vote, 0, &own, &error));
}

static void votes(const pensee_model* model) {
  pensee_sampler_options sampler;
  const pensee_reply_options options = greedy(&sampler, 400);
  pensee_session* session = new_session(model);
  pensee_vote* vote = NULL;
  int32_t n_votes = -1;
  size_t size = 0;
  int calls = 0;
  int32_t i = 0;
  EXPECT(PENSEE_ERROR_WRONG_STATE, "start",
         pensee_session_vote(session, 3, 0, NULL, NULL, &vote, &error));
  add_question(session);
  MUST(pensee_session_start(session, &options, &error));
  EXPECT(INVALID, "voters", pensee_session_vote(session, 0, 0, NULL, NULL, &vote, &error));
  EXPECT(INVALID, "vote", pensee_session_vote(session, 3, 0, NULL, NULL, NULL, &error));
  EXPECT(INVALID, "session", pensee_session_vote(NULL, 3, 0, NULL, NULL, &vote, &error));
  CHECK(vote == NULL && pensee_session_is_replying(session) == 1);
  MUST(pensee_session_vote(session, 3, 0, NULL, NULL, &vote, &error));
  CHECK(pensee_session_is_replying(session) == 0);
  CHECK(strlen(pensee_vote_winner(vote, &n_votes, &size)) > 0 && n_votes == 3);
  CHECK(pensee_vote_voter_count(vote) == 3);
  for (i = 0; i < 3; ++i) { /* greedy: all alike */
    CHECK(strcmp(pensee_vote_choice(vote, i, &size), pensee_vote_winner(vote, NULL, NULL)) == 0);
    CHECK(size == strlen(pensee_vote_winner(vote, NULL, NULL)));
    CHECK(strcmp(pensee_vote_thought(vote, i, NULL), pensee_session_thought_text(session, NULL)) ==
          0);
    CHECK(strcmp(pensee_vote_answer(vote, i, NULL), pensee_session_answer_text(session, NULL)) ==
          0);
  }
  CHECK(pensee_vote_choice(vote, 3, &size) == NULL && size == 0);
  CHECK(pensee_vote_answer(vote, -1, NULL) == NULL);
  CHECK(pensee_session_message_count(session) == 2);
  accounts(session, vote);
  pensee_vote_destroy(vote);
  add_question(session);
  MUST(pensee_session_start(session, &options, &error));
  MUST(pensee_session_vote(session, 2, 0, stop_voting, &calls, &vote, &error));
  CHECK(pensee_session_answer_end(session) == PENSEE_ANSWER_END_CANCELLED);
  CHECK(pensee_vote_answer_end(vote, 1) == PENSEE_ANSWER_END_CANCELLED);
  CHECK(pensee_vote_thought_end(vote, 1) == PENSEE_THOUGHT_END_STOPPED);
  CHECK(strcmp(pensee_vote_winner(vote, &n_votes, &size), "") == 0 && n_votes == 0);
  pensee_vote_destroy(vote);
  CHECK(pensee_vote_winner(NULL, &n_votes, &size) == NULL && n_votes == 0);
  CHECK(pensee_vote_voter_count(NULL) == 0);
  CHECK(pensee_vote_thought(NULL, 0, NULL) == NULL);
  CHECK(pensee_vote_thought_end(NULL, 0) == PENSEE_THOUGHT_END_NONE);
  CHECK(pensee_vote_answer_end(NULL, 0) == PENSEE_ANSWER_END_NONE);
  pensee_vote_destroy(NULL);
  pensee_session_destroy(session);
}

static void messages(const pensee_model* model) {
  pensee_sampler_options sampler;
  const pensee_reply_options options = greedy(&sampler, 20);
  pensee_session* session = new_session(model);
  pensee_event event;
  int32_t role = -1;
  size_t size = 0;
  EXPECT(PENSEE_ERROR_WRONG_STATE, "start", pensee_session_start(session, &options, &error));
  MUST(pensee_session_add_message(session, PENSEE_ROLE_SYSTEM, "Be brief.", 8, &error));
  add_question(session);
  MUST(pensee_session_add_message(session, PENSEE_ROLE_ASSISTANT, "42", 2, &error));
  EXPECT(PENSEE_ERROR_WRONG_STATE, "user", pensee_session_start(session, &options, &error));
  CHECK(pensee_session_message_count(session) == 3);
  CHECK(strcmp(pensee_session_message(session, 0, &role, &size), "Be brief") == 0);
  CHECK(role == PENSEE_ROLE_SYSTEM && size == 8);
  CHECK(strcmp(pensee_session_message(session, 2, NULL, NULL), "42") == 0);
  CHECK(pensee_session_message(session, 3, &role, &size) == NULL && size == 0);
  EXPECT(INVALID, "role", pensee_session_add_message(session, 3, "x", 1, &error));
  EXPECT(INVALID, "role", pensee_session_add_message(session, -1, "x", 1, &error));
  EXPECT(INVALID, "text",
         pensee_session_add_message(session, PENSEE_ROLE_USER, NULL, SIZE_MAX, &error));
  EXPECT(INVALID, "UTF-8",
         pensee_session_add_message(session, PENSEE_ROLE_USER, "\xC3(", 2, &error));
  EXPECT(INVALID, "n_messages", pensee_session_rewind(session, 4, &error));
  MUST(pensee_session_rewind(session, 2, &error));
  CHECK(pensee_session_message_count(session) == 2);
  MUST(pensee_session_start(session, &options, &error));
  EXPECT(PENSEE_ERROR_WRONG_STATE, "start", pensee_session_start(session, &options, &error));
  EXPECT(PENSEE_ERROR_WRONG_STATE, "add_message",
         pensee_session_add_message(session, PENSEE_ROLE_USER, "x", 1, &error));
  EXPECT(PENSEE_ERROR_WRONG_STATE, "rewind", pensee_session_rewind(session, 0, &error));
  EXPECT(PENSEE_ERROR_WRONG_STATE, "", pensee_session_ask(session, "x", 1, &options, &error));
  CHECK(pensee_session_is_replying(session) == 1);
  MUST(pensee_session_reset(session, &error));
  CHECK(pensee_session_is_replying(session) == 0);
  CHECK(pensee_session_message_count(session) == 0);
  CHECK(pensee_event_init(&event, sizeof event, PENSEE_VERSION) == PENSEE_OK);
  EXPECT(PENSEE_ERROR_WRONG_STATE, "step", pensee_session_step(session, &event, &error));
  EXPECT(PENSEE_ERROR_WRONG_STATE, "", pensee_session_answer(session, &error));
  EXPECT(PENSEE_ERROR_WRONG_STATE, "", pensee_session_prefill(session, &error));
  EXPECT(PENSEE_ERROR_WRONG_STATE, "", pensee_session_run(session, collect, NULL, &error));
  EXPECT(INVALID, "callback", pensee_session_run(session, NULL, NULL, &error));
  EXPECT(INVALID, "event", pensee_session_step(session, NULL, &error));
  pensee_session_destroy(session);
}

static void ready_prompts(const pensee_model* model) {
  pensee_sampler_options sampler;
  const pensee_reply_options options = greedy(&sampler, 20);
  pensee_session_options small;
  pensee_session* session = NULL;
  const int32_t bad[1] = {640};
  static int32_t many[64];
  CHECK(pensee_session_options_init(&small, sizeof small, PENSEE_VERSION) == PENSEE_OK);
  small.context_length = 32;
  MUST(pensee_session_create(model, &small, &session, &error));
  CHECK(pensee_session_context_length(session) == 32);
  MUST(pensee_session_start_text(session, "2+2=", 4, &options, &error));
  MUST(pensee_session_answer(session, &error));
  CHECK(pensee_session_thought_end(session) == PENSEE_THOUGHT_END_SKIPPED);
  CHECK(pensee_session_message_count(session) == 0);
  EXPECT(INVALID, "640", pensee_session_start_tokens(session, bad, 1, &options, &error));
  EXPECT(INVALID, "tokens", pensee_session_start_tokens(session, NULL, 1, &options, &error));
  EXPECT(INVALID, "tokens", pensee_session_start_tokens(session, NULL, 0, &options, &error));
  EXPECT(PENSEE_ERROR_CONTEXT_FULL, "64",
         pensee_session_start_tokens(session, many, 64, &options, &error));
  EXPECT(INVALID, "text", pensee_session_start_text(session, NULL, 3, &options, &error));
  pensee_session_destroy(session);
  small.context_length = -1;
  EXPECT(INVALID, "context_length", pensee_session_create(model, &small, &session, &error));
  CHECK(session == NULL);
  CHECK(pensee_session_options_init(&small, sizeof small, PENSEE_VERSION) == PENSEE_OK);
  small.prefill_chunk = -1;
  EXPECT(INVALID, "chunk", pensee_session_create(model, &small, &session, &error));
}

static size_t allocated = 0;

static void* allocate(void* user_data, size_t size, size_t alignment) {
  void* memory = NULL;
  if (*(int*)user_data) return NULL;
  memory = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory != NULL) allocated += size;
  return memory;
}

static void release(void* user_data, void* memory, size_t size) {
  (void)user_data;
  allocated -= size;
  free(memory);
}

/* Guesses change no reply; a session that has none is the default. */
static void speculation(const pensee_model* model) {
  pensee_session_options options;
  pensee_sampler_options sampler;
  const pensee_reply_options reply = greedy(&sampler, 60);
  pensee_usage usage;
  pensee_session* sessions[4] = {NULL, NULL, NULL, NULL};
  size_t n[4];
  const int32_t* tokens[4];
  int k;
  CHECK(pensee_session_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
  CHECK(options.speculation == PENSEE_SPECULATION_OFF);
  CHECK(pensee_usage_init(&usage, sizeof usage, PENSEE_VERSION) == PENSEE_OK);
  for (k = 0; k < 4; ++k) {
    options.speculation = k;
    MUST(pensee_session_create(model, &options, &sessions[k], &error));
    MUST(pensee_session_ask(sessions[k], kQuestion, PENSEE_NUL_TERMINATED, &reply, &error));
    tokens[k] = pensee_session_tokens(sessions[k], &n[k]);
    MUST(pensee_session_get_usage(sessions[k], &usage, &error));
    CHECK(usage.accepted_tokens <= usage.draft_tokens && (k > 0 || usage.draft_tokens == 0));
  }
  for (k = 1; k < 4; ++k) {
    CHECK(n[0] == n[k] && memcmp(tokens[0], tokens[k], n[0] * sizeof *tokens[0]) == 0);
  }
  for (k = 0; k < 4; ++k) pensee_session_destroy(sessions[k]);
  sessions[0] = NULL;
  options.speculation = -1;
  EXPECT(INVALID, "speculation", pensee_session_create(model, &options, &sessions[0], &error));
  options.speculation = 4;
  EXPECT(INVALID, "speculation", pensee_session_create(model, &options, &sessions[0], &error));
}

static void cache_types(const pensee_model* model) {
  pensee_session_options options;
  pensee_session* session = NULL;
  pensee_sampler_options sampler;
  const pensee_reply_options reply = greedy(&sampler, 10);
  size_t sizes[3] = {0, 0, 0};
  CHECK(pensee_session_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
  CHECK(options.cache_type == PENSEE_CACHE_BF16);
  for (options.cache_type = 0; options.cache_type < 3; ++options.cache_type) {
    void* bytes = NULL;
    MUST(pensee_session_create(model, &options, &session, &error));
    MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &reply, &error));
    MUST(pensee_session_save(session, &bytes, &sizes[options.cache_type], &error));
    pensee_free(bytes);
    pensee_session_destroy(session);
  }
  CHECK(sizes[PENSEE_CACHE_Q8] < sizes[PENSEE_CACHE_BF16]);
  CHECK(sizes[PENSEE_CACHE_BF16] < sizes[PENSEE_CACHE_F32]);
  EXPECT(INVALID, "cache_type: expected PENSEE_CACHE_BF16, F32 or Q8, found 3",
         pensee_session_create(model, &options, &session, &error));
}

static void allocator(const pensee_model* model) {
  pensee_session_options options;
  pensee_session* session = NULL;
  pensee_session* fork = NULL;
  pensee_sampler_options sampler;
  const pensee_reply_options reply = greedy(&sampler, 10);
  int fail = 1;
  CHECK(pensee_session_options_init(&options, sizeof options, PENSEE_VERSION) == PENSEE_OK);
  options.allocate = allocate;
  EXPECT(INVALID, "allocator", pensee_session_create(model, &options, &session, &error));
  options.release = release;
  options.allocator_user_data = &fail;
  EXPECT(PENSEE_ERROR_OUT_OF_MEMORY, "bytes",
         pensee_session_create(model, &options, &session, &error));
  fail = 0;
  MUST(pensee_session_create(model, &options, &session, &error));
  CHECK(allocated > 100000);
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &reply, &error));
  fail = 1;
  EXPECT(PENSEE_ERROR_OUT_OF_MEMORY, "", pensee_session_fork(session, &fork, &error));
  fail = 0;
  MUST(pensee_session_fork(session, &fork, &error));
  pensee_session_destroy(session);
  pensee_session_destroy(fork);
  CHECK(allocated == 0);
}

/* Sessions hold the model; forks hold nothing of their source. */
static void any_order(const char* path) {
  pensee_sampler_options sampler;
  const pensee_reply_options options = greedy(&sampler, 30);
  pensee_model* model = load_tiny(path, 1);
  pensee_session* session = new_session(model);
  pensee_session* fork = NULL;
  char* copy;
  pensee_model_destroy(model);
  add_question(session);
  MUST(pensee_session_start(session, &options, &error));
  MUST(pensee_session_prefill(session, &error));
  MUST(pensee_session_fork(session, &fork, &error));
  MUST(pensee_session_answer(session, &error));
  copy = malloc(strlen(pensee_session_thought_text(session, NULL)) + 1);
  if (copy == NULL) exit(1);
  strcpy(copy, pensee_session_thought_text(session, NULL));
  pensee_session_destroy(session);
  MUST(pensee_session_reseed(fork, 7, &error)); /* greedy: changes nothing */
  MUST(pensee_session_answer(fork, &error));
  CHECK(strcmp(pensee_session_thought_text(fork, NULL), copy) == 0);
  free(copy);
  pensee_session_destroy(fork);
}

static void many(const pensee_model* model) {
  pensee_sampler_options sampler;
  const pensee_reply_options options = greedy(&sampler, 20);
  pensee_session* sessions[3];
  pensee_session* twice[2];
  pensee_event events[3];
  pensee_event* outs[3];
  pensee_status statuses[3];
  int i;
  for (i = 0; i < 3; ++i) {
    sessions[i] = new_session(model);
    CHECK(pensee_event_init(&events[i], sizeof events[i], PENSEE_VERSION) == PENSEE_OK);
    outs[i] = &events[i];
    if (i == 2) continue;
    add_question(sessions[i]);
    MUST(pensee_session_start(sessions[i], &options, &error));
  }
  EXPECT(PENSEE_ERROR_WRONG_STATE, "step",
         pensee_session_step_many(sessions, 3, outs, statuses, &error));
  CHECK(statuses[0] == PENSEE_OK && statuses[1] == PENSEE_OK);
  CHECK(statuses[2] == PENSEE_ERROR_WRONG_STATE);
  CHECK(events[0].token == events[1].token && events[0].token != PENSEE_NO_TOKEN);
  MUST(pensee_session_step_many(sessions, 2, outs, statuses, &error));
  MUST(pensee_session_step_many(NULL, 0, NULL, NULL, &error));
  twice[0] = twice[1] = sessions[0];
  EXPECT(INVALID, "twice", pensee_session_step_many(twice, 2, outs, statuses, &error));
  CHECK(statuses[0] == INVALID && statuses[1] == INVALID);
  twice[1] = NULL;
  EXPECT(INVALID, "", pensee_session_step_many(twice, 2, outs, statuses, &error));
  EXPECT(INVALID, "sessions", pensee_session_step_many(NULL, 2, outs, statuses, &error));
  EXPECT(INVALID, "events", pensee_session_step_many(sessions, 2, NULL, statuses, &error));
  EXPECT(INVALID, "statuses", pensee_session_step_many(sessions, 2, outs, NULL, &error));
  for (i = 0; i < 3; ++i) pensee_session_destroy(sessions[i]);
}

static void saving(const pensee_model* model, const char* folder) {
  pensee_sampler_options sampler;
  const pensee_reply_options options = greedy(&sampler, 60);
  pensee_session* session = new_session(model);
  pensee_session* restored = NULL;
  pensee_usage usage;
  void* data = NULL;
  size_t size = 0;
  char path[4096];
  const float* logits = NULL;
  size_t n_logits = 0;
  EXPECT(PENSEE_ERROR_WRONG_STATE, "logits",
         pensee_session_logits(session, &logits, &n_logits, &error));
  MUST(pensee_session_ask(session, kQuestion, PENSEE_NUL_TERMINATED, &options, &error));
  MUST(pensee_session_logits(session, &logits, &n_logits, &error));
  CHECK(logits != NULL && n_logits == 640);
  EXPECT(INVALID, "logits", pensee_session_logits(session, NULL, &n_logits, &error));
  EXPECT(INVALID, "n_logits", pensee_session_logits(session, &logits, NULL, &error));
  MUST(pensee_session_save(session, &data, &size, &error));
  MUST(pensee_session_restore(model, data, size, NULL, &restored, &error));
  MUST(pensee_session_ask(session, "And 5 + 5?", PENSEE_NUL_TERMINATED, &options, &error));
  MUST(pensee_session_ask(restored, "And 5 + 5?", PENSEE_NUL_TERMINATED, &options, &error));
  CHECK(strcmp(pensee_session_thought_text(session, NULL),
               pensee_session_thought_text(restored, NULL)) == 0);
  CHECK(pensee_usage_init(&usage, sizeof usage, PENSEE_VERSION) == PENSEE_OK);
  MUST(pensee_session_get_usage(restored, &usage, &error));
  CHECK(usage.cached_tokens > 5);
  pensee_session_destroy(restored);
  EXPECT(PENSEE_ERROR_CORRUPT_FILE, "",
         pensee_session_restore(model, data, size - 1, NULL, &restored, &error));
  CHECK(restored == NULL);
  ((unsigned char*)data)[size / 2] ^= 1;
  EXPECT(PENSEE_ERROR_CORRUPT_FILE, "",
         pensee_session_restore(model, data, size, NULL, &restored, &error));
  EXPECT(INVALID, "data", pensee_session_restore(model, NULL, 9, NULL, &restored, &error));
  EXPECT(INVALID, "model", pensee_session_restore(NULL, data, size, NULL, &restored, &error));
  EXPECT(INVALID, "session", pensee_session_restore(model, data, size, NULL, NULL, &error));
  pensee_free(data);
  snprintf(path, sizeof path, "%s/saved_session", folder);
  MUST(pensee_session_save_file(session, path, &error));
  MUST(pensee_session_restore_file(model, path, NULL, &restored, &error));
  CHECK(pensee_session_message_count(restored) == pensee_session_message_count(session));
  pensee_session_destroy(restored);
  remove(path);
  EXPECT(PENSEE_ERROR_NOT_FOUND, "saved_session",
         pensee_session_restore_file(model, path, NULL, &restored, &error));
  EXPECT(INVALID, "path", pensee_session_save_file(session, NULL, &error));
  EXPECT(INVALID, "path", pensee_session_restore_file(model, NULL, NULL, &restored, &error));
  add_question(session);
  MUST(pensee_session_start(session, &options, &error));
  EXPECT(PENSEE_ERROR_WRONG_STATE, "save", pensee_session_save(session, &data, &size, &error));
  CHECK(data == NULL && size == 0);
  pensee_session_destroy(session);
}

static void nulls(const pensee_model* model) {
  pensee_session* session = new_session(model);
  pensee_session* none = NULL;
  pensee_event event;
  pensee_usage usage;
  size_t size = 1;
  void* data = NULL;
  const float* logits = NULL;
  CHECK(pensee_event_init(&event, sizeof event, PENSEE_VERSION) == PENSEE_OK);
  CHECK(pensee_usage_init(&usage, sizeof usage, PENSEE_VERSION) == PENSEE_OK);
  EXPECT(INVALID, "model", pensee_session_create(NULL, NULL, &none, &error));
  EXPECT(INVALID, "session", pensee_session_create(model, NULL, NULL, &error));
  EXPECT(INVALID, "session", pensee_session_add_message(NULL, PENSEE_ROLE_USER, "x", 1, &error));
  EXPECT(INVALID, "session", pensee_session_rewind(NULL, 0, &error));
  EXPECT(INVALID, "session", pensee_session_reset(NULL, &error));
  EXPECT(INVALID, "session", pensee_session_start(NULL, NULL, &error));
  EXPECT(INVALID, "session", pensee_session_start_tokens(NULL, NULL, 0, NULL, &error));
  EXPECT(INVALID, "session", pensee_session_start_text(NULL, "x", 1, NULL, &error));
  EXPECT(INVALID, "session", pensee_session_prefill(NULL, &error));
  EXPECT(INVALID, "session", pensee_session_step(NULL, &event, &error));
  EXPECT(INVALID, "session", pensee_session_run(NULL, collect, NULL, &error));
  EXPECT(INVALID, "session", pensee_session_think(NULL, &error));
  EXPECT(INVALID, "session", pensee_session_answer(NULL, &error));
  EXPECT(INVALID, "session", pensee_session_ask(NULL, "x", 1, NULL, &error));
  EXPECT(INVALID, "message", pensee_session_ask(session, NULL, 1, NULL, &error));
  EXPECT(INVALID, "session", pensee_session_get_usage(NULL, &usage, &error));
  EXPECT(INVALID, "session", pensee_session_fork(NULL, &none, &error));
  EXPECT(INVALID, "fork", pensee_session_fork(session, NULL, &error));
  EXPECT(INVALID, "session", pensee_session_reseed(NULL, 1, &error));
  EXPECT(INVALID, "session", pensee_session_save(NULL, &data, &size, &error));
  EXPECT(INVALID, "data", pensee_session_save(session, NULL, &size, &error));
  EXPECT(INVALID, "size", pensee_session_save(session, &data, NULL, &error));
  EXPECT(INVALID, "session", pensee_session_save_file(NULL, "x", &error));
  EXPECT(INVALID, "session", pensee_session_logits(NULL, &logits, &size, &error));
  CHECK(pensee_session_step(NULL, &event, NULL) == INVALID);
  pensee_session_end_thinking(NULL);
  pensee_session_cancel(NULL);
  pensee_session_destroy(NULL);
  CHECK(pensee_session_message_count(NULL) == 0);
  CHECK(pensee_session_message(NULL, 0, NULL, NULL) == NULL);
  CHECK(pensee_session_thought_text(NULL, &size) == NULL && size == 0);
  CHECK(pensee_session_answer_text(NULL, NULL) == NULL);
  CHECK(pensee_session_thought_end(NULL) == PENSEE_THOUGHT_END_NONE);
  CHECK(pensee_session_answer_end(NULL) == PENSEE_ANSWER_END_NONE);
  CHECK(pensee_session_is_replying(NULL) == 0);
  CHECK(pensee_session_tokens(NULL, &size) == NULL && size == 0);
  CHECK(pensee_session_context_length(NULL) == 0);
  pensee_session_destroy(session);
}

int main(int argc, char** argv) {
  pensee_model* model;
  if (argc != 3) return 2;
  model = load_tiny(argv[1], 1);
  whole_replies(model);
  controls(model);
  forms(model);
  thoughts_of_the_past(model);
  stop_in_thought(model);
  votes(model);
  messages(model);
  ready_prompts(model);
  speculation(model);
  allocator(model);
  cache_types(model);
  many(model);
  saving(model, argv[2]);
  nulls(model);
  pensee_model_destroy(model);
  any_order(argv[1]);
  return failures == 0 ? 0 : 1;
}
