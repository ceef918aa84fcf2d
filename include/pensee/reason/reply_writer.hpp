// ReplyWriter: writes a session's replies token by token. The controller says what comes next: a
// token that it forces, or one that is sampled, with guesses read ahead where there are some.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/decode/generate.hpp"
#include "pensee/decode/sampler.hpp"
#include "pensee/decode/speculative.hpp"
#include "pensee/model/sequence.hpp"
#include "pensee/reason/budget.hpp"
#include "pensee/reason/event.hpp"
#include "pensee/reason/model.hpp"
#include "pensee/reason/phase.hpp"
#include "pensee/reason/reply_options.hpp"
#include "pensee/reason/reply_prompt.hpp"
#include "pensee/reason/session_options.hpp"

namespace pensee {

// What tokens are read, chosen and guessed with.
struct ReplyTools {
  TokenFeed<Sequence> feed;
  Sampler sampler;
  std::optional<PromptLookup> lookup = {};  // with speculation
  std::optional<CostlyGuesses> mtp = {};    // where the model's own layer guesses

  // Errors: those of Sequence::create; kUnsupported if the model has no layer for the speculation.
  static Result<ReplyTools> create(const Model& model, const SessionOptions& options) {
    const bool has_mtp = model.transformer()->weights().mtp != nullptr;
    if (options.speculation == Speculation::kMtp && !has_mtp) {
      return unsupported("speculation: this model has no layer of multi-token prediction");
    }
    const SequenceOptions settings = options.sequence_options(has_mtp);
    PENSEE_ASSIGN_OR_RETURN(Sequence sequence, Sequence::create(model.transformer(), settings));
    PENSEE_ASSIGN_OR_RETURN(Sampler sampler,
                            Sampler::create(model.transformer()->kernels(),
                                            static_cast<int32_t>(model.config().vocab_size), {}));
    ReplyTools tools{TokenFeed(std::move(sequence)), std::move(sampler)};
    const double price = price_of_a_guess(model.config());
    if (settings.mtp) tools.mtp.emplace(price);
    if (options.speculation == Speculation::kPromptLookup ||
        options.speculation == Speculation::kAuto) {
      tools.lookup.emplace(price);
    }
    return tools;
  }

  // Independent tools that go on as these would. Errors: kOutOfMemory.
  [[nodiscard]] Result<ReplyTools> clone() const {
    PENSEE_ASSIGN_OR_RETURN(TokenFeed<Sequence> feed_copy, feed.clone());
    const auto vocab_size = static_cast<int32_t>(feed.sequence().model().config().vocab_size);
    PENSEE_ASSIGN_OR_RETURN(Sampler sampler_copy,
                            Sampler::create(feed.sequence().model().kernels(), vocab_size, {}));
    sampler_copy = sampler;  // assigned, not constructed: keeps the room reserved
    return ReplyTools{std::move(feed_copy), std::move(sampler_copy), lookup, mtp};
  }

 private:
  // What a pass costs more for each further token, as a share of its cost for one, was measured as
  // 0.1 to 0.45 in dense models, and 0.45 to 0.75 where every token reads experts of its own.
  [[nodiscard]] static double price_of_a_guess(const Config& config) noexcept {
    return config.has_moe() ? 0.75 : 0.5;
  }
};

// Thread rule: as Session.
class ReplyWriter {
 public:
  ReplyWriter(std::shared_ptr<const Model> model, ReplyTools tools)
      : model_(std::move(model)), tools_(std::move(tools)) {}

  // Goes on with the reply of another writer, whose tools this one has clones of.
  void take_over(const ReplyWriter& other) {
    seed_ = other.seed_;
    is_replying_ = other.is_replying_;
    controller_ = other.controller_;
    options_ = other.options_;
    prompt_ = other.prompt_;
    sampled_phase_ = other.sampled_phase_;
  }

  // Goes on in the place of another writer, which must not be used any more. The seed of later
  // replies stays.
  void become(ReplyWriter&& other) noexcept {
    static_assert(std::is_nothrow_move_assignable_v<std::optional<PhaseController>>);
    static_assert(std::is_nothrow_move_assignable_v<ReplyOptions>);
    static_assert(std::is_nothrow_move_assignable_v<ReplyTools>);
    is_replying_ = other.is_replying_;
    controller_ = std::move(other.controller_);
    options_ = std::move(other.options_);
    prompt_ = std::move(other.prompt_);
    sampled_phase_ = other.sampled_phase_;
    tools_ = std::move(other.tools_);
  }

  // Begins a reply. Errors: kInvalidArgument naming the option, kContextFull if the prompt does not
  // fit; nothing has changed then.
  Result<void> begin(ReplyPrompt prompt, const ReplyOptions& options) {
    const auto length = static_cast<int64_t>(prompt.tokens.size());
    if (length > tools_.feed.capacity()) {
      return Error{Status::kContextFull, "the prompt has " + std::to_string(length) +
                                             " tokens, the context holds " +
                                             std::to_string(tools_.feed.capacity())};
    }
    const SamplerOptions defaults = sampler_defaults();
    PENSEE_RETURN_IF_ERROR(validate(options));
    PENSEE_RETURN_IF_ERROR(validate(options.thought_settings(defaults)));
    PENSEE_RETURN_IF_ERROR(validate(options.answer_settings(defaults)));
    PENSEE_ASSIGN_OR_RETURN(PhaseRules rules, phase_rules(options));
    PENSEE_ASSIGN_OR_RETURN(PhaseController controller,
                            PhaseController::create(std::move(rules), options));
    controller.read_prompt(prompt.control);
    controller.usage().prompt_tokens = length;
    if (options.has_answer_form())
      allowed_.reserve(static_cast<size_t>(model_->config().vocab_size));
    ReplyOptions kept = options;  // may throw; from here on nothing does
    controller_.emplace(std::move(controller));
    options_ = std::move(kept);
    prompt_ = std::move(prompt.tokens);
    sampled_phase_ = Phase::kPrompt;
    cancel_.store(false, std::memory_order_relaxed);
    end_thinking_.store(false, std::memory_order_relaxed);
    is_replying_ = true;
    return {};
  }

  // Abandons the reply under way, if any.
  void abandon() noexcept {
    is_replying_ = false;
    prompt_.clear();
  }
  // The same, and forgets it.
  void reset() {
    abandon();
    controller_.reset();
  }

  // Draws the rest of the reply from a random stream of its own, and later ones whose options have
  // no seed.
  void reseed(uint64_t seed) {
    seed_ = seed;
    options_.thought_sampler.seed = seed;
    options_.answer_sampler.seed.reset();  // else the answer would begin with it
    tools_.sampler.reseed(seed);
  }

  // Reads the prompt, if it has not been read. Precondition, also of step(): is_replying().
  Result<void> prefill() { return prompt_is_read() ? Result<void>() : advance(); }

  // The next event. Every way out of the reply leads through the controller, which then has events;
  // but an error ends it at once.
  Result<Event> step() {
    while (!controller_->has_event()) PENSEE_RETURN_IF_ERROR(advance());
    return controller_->take_event();
  }

  // The token that step() would have to read now, and only that one: there is no prompt to read,
  // and the reply goes on.
  [[nodiscard]] std::optional<NextToken> next_read() {
    if (!is_replying_ || controller_->has_event() || !prompt_.empty()) return std::nullopt;
    if (is_cancelled() || tools_.feed.is_full()) return std::nullopt;
    if (is_to_end_thinking()) return std::nullopt;  // may be the next token
    if (controller_->next().kind == PhaseController::ActionKind::kDone) return std::nullopt;
    if (!tools_.feed.wants_read()) return std::nullopt;
    return NextToken{&tools_.feed.sequence(), tools_.feed.tokens().back()};
  }

  // What the work of the phase under way has taken.
  [[nodiscard]] double& seconds() {
    Usage& usage = controller_->usage();
    if (!prompt_.empty()) return usage.prefill_seconds;
    const bool thinks = controller_->phase() == Phase::kThought;
    return thinks ? usage.thought_seconds : usage.answer_seconds;
  }

  // Any thread, as Session's.
  void end_thinking() noexcept { end_thinking_.store(true, std::memory_order_relaxed); }
  void cancel() noexcept { cancel_.store(true, std::memory_order_relaxed); }
  // What was asked so, and has not taken effect.
  [[nodiscard]] bool is_cancelled() const noexcept {
    return cancel_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool is_to_end_thinking() const noexcept {
    return end_thinking_.load(std::memory_order_relaxed);
  }

  [[nodiscard]] const std::shared_ptr<const Model>& model() const noexcept { return model_; }
  [[nodiscard]] const ReplyTools& tools() const noexcept { return tools_; }
  [[nodiscard]] TokenFeed<Sequence>& feed() noexcept { return tools_.feed; }
  [[nodiscard]] const TokenFeed<Sequence>& feed() const noexcept { return tools_.feed; }
  [[nodiscard]] bool is_replying() const noexcept { return is_replying_; }
  [[nodiscard]] bool prompt_is_read() const noexcept { return prompt_.empty(); }
  // Of the reply under way, or the last one.
  [[nodiscard]] const std::optional<PhaseController>& controller() const noexcept {
    return controller_;
  }

 private:
  static constexpr float kExcluded = -std::numeric_limits<float>::infinity();

  [[nodiscard]] Result<PhaseRules> phase_rules(const ReplyOptions& options) const {
    const Tokenizer& tokenizer = model_->tokenizer();
    PhaseRules rules;
    rules.delimiters = model_->delimiters();
    PENSEE_ASSIGN_OR_RETURN(rules.budget_message,
                            tokenizer.encode_ordinary(options.budget_message));
    if (options.min_thought_tokens > 0) {  // else it is never written
      PENSEE_ASSIGN_OR_RETURN(rules.extension, tokenizer.encode_ordinary(options.extension_text));
    }
    rules.token_bytes = [&model = *model_](int32_t token) { return model.text_of(token); };
    return rules;
  }

  // Reads the prompt, or writes one token.
  Result<void> advance() {
    const auto begin = std::chrono::steady_clock::now();
    double& time = seconds();
    Result<void> done = prompt_.empty() ? write_token() : read_prompt();
    time += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (!done) is_replying_ = false;
    return done;
  }

  Result<void> read_prompt() {
    const std::vector<int32_t> prompt = std::exchange(prompt_, {});
    if (is_cancelled()) {
      controller_->cancel();
      return {};
    }
    const auto go_on = [&](int64_t done, int64_t total) {
      if (options_.prefill_progress && !options_.prefill_progress(done, total)) cancel();
      return !is_cancelled();
    };
    Result<int64_t> cached = tools_.feed.set_prompt(prompt, go_on);
    if (!cached) {
      if (cached.error().status != Status::kCancelled) return std::move(cached).error();
      controller_->cancel();
      return {};
    }
    controller_->usage().cached_tokens = *cached;
    tools_.sampler.reset(0);
    for (const int32_t token : prompt) tools_.sampler.accept_prompt(token);
    if (tools_.lookup) tools_.lookup->restart(tools_.feed.tokens());
    return {};
  }

  Result<void> write_token() {
    if (is_cancelled()) controller_->cancel();
    if (end_thinking_.exchange(false, std::memory_order_relaxed)) controller_->end_thinking();
    if (tools_.feed.is_full()) controller_->context_full();
    const PhaseController::Action action = controller_->next();
    if (action.kind == PhaseController::ActionKind::kDone) return {};
    const bool forced = action.kind == PhaseController::ActionKind::kForce;
    PENSEE_ASSIGN_OR_RETURN(const std::span<const int32_t> ahead, draft());
    PENSEE_ASSIGN_OR_RETURN(const std::span<const float> logits, tools_.feed.logits(ahead));
    Sample sample;
    if (forced) {
      PENSEE_ASSIGN_OR_RETURN(sample, tools_.sampler.sample_of(logits, action.token));
    } else {
      PENSEE_RETURN_IF_ERROR(use_settings_of(controller_->phase()));
      PENSEE_ASSIGN_OR_RETURN(sample, choose(logits));
    }
    const bool was_guessed = !forced && tools_.feed.foresees(sample.token);
    if (tools_.mtp) tools_.mtp->settle(sample.token);
    tools_.feed.push(sample.token);
    const size_t refused = controller_->accept(sample.token, sample.log_prob, forced);
    if (refused == 0) {
      controller_->usage().accepted_tokens += was_guessed ? 1 : 0;
      tools_.sampler.accept(sample.token);
    } else {
      const std::span<const int32_t> gone = tools_.feed.tokens().last(refused);
      for (const int32_t token : gone.first(refused - 1)) tools_.sampler.take_back(token);
      tools_.feed.pop(refused);
    }
    if (!tools_.lookup) return {};
    if (refused == 0 && !forced) {
      tools_.lookup->follow(tools_.feed.tokens());
    } else {
      tools_.lookup->restart(tools_.feed.tokens());
    }
    return {};
  }

  // The sampler's choice among the tokens that the controller allows. It nearly always is one of
  // them; if not, it is taken away. After a few of those all others are looked at.
  Result<Sample> choose(std::span<const float> logits) {
    // To look at all others takes long where delimiters are text.
    const int one_by_one = model_->delimiters().are_spelled() ? 32 : 4;
    PENSEE_ASSIGN_OR_RETURN(Sample sample, tools_.sampler.sample(logits));
    if (controller_->allows(sample.token)) return sample;
    allowed_.assign(logits.begin(), logits.end());
    for (int tries = 1; !controller_->allows(sample.token); ++tries) {
      allowed_[static_cast<size_t>(sample.token)] = kExcluded;
      if (tries == one_by_one) PENSEE_RETURN_IF_ERROR(exclude_others(logits));
      PENSEE_ASSIGN_OR_RETURN(sample, tools_.sampler.sample(allowed_));
    }
    return tools_.sampler.sample_of(logits, sample.token);
  }
  Result<void> exclude_others(std::span<const float> logits) {
    const TokenOrder& vocabulary = model_->token_order();  // may throw
    std::fill(allowed_.begin(), allowed_.end(), kExcluded);
    bool some_left = false;
    controller_->for_allowed(vocabulary, [&](int32_t token) {
      const auto i = static_cast<size_t>(token);
      allowed_[i] = logits[i];
      some_left = some_left || logits[i] != kExcluded;
    });
    if (some_left) return {};
    return unsupported(
        std::string(options_.answer_grammar.empty() ? "answer_json_schema" : "answer_grammar") +
        ": the model has no token that goes on with the answer");
  }

  // What a pass is worth reading beside the newest token: what will be forced after it, or guesses.
  Result<std::span<const int32_t>> draft() {
    const int64_t room = tools_.feed.draft_room();
    if (room == 0 || !controller_->forced().empty()) return controller_->forced();
    std::span<const int32_t> guesses;
    if (tools_.lookup) guesses = tools_.lookup->guess(tools_.feed.tokens(), room);
    if (tools_.mtp && guesses.empty()) {
      PENSEE_ASSIGN_OR_RETURN(guesses, guess_by_mtp());
    }
    controller_->usage().draft_tokens += static_cast<int64_t>(guesses.size());
    return guesses;
  }

  Result<std::span<const int32_t>> guess_by_mtp() {
    const bool is_due = tools_.mtp->is_due();
    tools_.feed.rest_mtp(!is_due);
    if (!is_due) return std::span<const int32_t>();
    PENSEE_ASSIGN_OR_RETURN(const auto logits, tools_.feed.guess_logits());
    if (!logits) return std::span<const int32_t>();
    return tools_.mtp->make(tools_.sampler.most_probable(*logits));
  }

  [[nodiscard]] SamplerOptions sampler_defaults() const noexcept {
    return SamplerOverrides{.seed = seed_}.over(model_->sampler_defaults());
  }

  // Gives the sampler the settings of a phase when it begins.
  Result<void> use_settings_of(Phase phase) {
    if (phase == sampled_phase_) return {};
    const SamplerOptions defaults = sampler_defaults();
    const bool thinks = phase == Phase::kThought;
    const SamplerOptions settings =
        thinks ? options_.thought_settings(defaults) : options_.answer_settings(defaults);
    // One random stream runs through the reply, unless the answer has a seed of its own.
    const bool has_own_seed = !thinks && options_.answer_sampler.seed.has_value();
    if (sampled_phase_ == Phase::kPrompt || has_own_seed) tools_.sampler.reseed(settings.seed);
    sampled_phase_ = phase;
    return tools_.sampler.set_options(settings);
  }

  std::shared_ptr<const Model> model_;
  ReplyTools tools_;
  std::atomic<bool> cancel_{false};
  std::atomic<bool> end_thinking_{false};
  std::optional<uint64_t> seed_;  // the last one of reseed()

  // The reply under way, or the last one; take_over() copies all of it, become() moves it.
  bool is_replying_ = false;
  std::optional<PhaseController> controller_;
  ReplyOptions options_;
  std::vector<int32_t> prompt_;           // until it is read
  std::vector<float> allowed_;            // logits (vocab_size) of tokens that may be chosen
  Phase sampled_phase_ = Phase::kPrompt;  // whose settings the sampler has
};

}  // namespace pensee
