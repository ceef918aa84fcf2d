/* Pensée for Node.js, over the C interface: an addon in plain N-API.
 *
 *   ask(model, question) gives a promise of { thought, answer }
 *
 * The model works on a thread of Node's pool; the event loop goes on meanwhile. ask.js says how to
 * build it. */
#define NAPI_VERSION 8
#include <node_api.h>
#include <pensee.h>
#include <stdlib.h>
#include <string.h>

/* One call of ask(), from its arguments to its promise. */
typedef struct {
  char* model;
  char* question;
  size_t question_size;
  pensee_session* session;
  pensee_error* error;
  napi_async_work work;
  napi_deferred promise;
} request;

static void free_request(request* r) {
  free(r->model);
  free(r->question);
  pensee_session_destroy(r->session);
  pensee_error_destroy(r->error);
  free(r);
}

/* On a thread of the pool: nothing of JavaScript may be touched. */
static void execute(napi_env env, void* data) {
  request* r = data;
  pensee_model* model = NULL;
  (void)env;
  if (pensee_model_load(r->model, NULL, &model, &r->error) == PENSEE_OK &&
      pensee_session_create(model, NULL, &r->session, &r->error) == PENSEE_OK) {
    pensee_session_ask(r->session, r->question, r->question_size, NULL, &r->error);
  }
  pensee_model_destroy(model); /* the session keeps it alive */
}

static void set_text(napi_env env, napi_value object, const char* name,
                     const char* (*getter)(const pensee_session*, size_t*),
                     const pensee_session* session) {
  napi_value value;
  size_t size; /* models can write NUL */
  const char* text = getter(session, &size);
  /* NULL: there was no memory; then size is 0. */
  napi_create_string_utf8(env, text != NULL ? text : "", size, &value);
  napi_set_named_property(env, object, name, value);
}

/* On the main thread again. */
static void complete(napi_env env, napi_status status, void* data) {
  request* r = data;
  napi_value message, value;
  if (status == napi_ok && r->error == NULL) {
    napi_create_object(env, &value);
    set_text(env, value, "thought", pensee_session_thought_text, r->session);
    set_text(env, value, "answer", pensee_session_answer_text, r->session);
    napi_resolve_deferred(env, r->promise, value);
  } else {
    napi_create_string_utf8(env, r->error ? pensee_error_message(r->error) : "cancelled",
                            NAPI_AUTO_LENGTH, &message);
    napi_create_error(env, NULL, message, &value);
    napi_reject_deferred(env, r->promise, value);
  }
  napi_delete_async_work(env, r->work);
  free_request(r);
}

/* A copy of a string of JavaScript, or NULL if it is none. */
static char* text_of(napi_env env, napi_value value, size_t* size) {
  char* text;
  if (napi_get_value_string_utf8(env, value, NULL, 0, size) != napi_ok) return NULL;
  text = malloc(*size + 1);
  if (text != NULL) napi_get_value_string_utf8(env, value, text, *size + 1, size);
  return text;
}

static napi_value ask(napi_env env, napi_callback_info info) {
  napi_value arguments[2], name, promise = NULL;
  size_t n = 2, path_size;
  request* r = calloc(1, sizeof *r);
  if (r == NULL) return NULL;
  napi_get_cb_info(env, info, &n, arguments, NULL, NULL);
  r->model = text_of(env, arguments[0], &path_size);
  r->question = text_of(env, arguments[1], &r->question_size);
  if (r->model == NULL || r->question == NULL) {
    free_request(r);
    napi_throw_type_error(env, NULL, "ask(model, question): expected two strings");
    return NULL;
  }
  if (strlen(r->model) != path_size) { /* C would take what stands before the NUL */
    free_request(r);
    napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE",
                          "ask(model, question): expected a model's path without NUL");
    return NULL;
  }
  napi_create_promise(env, &r->promise, &promise);
  napi_create_string_utf8(env, "pensee.ask", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, NULL, name, execute, complete, r, &r->work);
  napi_queue_async_work(env, r->work);
  return promise;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "ask", NAPI_AUTO_LENGTH, ask, NULL, &function);
  napi_set_named_property(env, exports, "ask", function);
  return exports;
}
