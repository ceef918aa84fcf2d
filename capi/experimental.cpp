// The functions of pensee_experimental.h.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "handles.hpp"
#include "pensee/reason/saved_session.hpp"
#include "pensee/reason/step_many.hpp"
#include "pensee/reason/vote.hpp"
#include "pensee_experimental.h"

struct pensee_vote {
  pensee::VoteResult result;
};

using namespace pensee;        // NOLINT: this file defines the interface
using namespace pensee::capi;  // NOLINT

namespace {

// NULL if there is no such voter.
const Ballot* ballot_of(const pensee_vote* vote, int32_t voter) noexcept {
  if (voter < 0 || voter >= pensee_vote_voter_count(vote)) return nullptr;
  return &vote->result.ballots[static_cast<size_t>(voter)];
}

template <class Part>
const char* text_of_ballot(const pensee_vote* vote, int32_t voter, size_t* size, Part&& part) {
  if (size != nullptr) *size = 0;
  const Ballot* ballot = ballot_of(vote, voter);
  if (ballot == nullptr) return nullptr;
  const std::string* text = part(*ballot);
  if (size != nullptr) *size = text->size();
  return text->c_str();
}

}  // namespace

pensee_status pensee_model_logits(const pensee_model* model, const int32_t* tokens, size_t n_tokens,
                                  float* logits, size_t n_logits,
                                  pensee_prefill_progress_fn progress, void* progress_user_data,
                                  pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(model);
    PENSEE_ASSIGN_OR_RETURN(const auto ids, span_of(tokens, n_tokens, "tokens"));
    PENSEE_ASSIGN_OR_RETURN(const auto out, span_of(logits, n_logits, "logits"));
    const auto vocab = static_cast<size_t>(model->state->model->config().vocab_size);
    if (ids.empty()) return invalid_argument("tokens: expected one or more, found none");
    if (out.size() % vocab != 0 || out.size() / vocab != ids.size()) {
      return invalid_argument("n_logits: expected n_tokens * " + std::to_string(vocab) +
                              ", found " + std::to_string(out.size()));
    }
    SequenceOptions options;
    options.context_length = static_cast<int64_t>(ids.size());
    options.cache_type = CacheType::kF32;
    PENSEE_ASSIGN_OR_RETURN(Sequence sequence,
                            Sequence::create(model->state->model->transformer(), options));
    return sequence.prefill_with_logits(
        ids,
        [&](int64_t position, int64_t, std::span<const float> rows) {
          std::copy(rows.begin(), rows.end(), out.data() + static_cast<size_t>(position) * vocab);
        },
        [&](int64_t done, int64_t total) {
          return progress == nullptr || progress(progress_user_data, done, total) == 0;
        });
  });
}

pensee_status pensee_session_logits(pensee_session* session, const float** logits, size_t* n_logits,
                                    pensee_error** error) {
  if (logits != nullptr) *logits = nullptr;
  if (n_logits != nullptr) *n_logits = 0;
  return guard_reply(session, error, [&]() -> Result<void> {
    PENSEE_REQUIRE(logits);
    PENSEE_REQUIRE(n_logits);
    PENSEE_ASSIGN_OR_RETURN(const std::span<const float> row, session->session->logits());
    *logits = row.data();
    *n_logits = row.size();
    return {};
  });
}

pensee_status pensee_session_add_answer(pensee_session* session, const char* thought,
                                        size_t thought_size, const char* text, size_t text_size,
                                        pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(session);
    PENSEE_ASSIGN_OR_RETURN(const std::string_view before,
                            text_of(thought, thought_size, "thought"));
    PENSEE_ASSIGN_OR_RETURN(const std::string_view view, text_of(text, text_size, "text"));
    return session->session->add_message(Role::kAssistant, view, before);
  });
}

const char* pensee_session_message_thought(const pensee_session* session, size_t index,
                                           size_t* size) {
  if (size != nullptr) *size = 0;
  if (session == nullptr || index >= session->session->messages().size()) return nullptr;
  const Message& message = session->session->messages()[index];
  if (!message.reasoning_content) return "";
  if (size != nullptr) *size = message.reasoning_content->size();
  return message.reasoning_content->c_str();
}

pensee_status pensee_session_step_many(pensee_session* const* sessions, size_t n,
                                       pensee_event* const* events, pensee_status* statuses,
                                       pensee_error** error) {
  std::span<pensee_status> codes;
  std::vector<Session*> cores;
  pensee_status status = guard(error, [&]() -> Result<void> {
    PENSEE_ASSIGN_OR_RETURN(codes, span_of(statuses, n, "statuses"));
    PENSEE_ASSIGN_OR_RETURN(const auto given, span_of(sessions, n, "sessions"));
    PENSEE_ASSIGN_OR_RETURN(const auto outs, span_of(events, n, "events"));
    for (size_t i = 0; i < n; ++i) {
      PENSEE_REQUIRE(given[i]);
      PENSEE_REQUIRE(outs[i]);
      PENSEE_RETURN_IF_ERROR(check_size<pensee_event>(outs[i]->struct_size));
      cores.push_back(given[i]->session.get());
    }
    return {};
  });
  bool has_results = false;
  const auto step = [&]() -> Result<void> {
    std::vector<Result<Event>> results = step_many(cores);
    Result<void> first;
    for (size_t i = 0; i < n; ++i) {
      codes[i] = PENSEE_OK;
      Result<void> written;
      if (results[i]) {
        sessions[i]->event = std::move(*results[i]);
        written = write_struct(events[i], to_c(sessions[i]->event));
      } else {
        written = std::move(results[i]).error();
      }
      if (written) continue;
      codes[i] = static_cast<pensee_status>(written.error().status);
      if (first) first = std::move(written);
    }
    has_results = true;
    return first;
  };
  if (status == PENSEE_OK) status = guard_replies({sessions, n}, error, step);
  if (!has_results) std::fill(codes.begin(), codes.end(), status);
  return status;
}

pensee_status pensee_session_vote(pensee_session* session, int32_t n_voters, uint64_t seed,
                                  pensee_vote_progress_fn progress, void* progress_user_data,
                                  pensee_vote** out, pensee_error** error) {
  if (out != nullptr) *out = nullptr;
  return guard_reply(session, error, [&]() -> Result<void> {
    if (out == nullptr) return null_argument("vote");
    VoteOptions options{n_voters, seed};
    if (progress != nullptr) {
      options.progress = [=](int done, int voters) {
        return progress(progress_user_data, done, voters) == 0;
      };
    }
    auto made = std::make_unique<pensee_vote>();
    PENSEE_ASSIGN_OR_RETURN(made->result, vote(*session->session, options));
    *out = made.release();
    return {};
  });
}

const char* pensee_vote_winner(const pensee_vote* vote, int32_t* n_votes, size_t* size) {
  if (n_votes != nullptr) *n_votes = vote == nullptr ? 0 : vote->result.votes;
  if (size != nullptr) *size = vote == nullptr ? 0 : vote->result.winner.size();
  return vote == nullptr ? nullptr : vote->result.winner.c_str();
}

int32_t pensee_vote_voter_count(const pensee_vote* vote) {
  return vote == nullptr ? 0 : static_cast<int32_t>(vote->result.ballots.size());
}

const char* pensee_vote_choice(const pensee_vote* vote, int32_t voter, size_t* size) {
  return text_of_ballot(vote, voter, size, [](const Ballot& b) { return &b.choice; });
}

const char* pensee_vote_thought(const pensee_vote* vote, int32_t voter, size_t* size) {
  return text_of_ballot(vote, voter, size, [](const Ballot& b) { return &b.reply.thought; });
}

const char* pensee_vote_answer(const pensee_vote* vote, int32_t voter, size_t* size) {
  return text_of_ballot(vote, voter, size, [](const Ballot& b) { return &b.reply.answer; });
}

int32_t pensee_vote_thought_end(const pensee_vote* vote, int32_t voter) {
  const Ballot* ballot = ballot_of(vote, voter);
  return ballot == nullptr ? PENSEE_THOUGHT_END_NONE
                           : static_cast<int32_t>(ballot->reply.thought_end);
}

int32_t pensee_vote_answer_end(const pensee_vote* vote, int32_t voter) {
  const Ballot* ballot = ballot_of(vote, voter);
  return ballot == nullptr ? PENSEE_ANSWER_END_NONE
                           : static_cast<int32_t>(ballot->reply.answer_end);
}

pensee_status pensee_vote_get_usage(const pensee_vote* vote, int32_t voter, pensee_usage* usage,
                                    pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(vote);
    PENSEE_REQUIRE(usage);
    const Ballot* ballot = ballot_of(vote, voter);
    if (ballot == nullptr) {
      return invalid_argument("voter: expected 0 to " +
                              std::to_string(pensee_vote_voter_count(vote) - 1) + ", found " +
                              std::to_string(voter));
    }
    return write_struct(usage, to_c(ballot->reply.usage));
  });
}

void pensee_vote_destroy(pensee_vote* vote) {
  delete vote;
}

pensee_status pensee_session_save(const pensee_session* session, void** data, size_t* size,
                                  pensee_error** error) {
  if (data != nullptr) *data = nullptr;
  if (size != nullptr) *size = 0;
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(session);
    PENSEE_REQUIRE(data);
    PENSEE_REQUIRE(size);
    PENSEE_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, save(*session->session));
    *data = copy_for_caller(bytes.data(), bytes.size(), 0);
    *size = bytes.size();
    return {};
  });
}

pensee_status pensee_session_save_file(const pensee_session* session, const char* path,
                                       pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(session);
    PENSEE_REQUIRE(path);
    return save_to_file(*session->session, path);
  });
}

pensee_status pensee_session_restore(const pensee_model* model, const void* data, size_t size,
                                     const pensee_session_options* options,
                                     pensee_session** session, pensee_error** error) {
  if (session != nullptr) *session = nullptr;
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(model);
    PENSEE_REQUIRE(session);
    PENSEE_ASSIGN_OR_RETURN(const auto bytes,
                            span_of(static_cast<const std::byte*>(data), size, "data"));
    PENSEE_ASSIGN_OR_RETURN(const SessionOptions checked, session_options(options));
    PENSEE_ASSIGN_OR_RETURN(auto restored, restore(model->state->model, bytes, checked));
    *session = new_session(model->state, std::move(restored));
    return {};
  });
}

pensee_status pensee_session_restore_file(const pensee_model* model, const char* path,
                                          const pensee_session_options* options,
                                          pensee_session** session, pensee_error** error) {
  if (session != nullptr) *session = nullptr;
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(model);
    PENSEE_REQUIRE(path);
    PENSEE_REQUIRE(session);
    PENSEE_ASSIGN_OR_RETURN(const SessionOptions checked, session_options(options));
    PENSEE_ASSIGN_OR_RETURN(auto restored, restore_from_file(model->state->model, path, checked));
    *session = new_session(model->state, std::move(restored));
    return {};
  });
}
