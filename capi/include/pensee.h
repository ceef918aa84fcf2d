/* pensee.h: the C interface of Pensée, reasoning models on CPUs.
 *
 * The only header whose interface is stable. C99; no C++ is needed to use it.
 *
 * The shortest use:
 *
 *     pensee_model *model = NULL;
 *     pensee_session *session = NULL;
 *     pensee_error *error = NULL;
 *     if (pensee_model_load("DeepSeek-R1", NULL, &model, &error) == PENSEE_OK &&
 *         pensee_session_create(model, NULL, &session, &error) == PENSEE_OK &&
 *         pensee_session_ask(session, "What is 17 * 23?", PENSEE_NUL_TERMINATED, NULL, &error) ==
 *             PENSEE_OK) {
 *       printf("%s\n%s\n", pensee_session_thought_text(session, NULL),
 *              pensee_session_answer_text(session, NULL));
 *     } else {
 *       fprintf(stderr, "%s\n", pensee_error_message(error));
 *     }
 *     pensee_error_destroy(error);
 *     pensee_session_destroy(session);
 *     pensee_model_destroy(model);
 *
 * CONVENTIONS, which hold for every function unless it says otherwise:
 *
 * Errors. A function that can fail returns a pensee_status; PENSEE_OK is 0. Its last parameter
 * takes a pensee_error with a message, or is NULL (init functions have none). On failure *error is
 * set to a new object that the caller destroys (what *error held before is not looked at); on
 * success it is left alone. On failure, results are set to NULL or 0, structs stay as they are, and
 * nothing has changed. No function aborts, prints, throws or exits. Comments name the errors of a
 * function. Beside these, INVALID_ARGUMENT tells of NULL where it is not allowed and of a struct
 * that was not initialised, and any function may lack memory (OUT_OF_MEMORY) or meet a fault of the
 * library (INTERNAL).
 *
 * Ownership. What a function gives through a pointer to a pointer belongs to the caller: handles
 * go to their destroy function, memory to pensee_free(). A pointer to const data, given in any
 * way, is borrowed: of a session, it stays valid until the next call that takes the session without
 * const, other than cancel and end_thinking; of a model, as long as the model or a session of it.
 * Every destroy function accepts NULL. Handles may be destroyed in any order: a session keeps its
 * model alive.
 *
 * Text. UTF-8, given with its length in bytes, or with PENSEE_NUL_TERMINATED. Text that a function
 * gives has a NUL after its last byte, which its length does not count.
 *
 * Structs begin with struct_size. Fill them with their init function before setting fields:
 *     pensee_reply_options options;
 *     pensee_reply_options_init(&options, sizeof options, PENSEE_VERSION);
 * A library newer than the caller's header leaves what the caller does not know at its default; an
 * older one refuses (PENSEE_ERROR_UNSUPPORTED) a struct whose unknown part is not all zero. NULL in
 * place of options means the defaults. Errors of init functions: INVALID_ARGUMENT for NULL or a
 * size that the struct has in no version, UNSUPPORTED for a header of another major version.
 *
 * Threads. A model is immutable: any thread may use it. A session belongs to one thread at a time,
 * but pensee_session_cancel() and pensee_session_end_thinking() may come from any thread at any
 * time before the session is destroyed, and from signal handlers. Errors and memory belong to no
 * thread. There is no global state.
 */
#ifndef PENSEE_H
#define PENSEE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(PENSEE_C_BUILD)
#  define PENSEE_API __attribute__((visibility("default")))
#else
#  define PENSEE_API
#endif

/* --- Versions and features -------------------------------------------------------------------- */

#define PENSEE_VERSION_MAJOR 0
#define PENSEE_VERSION_MINOR 1
#define PENSEE_VERSION_PATCH 0
/* One number that grows with every release. */
#define PENSEE_VERSION \
  (PENSEE_VERSION_MAJOR * 1000000 + PENSEE_VERSION_MINOR * 1000 + PENSEE_VERSION_PATCH)

/* The version of the library at run time, as PENSEE_VERSION is of the header. */
PENSEE_API uint32_t pensee_version(void);
/* The same as text, such as "0.1.0". */
PENSEE_API const char* pensee_version_string(void);

/* 1 if the library has the feature, else 0. Features: "safetensors", "gguf", "fp8", and the names
 * of the kernels that this machine can run: "reference", "avx2", "avxvnni", "avx512", "amx".
 * Unknown names and NULL: 0. */
PENSEE_API int32_t pensee_has_feature(const char* name);

/* --- Status and errors ------------------------------------------------------------------------ */

/* Values are never reused. */
typedef int32_t pensee_status;
enum {
  PENSEE_OK = 0,
  PENSEE_ERROR_INVALID_ARGUMENT = 1, /* an argument is NULL, out of range or not UTF-8 */
  PENSEE_ERROR_NOT_FOUND = 2,        /* no such file or tensor */
  PENSEE_ERROR_IO = 3,               /* the operating system could not read or write */
  PENSEE_ERROR_CORRUPT_FILE = 4,     /* a file is not what it should be */
  PENSEE_ERROR_UNSUPPORTED = 5,      /* correct, but this library cannot do it */
  PENSEE_ERROR_OUT_OF_MEMORY = 6,
  PENSEE_ERROR_CANCELLED = 7,    /* a callback asked for it */
  PENSEE_ERROR_CONTEXT_FULL = 8, /* a prompt or a saved session does not fit into the context */
  PENSEE_ERROR_WRONG_STATE = 9,  /* a call out of order */
  PENSEE_ERROR_INTERNAL = 10     /* a fault of the library, or of a model's numbers */
};

/* "ok", "invalid argument", ...; "unknown status" for other values. Never NULL. */
PENSEE_API const char* pensee_status_string(pensee_status status);

typedef struct pensee_error pensee_error;
/* PENSEE_OK for NULL. */
PENSEE_API pensee_status pensee_error_status(const pensee_error* error);
/* Names file, tensor, expected and found; valid as long as the error. "" for NULL. */
PENSEE_API const char* pensee_error_message(const pensee_error* error);
/* Its message is gone too. */
PENSEE_API void pensee_error_destroy(pensee_error* error);

/* Frees memory that this library gave. Accepts NULL. */
PENSEE_API void pensee_free(void* memory);

/* In place of a length: the text ends at its first NUL. */
#define PENSEE_NUL_TERMINATED SIZE_MAX

/* --- Callbacks -------------------------------------------------------------------------------- */
/* Called on the thread that called the library, with the user_data given beside the function. A
 * callback may call functions of other handles, and cancel and end_thinking of its own session, or
 * of all those that are stepped together. It must not throw or jump out. */

/* `fraction` goes from 0 to 1. Not 0 cancels the load. */
typedef int32_t (*pensee_load_progress_fn)(void* user_data, double fraction);
/* `done` of the `total` tokens of a prompt that were not in the cache are read. Not 0 cancels the
 * reply. */
typedef int32_t (*pensee_prefill_progress_fn)(void* user_data, int64_t done, int64_t total);

enum { PENSEE_LOG_DEBUG = 0, PENSEE_LOG_INFO = 1, PENSEE_LOG_WARNING = 2 };
/* `message` is valid during the call. */
typedef void (*pensee_log_fn)(void* user_data, int32_t level, const char* message);

/* Gives `size` bytes at a multiple of `alignment` (a power of two), or NULL. */
typedef void* (*pensee_allocate_fn)(void* user_data, size_t size, size_t alignment);
/* Takes back what pensee_allocate_fn gave, with the same size. */
typedef void (*pensee_release_fn)(void* user_data, void* memory, size_t size);

/* --- Models ----------------------------------------------------------------------------------- */

typedef struct pensee_model pensee_model;

typedef struct pensee_load_options {
  size_t struct_size;
  int32_t n_threads; /* of the model, the caller's included; 0: as many as may run at once; at most
                        1024 */
  pensee_load_progress_fn progress; /* may be NULL */
  void* progress_user_data;
  pensee_log_fn log; /* may be NULL; called during the load only */
  void* log_user_data;
  int32_t read_ahead; /* not 0: files are read into memory, by all threads, before the load ends;
                       * else parts of them when they are first used */
  const char* repack_dir; /* may be NULL; copied. A directory for a copy of weights of some types in
                           * an order that AVX-512 kernels read with less work: made by the first
                           * load of a checkpoint, as large as those weights, and used by later
                           * ones. Results are the same to the bit. */
} pensee_load_options;

/* Sets the defaults; see "Structs" above. */
PENSEE_API pensee_status pensee_load_options_init(pensee_load_options* options, size_t struct_size,
                                                  uint32_t header_version);

/* Loads a checkpoint: a directory as Hugging Face has it, a .safetensors file in one, or a GGUF
 * file, of several the first. Weights are mapped into memory and used in place. Errors: NOT_FOUND
 * for a file or a tensor that is missing, IO, CORRUPT_FILE, UNSUPPORTED, CANCELLED by `progress`,
 * OUT_OF_MEMORY, INVALID_ARGUMENT for n_threads, an empty path, a directory with several models, or
 * another part of a GGUF file than the first. */
PENSEE_API pensee_status pensee_model_load(const char* path, const pensee_load_options* options,
                                           pensee_model** model, pensee_error** error);

/* A file in the caller's memory, named as it would be in the directory ("config.json"). */
typedef struct pensee_buffer {
  const char* name;
  const void* data;
  size_t size;
} pensee_buffer;

/* The same from memory, which must stay as it is until the model and all its sessions are
 * destroyed. Errors: the same; INVALID_ARGUMENT also for a name that is no plain file name or comes
 * twice. */
PENSEE_API pensee_status pensee_model_load_buffers(const pensee_buffer* buffers, size_t n_buffers,
                                                   const pensee_load_options* options,
                                                   pensee_model** model, pensee_error** error);

/* Sessions of the model stay usable. Any thread. */
PENSEE_API void pensee_model_destroy(pensee_model* model);

typedef struct pensee_model_info {
  size_t struct_size;
  const char* architecture; /* model_type of config.json, such as "deepseek_v3" */
  const char* kernels;      /* those in use, such as "avx2" */
  int32_t n_threads;
  int64_t n_layers;
  int64_t hidden_size;
  int64_t vocab_size;          /* logits of a token */
  int64_t max_context_length;  /* tokens; max_position_embeddings, or what YaRN makes of it */
  int64_t n_routed_experts;    /* 0 without a mixture of experts */
  int64_t num_experts_per_tok; /* 0 likewise */
  uint64_t weights_bytes;      /* of all weight files */
  int32_t can_think;           /* 1 if the model has thought delimiters */
  int32_t has_chat_template;   /* 0: ready prompts only; see pensee_session_start_tokens() */
  const char* thought_open;    /* text that opens a thought, such as "<think>" */
  const char* thought_close;
} pensee_model_info;

/* Sets struct_size, and the rest to zero. */
PENSEE_API pensee_status pensee_model_info_init(pensee_model_info* info, size_t struct_size,
                                                uint32_t header_version);
/* Fills `info`; its texts live as long as the model. */
PENSEE_API pensee_status pensee_model_get_info(const pensee_model* model, pensee_model_info* info,
                                               pensee_error** error);

/* --- Tokens ----------------------------------------------------------------------------------- */

/* The ids of `text`. With `parse_special` 0, as what a user wrote: "<think>" in it is ordinary
 * text. With 1, the names of special tokens become these tokens. No token is added. Errors:
 * INVALID_ARGUMENT for text that is not UTF-8 or too long (2 GiB), UNSUPPORTED for text if the
 * model has no vocabulary, INTERNAL if a regex of the tokenizer gives up on it. */
PENSEE_API pensee_status pensee_model_tokenize(const pensee_model* model, const char* text,
                                               size_t text_size, int32_t parse_special,
                                               int32_t** tokens, size_t* n_tokens,
                                               pensee_error** error);

/* The text of tokens; malformed UTF-8 becomes U+FFFD. With `skip_special` 1, without special
 * tokens. INVALID_ARGUMENT for a token that is not from 0 to vocab_size - 1. */
PENSEE_API pensee_status pensee_model_detokenize(const pensee_model* model, const int32_t* tokens,
                                                 size_t n_tokens, int32_t skip_special, char** text,
                                                 size_t* text_size, pensee_error** error);

/* The bytes of one token, perhaps a part of a character; NULL for an id that is none. Not
 * NUL-terminated. */
PENSEE_API const char* pensee_model_token_bytes(const pensee_model* model, int32_t token,
                                                size_t* size);
/* 1 for a special token, 0 for others and for NULL. */
PENSEE_API int32_t pensee_model_token_is_special(const pensee_model* model, int32_t token);

/* --- Sessions --------------------------------------------------------------------------------- */

/* One conversation, with its key-value cache.
 *
 * Whole replies:   ask
 * Apart:           add_message, start, think, answer
 * Token by token:  add_message, start, then step until PENSEE_EVENT_DONE
 *
 * Messages make the conversation. The answer of a reply, if there is one, becomes a message; its
 * thought is out of later prompts unless their options ask for it. An error of a step ends the
 * reply, but for INVALID_ARGUMENT and WRONG_STATE, which refuse the call; the session can be used
 * on. */
typedef struct pensee_session pensee_session;

/* Where guesses at coming tokens are taken from, which are read together with the newest one. They
 * change no reply, but the time it takes. PROMPT_LOOKUP: an earlier place of the prompt or the
 * reply at which the same tokens stood. MTP: the model's own layer of multi-token prediction, as
 * DeepSeek-V3 and R1 have; PENSEE_ERROR_UNSUPPORTED without one. AUTO: prompt lookup; where that
 * has no guess, the model's layer, if it has one. */
enum {
  PENSEE_SPECULATION_OFF = 0,
  PENSEE_SPECULATION_PROMPT_LOOKUP = 1,
  PENSEE_SPECULATION_MTP = 2,
  PENSEE_SPECULATION_AUTO = 3
};

/* How a cache holds its numbers: in 16 bits, in 32 and so exactly, or in 8 with a scale for every
 * 32 numbers. */
enum { PENSEE_CACHE_BF16 = 0, PENSEE_CACHE_F32 = 1, PENSEE_CACHE_Q8 = 2 };

typedef struct pensee_session_options {
  size_t struct_size;
  int64_t context_length; /* tokens, thoughts included, at most max_context_length of the model; 0:
                           * that, at most 32,768; of a restored session, as the saved one had */
  int64_t prefill_chunk;  /* tokens of a prompt that are read together: 1 to 8192; 0, which is
                           * the default: 512 if the model has latent attention or experts, where
                           * more pay, otherwise 256 */
  /* For the cache and the buffers of the session, all but small blocks and what choosing tokens
   * needs (32 bytes for each word of the vocabulary); both NULL: the library's own. `allocate` is
   * called once, when the session is made, `release` when it is destroyed, and both again for each
   * fork: by the thread that makes or destroys it. So the two, and what they use, must outlive the
   * session and its forks, and bear calls from all these threads. The memory need not be zero. */
  pensee_allocate_fn allocate;
  pensee_release_fn release;
  void* allocator_user_data;
  int32_t speculation; /* PENSEE_SPECULATION_... */
  int32_t cache_type;  /* PENSEE_CACHE_...; a restored session keeps that of the saved one */
} pensee_session_options;

/* Sets the defaults; see "Structs" above. */
PENSEE_API pensee_status pensee_session_options_init(pensee_session_options* options,
                                                     size_t struct_size, uint32_t header_version);

typedef struct pensee_memory_estimate {
  size_t struct_size;
  uint64_t weights_bytes;   /* mapped from the files, shared by all sessions */
  uint64_t converted_bytes; /* copied from them: scales and vectors; likewise */
  uint64_t session_bytes;   /* of each session, from its allocator; committed as tokens arrive */
} pensee_memory_estimate;

/* Sets struct_size, and the rest to zero. */
PENSEE_API pensee_status pensee_memory_estimate_init(pensee_memory_estimate* estimate,
                                                     size_t struct_size, uint32_t header_version);
/* What a checkpoint would need; only headers are read. `n_threads` as in pensee_load_options.
 * Errors: those of pensee_model_load() but for CANCELLED; INVALID_ARGUMENT also for an option,
 * OUT_OF_MEMORY for a context that cannot be addressed. */
PENSEE_API pensee_status pensee_estimate_memory(const char* path,
                                                const pensee_session_options* options,
                                                int32_t n_threads, pensee_memory_estimate* estimate,
                                                pensee_error** error);

/* A session without messages. Errors: OUT_OF_MEMORY; INVALID_ARGUMENT naming the option, also if
 * only one of `allocate` and `release` is set or the memory is misaligned; UNSUPPORTED for
 * PENSEE_SPECULATION_MTP if the model has no such layer. */
PENSEE_API pensee_status pensee_session_create(const pensee_model* model,
                                               const pensee_session_options* options,
                                               pensee_session** session, pensee_error** error);
/* No other thread may use it any more. */
PENSEE_API void pensee_session_destroy(pensee_session* session);

enum { PENSEE_ROLE_SYSTEM = 0, PENSEE_ROLE_USER = 1, PENSEE_ROLE_ASSISTANT = 2 };

/* Adds a message. WRONG_STATE while a reply is under way, INVALID_ARGUMENT for an unknown role or
 * text that is not UTF-8. */
PENSEE_API pensee_status pensee_session_add_message(pensee_session* session, int32_t role,
                                                    const char* text, size_t text_size,
                                                    pensee_error** error);
/* Questions and answers. */
PENSEE_API size_t pensee_session_message_count(const pensee_session* session);
/* The text and the role of a message; NULL if there is none at `index`. `role` and `size` may be
 * NULL. */
PENSEE_API const char* pensee_session_message(const pensee_session* session, size_t index,
                                              int32_t* role, size_t* size);
/* Keeps the first `n_messages`. WRONG_STATE while a reply is under way, INVALID_ARGUMENT if there
 * are fewer. */
PENSEE_API pensee_status pensee_session_rewind(pensee_session* session, size_t n_messages,
                                               pensee_error** error);
/* Gives up a reply that is under way, and forgets all messages. */
PENSEE_API pensee_status pensee_session_reset(pensee_session* session, pensee_error** error);

/* Settings of a sampler. A field at PENSEE_UNSET is inherited: the answer's from the thought's, the
 * thought's from what the checkpoint advises in generation_config.json, or a GGUF file in its keys
 * general.sampling.*; where that says nothing, from DeepSeek's advice for R1: temperature 0.6,
 * top_p 0.95. */
#define PENSEE_UNSET (-1000000)
typedef struct pensee_sampler_options {
  size_t struct_size;
  float temperature;        /* 0: greedy, the most probable token */
  int32_t top_k;            /* keeps the k most probable tokens; 0: all */
  float top_p;              /* keeps the most probable tokens that reach it together; (0, 1] */
  float min_p;              /* keeps tokens that reach it times the best's probability; [0, 1] */
  float repetition_penalty; /* above 0; 1: none */
  float presence_penalty;   /* -2 to 2 */
  float frequency_penalty;  /* -2 to 2 */
  int32_t has_seed;         /* 0: `seed` is inherited */
  uint64_t seed;            /* 0 unless given; same model, settings, seed, threads, kernels: same
                             * tokens */
} pensee_sampler_options;

/* Sets the defaults; see "Structs" above. */
PENSEE_API pensee_status pensee_sampler_options_init(pensee_sampler_options* options,
                                                     size_t struct_size, uint32_t header_version);

enum { PENSEE_THINKING_AUTO = 0, PENSEE_THINKING_ON = 1, PENSEE_THINKING_OFF = 2 };
/* Whether the thoughts of earlier replies are in the prompt: no, which is R1's rule, or each
 * between its delimiters before its answer. */
enum { PENSEE_HISTORY_STRIP = 0, PENSEE_HISTORY_KEEP = 1 };
enum { PENSEE_NO_CAP = -1 };

/* The controls of one reply. Counts are tokens; PENSEE_NO_CAP, the default: as many as the context
 * holds. */
typedef struct pensee_reply_options {
  size_t struct_size;
  int32_t thinking;              /* PENSEE_THINKING_AUTO: as the chat template has it; ON:
                                  * UNSUPPORTED of models without thoughts; OFF: no thought */
  int64_t thinking_token_budget; /* after so many the engine closes the thought; 0: at once */
  const char* budget_message;    /* written before that close; NULL: nothing */
  /* A thought that the model closes before this many tokens goes on with `extension_text` in place
   * of the close, at most `max_extensions` times (arXiv:2501.19393, section 3.1). */
  int64_t min_thought_tokens;
  const char* extension_text; /* NULL: "Wait" */
  int64_t max_extensions;
  int64_t max_answer_tokens;
  int64_t max_tokens;                            /* thought, answer and delimiters together */
  const pensee_sampler_options* thought_sampler; /* NULL: all unset */
  const pensee_sampler_options* answer_sampler;
  const char* const* stop; /* n_stop texts: each ends the answer and is not part of it */
  size_t n_stop;
  pensee_prefill_progress_fn prefill_progress; /* may be NULL; called until the prompt is read,
                                                * also in forks made before */
  void* prefill_progress_user_data;
  /* The form of the answer, one of them at most: a grammar in llama.cpp's notation (GBNF), whose
   * rule `root` is the whole, or a JSON schema. The thought stays free. Only tokens that some text
   * of the form goes on with are chosen, and the answer ends (COMPLETE) where nothing can follow;
   * other ends, such as `max_answer_tokens`, may leave it incomplete. White space may come before
   * it. Of a schema: properties in its order, no others unless it has "additionalProperties";
   * UNSUPPORTED for keywords besides type, enum, const, properties, required, additionalProperties,
   * items, prefixItems, minItems, maxItems, minLength, maxLength, pattern (of characters, classes,
   * groups, repetition, and ^ and $ at its ends; without lengths beside it), of integers minimum,
   * maximum and their exclusive forms, anyOf, oneOf, allOf of one schema, $ref within it, and those
   * that only describe. */
  const char* answer_grammar; /* NULL or empty: none */
  const char* answer_json_schema;
  int32_t history;         /* PENSEE_HISTORY_STRIP, the default, or KEEP: UNSUPPORTED where the chat
                            * template does not write each answer once */
  int32_t stop_in_thought; /* not 0: `stop` ends the thought too (STOPPED), and so the reply
                            * (STOP_STRING) */
} pensee_reply_options;

/* Sets the defaults; see "Structs" above. */
PENSEE_API pensee_status pensee_reply_options_init(pensee_reply_options* options,
                                                   size_t struct_size, uint32_t header_version);

/* Begins the reply to the messages, whose last is the user's. Options and their texts are copied.
 * Errors: WRONG_STATE while a reply is under way or if the last message is not the user's;
 * INVALID_ARGUMENT naming the field, or if the chat template refuses these messages; CONTEXT_FULL
 * if the prompt does not fit; UNSUPPORTED or NOT_FOUND if the model has no chat template that is
 * known; UNSUPPORTED too if these messages lead it to what is not, or for `thinking` ON of a model
 * without thoughts; INVALID_ARGUMENT and INTERNAL as pensee_model_tokenize() has them. */
PENSEE_API pensee_status pensee_session_start(pensee_session* session,
                                              const pensee_reply_options* options,
                                              pensee_error** error);
/* Begins the reply to a ready prompt, in which a thought may be open. It has nothing to do with the
 * messages. Errors: WRONG_STATE while a reply is under way; INVALID_ARGUMENT naming the field, if
 * `thinking` is not AUTO, or for no tokens or one outside the vocabulary; CONTEXT_FULL; those of
 * pensee_model_tokenize() for texts of the options. */
PENSEE_API pensee_status pensee_session_start_tokens(pensee_session* session, const int32_t* tokens,
                                                     size_t n_tokens,
                                                     const pensee_reply_options* options,
                                                     pensee_error** error);
/* The same, of a text; special tokens in it are parsed. Errors: the same, and those of
 * pensee_model_tokenize() for `text`. */
PENSEE_API pensee_status pensee_session_start_text(pensee_session* session, const char* text,
                                                   size_t text_size,
                                                   const pensee_reply_options* options,
                                                   pensee_error** error);
/* Reads the prompt now, before the first step; for forks of one prompt. Where it has been read,
 * nothing happens. Errors: WRONG_STATE if no reply is under way, OUT_OF_MEMORY. */
PENSEE_API pensee_status pensee_session_prefill(pensee_session* session, pensee_error** error);

/* --- Events ----------------------------------------------------------------------------------- */

enum { PENSEE_PHASE_PROMPT = 0, PENSEE_PHASE_THOUGHT = 1, PENSEE_PHASE_ANSWER = 2 };

enum {
  PENSEE_EVENT_TOKEN = 1,         /* a token of a thought or an answer */
  PENSEE_EVENT_THOUGHT_BEGIN = 2, /* the model itself opened a thought while it answered */
  PENSEE_EVENT_THOUGHT_END = 3,   /* thought_end says how */
  PENSEE_EVENT_ANSWER_END = 4,    /* answer_end says how */
  PENSEE_EVENT_DONE = 5           /* nothing follows */
};

enum {
  PENSEE_THOUGHT_END_NONE = 0,      /* not ended yet */
  PENSEE_THOUGHT_END_CLOSED = 1,    /* the model closed it */
  PENSEE_THOUGHT_END_BUDGET = 2,    /* the engine closed it: the budget was used up */
  PENSEE_THOUGHT_END_STOPPED = 3,   /* end_thinking(), cancel() or a stop string */
  PENSEE_THOUGHT_END_TRUNCATED = 4, /* max_tokens or the context ran out */
  PENSEE_THOUGHT_END_SKIPPED = 5,   /* there was none */
  PENSEE_THOUGHT_END_EOS = 6        /* the model ended without closing it */
};

enum {
  PENSEE_ANSWER_END_NONE = 0,        /* not ended yet, or none was begun */
  PENSEE_ANSWER_END_COMPLETE = 1,    /* the model ended it */
  PENSEE_ANSWER_END_STOP_STRING = 2, /* a stop string came */
  PENSEE_ANSWER_END_LENGTH = 3,      /* max_answer_tokens or max_tokens */
  PENSEE_ANSWER_END_CANCELLED = 4,
  PENSEE_ANSWER_END_CONTEXT_FULL = 5
};

/* "prompt", "thought" or "answer"; "unknown" for other values, here and below. */
PENSEE_API const char* pensee_phase_string(int32_t phase);
/* "token", "thought_end", ... */
PENSEE_API const char* pensee_event_kind_string(int32_t kind);
/* "closed", "budget", ... */
PENSEE_API const char* pensee_thought_end_string(int32_t end);
/* "complete", "length", ... */
PENSEE_API const char* pensee_answer_end_string(int32_t end);

enum { PENSEE_NO_TOKEN = -1 };

typedef struct pensee_event {
  size_t struct_size;
  int32_t kind;  /* PENSEE_EVENT_... */
  int32_t phase; /* PENSEE_PHASE_... */
  /* Whole characters, often none. All texts of a phase, of events of any kind, joined, are the
   * phase's text. */
  const char* text;
  size_t text_size;
  int32_t token;       /* or PENSEE_NO_TOKEN */
  float log_prob;      /* natural logarithm, under the model's own logits; of `token` */
  int32_t forced;      /* 1: the engine wrote `token` */
  int32_t thought_end; /* of PENSEE_EVENT_THOUGHT_END */
  int32_t answer_end;  /* of PENSEE_EVENT_ANSWER_END */
} pensee_event;

/* Sets struct_size, and the rest to zero. */
PENSEE_API pensee_status pensee_event_init(pensee_event* event, size_t struct_size,
                                           uint32_t header_version);
/* The next event, after at most one token's work (the first: the prompt's too). Errors: WRONG_STATE
 * if no reply is under way, OUT_OF_MEMORY, INTERNAL for logits that are not numbers, UNSUPPORTED if
 * no token goes on with the form of the answer. */
PENSEE_API pensee_status pensee_session_step(pensee_session* session, pensee_event* event,
                                             pensee_error** error);
/* Not 0 cancels the reply, which then ends with its events. `event` is valid during the call. */
typedef int32_t (*pensee_event_fn)(void* user_data, const pensee_event* event);
/* Steps to the end of the reply, with a call for each event. Errors: those of
 * pensee_session_step(). */
PENSEE_API pensee_status pensee_session_run(pensee_session* session, pensee_event_fn callback,
                                            void* user_data, pensee_error** error);

/* Runs to the end of the thought. Errors: those of pensee_session_step(); WRONG_STATE also if the
 * thought has ended. */
PENSEE_API pensee_status pensee_session_think(pensee_session* session, pensee_error** error);
/* Runs to the end of the reply. Errors: those of pensee_session_step(). */
PENSEE_API pensee_status pensee_session_answer(pensee_session* session, pensee_error** error);
/* Adds the user's message and runs the whole reply; after an error the message is gone again.
 * Errors: those of pensee_session_add_message(), pensee_session_start(), pensee_session_step(). */
PENSEE_API pensee_status pensee_session_ask(pensee_session* session, const char* message,
                                            size_t message_size,
                                            const pensee_reply_options* options,
                                            pensee_error** error);

/* Any thread: closes the thought under way, or the one that the model begins its reply with, at the
 * next whole character, and answers. */
PENSEE_API void pensee_session_end_thinking(pensee_session* session);
/* Any thread: ends the reply within one token, or within one chunk of the prompt. */
PENSEE_API void pensee_session_cancel(pensee_session* session);

/* --- The reply under way, or the last one ------------------------------------------------------
 */

/* The thought so far, without the white space at its ends; "" if there is none. NULL only for a
 * NULL session or without memory. `size` may be NULL. */
PENSEE_API const char* pensee_session_thought_text(const pensee_session* session, size_t* size);
/* The same of the answer. */
PENSEE_API const char* pensee_session_answer_text(const pensee_session* session, size_t* size);
/* PENSEE_THOUGHT_END_... */
PENSEE_API int32_t pensee_session_thought_end(const pensee_session* session);
/* PENSEE_ANSWER_END_... */
PENSEE_API int32_t pensee_session_answer_end(const pensee_session* session);
/* 1 from a start until its PENSEE_EVENT_DONE, an error or a reset, else 0. */
PENSEE_API int32_t pensee_session_is_replying(const pensee_session* session);

typedef struct pensee_usage {
  size_t struct_size;
  int64_t prompt_tokens;
  int64_t cached_tokens;  /* of these: already in the key-value cache */
  int64_t thought_tokens; /* every token of a reply counts in one of these three */
  int64_t answer_tokens;
  int64_t control_tokens; /* delimiters that begin or end a thought, and the end of the sentence */
  int64_t forced_tokens;  /* of all three: written by the engine */
  double prefill_seconds;
  double thought_seconds;
  double answer_seconds;
  int64_t draft_tokens;    /* guessed and read ahead; see PENSEE_SPECULATION_... */
  int64_t accepted_tokens; /* of these: written */
} pensee_usage;

/* Sets struct_size, and the rest to zero. */
PENSEE_API pensee_status pensee_usage_init(pensee_usage* usage, size_t struct_size,
                                           uint32_t header_version);
/* Fills `usage`; all zero before the first reply. */
PENSEE_API pensee_status pensee_session_get_usage(const pensee_session* session,
                                                  pensee_usage* usage, pensee_error** error);
/* All tokens of the context, prompt and reply; `n_tokens` may be NULL. */
PENSEE_API const int32_t* pensee_session_tokens(const pensee_session* session, size_t* n_tokens);
/* Tokens that the context holds. */
PENSEE_API int64_t pensee_session_context_length(const pensee_session* session);

/* --- Forks ------------------------------------------------------------------------------------ */

/* An independent copy, also in the middle of a reply, with a cache of its own: both go on alike
 * until one is reseeded. Errors: OUT_OF_MEMORY, INVALID_ARGUMENT for misaligned memory of the
 * allocator. */
PENSEE_API pensee_status pensee_session_fork(const pensee_session* session, pensee_session** fork,
                                             pensee_error** error);
/* Gives the sampler a new random stream from the next token on, with which later replies begin,
 * too, unless their options have a seed. */
PENSEE_API pensee_status pensee_session_reseed(pensee_session* session, uint64_t seed,
                                               pensee_error** error);

#ifdef __cplusplus
}
#endif

#endif /* PENSEE_H */
