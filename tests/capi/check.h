/* The smallest test framework: CHECK counts failures, the program's exit code tells them. */
#ifndef PENSEE_TESTS_CHECK_H
#define PENSEE_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pensee.h"
#include "pensee_experimental.h"

extern int failures;

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      ++failures;                                                             \
      fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                         \
  } while (0)

/* Runs an expression with `error` in it, expects the status, and a message with this text in it. */
#define EXPECT(wanted, text, expression)                                                         \
  do {                                                                                           \
    pensee_error* error = NULL;                                                                  \
    const pensee_status found = (expression);                                                    \
    if (found != (wanted) || pensee_error_status(error) != (wanted) ||                           \
        strstr(pensee_error_message(error), (text)) == NULL) {                                   \
      ++failures;                                                                                \
      fprintf(stderr, "%s:%d: %s: status %d, message \"%s\"\n", __FILE__, __LINE__, #expression, \
              (int)found, pensee_error_message(error));                                          \
    }                                                                                            \
    pensee_error_destroy(error);                                                                 \
  } while (0)

/* The same for what must work; ends the program if it does not, since nothing else would. */
#define MUST(expression)                                                                   \
  do {                                                                                     \
    pensee_error* error = NULL;                                                            \
    const pensee_status found = (expression);                                              \
    if (found != PENSEE_OK) {                                                              \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #expression,                  \
              pensee_error_message(error));                                                \
      exit(1);                                                                             \
    }                                                                                      \
    if (error != NULL) {                                                                   \
      ++failures;                                                                          \
      fprintf(stderr, "%s:%d: an error object in spite of success\n", __FILE__, __LINE__); \
    }                                                                                      \
  } while (0)

#define INVALID PENSEE_ERROR_INVALID_ARGUMENT

pensee_model* load_tiny(const char* path, int32_t n_threads);
pensee_session* new_session(const pensee_model* model);
/* Greedy, at most `max_tokens`. `sampler` holds what the options point to. */
pensee_reply_options greedy(pensee_sampler_options* sampler, int64_t max_tokens);
/* Reads a file of the model's folder; the caller frees its data. */
pensee_buffer read_file(const char* folder, const char* name);

#endif
