/* pensee_experimental.h: functions that may still change. They follow the conventions of pensee.h;
 * each moves there when it has survived a release. */
#ifndef PENSEE_EXPERIMENTAL_H
#define PENSEE_EXPERIMENTAL_H

#include "pensee.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Logits after every one of `n_tokens` tokens: (n_tokens, vocab_size), row by row, into `logits`,
 * which has room for `n_logits` numbers, exactly n_tokens * vocab_size. `progress` may be NULL; not
 * 0 from it gives CANCELLED. On failure, what is in `logits` has no meaning. Other errors:
 * INVALID_ARGUMENT for another n_logits, no tokens, more than max_context_length, or one outside
 * the vocabulary; OUT_OF_MEMORY. */
PENSEE_API pensee_status pensee_model_logits(const pensee_model* model, const int32_t* tokens,
                                             size_t n_tokens, float* logits, size_t n_logits,
                                             pensee_prefill_progress_fn progress,
                                             void* progress_user_data, pensee_error** error);
/* Logits (vocab_size) after the newest token of the session; borrowed. Where a prompt was
 * cancelled, that is the last one read. Errors: WRONG_STATE before any token was read, or while a
 * prompt still has to be; CONTEXT_FULL if the newest token found no room, OUT_OF_MEMORY. */
PENSEE_API pensee_status pensee_session_logits(pensee_session* session, const float** logits,
                                               size_t* n_logits, pensee_error** error);

/* Steps `n` different sessions of one model, which may work on them together. events[i] and
 * statuses[i] are those of sessions[i]. Returns PENSEE_OK if all are, otherwise the first status
 * that is not, with its message; the others' events are good all the same. Errors: those of
 * pensee_session_step(). For a NULL, an event that was not initialised, a session that is there
 * twice or sessions of different models every status is INVALID_ARGUMENT, and none is stepped. */
PENSEE_API pensee_status pensee_session_step_many(pensee_session* const* sessions, size_t n,
                                                  pensee_event* const* events,
                                                  pensee_status* statuses, pensee_error** error);

/* Adds an assistant's message with the thought before it, which may be empty; for prompts whose
 * history is PENSEE_HISTORY_KEEP. Errors: those of pensee_session_add_message(). */
PENSEE_API pensee_status pensee_session_add_answer(pensee_session* session, const char* thought,
                                                   size_t thought_size, const char* text,
                                                   size_t text_size, pensee_error** error);
/* The thought before a message's text, "" if there is none; NULL if there is no message at `index`.
 * `size` may be NULL. */
PENSEE_API const char* pensee_session_message_thought(const pensee_session* session, size_t index,
                                                      size_t* size);

/* Many answers to one prompt, and the one that most of them give (self-consistency,
 * arXiv:2203.11171). A voter's choice is what its answer has in its last LaTeX box,
 * in one spelling. */
typedef struct pensee_vote pensee_vote;
/* `done` of the voters have ended their replies. Not 0 cancels the others'. */
typedef int32_t (*pensee_vote_progress_fn)(void* user_data, int32_t done, int32_t n_voters);
/* Reads the prompt of the reply under way, if it has not been read, and lets `n_voters` forks (1 to
 * 1024) finish it, the first with the random stream of `seed`, the others with those of the numbers
 * after it. After a start they differ in their thoughts; after pensee_session_think() they are
 * answers to one thought. The session goes on as the first of those whose choice most made; if none
 * made any, as the first of all. `progress` may be NULL. end_thinking and cancel of the session
 * reach all voters. Errors, after which the reply is still under way unless its own prompt or
 * memory failed: WRONG_STATE without one, INVALID_ARGUMENT for n_voters, those of
 * pensee_session_fork() and pensee_session_step(). */
PENSEE_API pensee_status pensee_session_vote(pensee_session* session, int32_t n_voters,
                                             uint64_t seed, pensee_vote_progress_fn progress,
                                             void* progress_user_data, pensee_vote** vote,
                                             pensee_error** error);
/* The choice of most, "" if none made any, and the number of its votes. It and the texts below live
 * as long as the vote; `n_votes` and `size` may be NULL. */
PENSEE_API const char* pensee_vote_winner(const pensee_vote* vote, int32_t* n_votes, size_t* size);
/* As many as voted; 0 for NULL. */
PENSEE_API int32_t pensee_vote_voter_count(const pensee_vote* vote);
/* The choice of a voter, "" if it made none; NULL if there is no such voter. */
PENSEE_API const char* pensee_vote_choice(const pensee_vote* vote, int32_t voter, size_t* size);
/* The thought of a voter; NULL if there is no such voter. */
PENSEE_API const char* pensee_vote_thought(const pensee_vote* vote, int32_t voter, size_t* size);
/* The same of its answer. */
PENSEE_API const char* pensee_vote_answer(const pensee_vote* vote, int32_t voter, size_t* size);
/* PENSEE_THOUGHT_END_..., how the thought of a voter ended; NONE if there is no such voter. */
PENSEE_API int32_t pensee_vote_thought_end(const pensee_vote* vote, int32_t voter);
/* PENSEE_ANSWER_END_..., the same of its answer. */
PENSEE_API int32_t pensee_vote_answer_end(const pensee_vote* vote, int32_t voter);
/* Fills `usage` with the account of a voter's reply. What it shares with others, such as the prompt
 * and the time of steps made together, is in the account of each. INVALID_ARGUMENT if there is no
 * such voter. */
PENSEE_API pensee_status pensee_vote_get_usage(const pensee_vote* vote, int32_t voter,
                                               pensee_usage* usage, pensee_error** error);
/* Its texts are gone too. */
PENSEE_API void pensee_vote_destroy(pensee_vote* vote);

/* Saves messages, tokens and cache. The result has a checksum, and fits only the model it was made
 * with. Errors: WRONG_STATE while a reply is under way, OUT_OF_MEMORY. */
PENSEE_API pensee_status pensee_session_save(const pensee_session* session, void** data,
                                             size_t* size, pensee_error** error);
/* The same into a file, which appears under its name only when it is whole. Errors: the same, IO,
 * NOT_FOUND if there is no such directory, INVALID_ARGUMENT for an empty path, a device or a pipe.
 */
PENSEE_API pensee_status pensee_session_save_file(const pensee_session* session, const char* path,
                                                  pensee_error** error);
/* The session that was saved. Errors: CORRUPT_FILE for a truncated or altered one, INVALID_ARGUMENT
 * for another model's, UNSUPPORTED for one of a library with another layout, CONTEXT_FULL if
 * context_length leaves too little room, those of pensee_session_create(). */
PENSEE_API pensee_status pensee_session_restore(const pensee_model* model, const void* data,
                                                size_t size, const pensee_session_options* options,
                                                pensee_session** session, pensee_error** error);
/* The same from a file. Errors: the same, NOT_FOUND, IO, INVALID_ARGUMENT for an empty path. */
PENSEE_API pensee_status pensee_session_restore_file(const pensee_model* model, const char* path,
                                                     const pensee_session_options* options,
                                                     pensee_session** session,
                                                     pensee_error** error);

#ifdef __cplusplus
}
#endif

#endif /* PENSEE_EXPERIMENTAL_H */
