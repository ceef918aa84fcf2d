// Everything. The rooms, in the order in which a request walks through them:
//
//   base/     Result and Error, element types, tensor views, threads, JSON, memory arena
//   io/       memory-mapped files, safetensors, GGUF, Checkpoint: one view over a model's files;
//             writing GGUF, quantisers
//   model/    Config, Weights, the parts of a layer, and forward.hpp: THE forward pass
//   text/     Tokenizer, ChatTemplate, whole UTF-8 characters from a stream of tokens
//   decode/   Sampler, guesses at coming tokens, grammars, and the loop that generates tokens
//   reason/   phases, budgets, events, Model and Session: ask for thoughts and answers apart; save
//             and restore sessions, step many of them, let them vote
//   kernels/  the table of innermost loops; reference_kernels() is always there, best_kernels()
//             needs pensee::pensee to be linked
//   convert/  checkpoints written anew, as GGUF of other types; not included here
//
// Start at reason/session.hpp.
#pragma once

#include "pensee/kernels/dispatch.hpp"
#include "pensee/model/logits.hpp"
#include "pensee/reason/saved_session.hpp"
#include "pensee/reason/session.hpp"
#include "pensee/reason/step_many.hpp"
#include "pensee/reason/vote.hpp"
