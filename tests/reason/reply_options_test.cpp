#include "pensee/reason/reply_options.hpp"

#include <doctest/doctest.h>

#include <string>

namespace pensee {
namespace {

TEST_CASE("options out of range are named") {
  const auto error = [](const ReplyOptions& options) {
    const Result<void> valid = validate(options);
    REQUIRE(!valid.ok());
    CHECK(valid.error().status == Status::kInvalidArgument);
    return valid.error().message.substr(0, valid.error().message.find(':'));
  };
  CHECK(error({.thinking_token_budget = -2}) == "thinking_token_budget");
  CHECK(error({.budget_message = "\xFF"}) == "budget_message");
  CHECK(error({.min_thought_tokens = -1}) == "min_thought_tokens");
  CHECK(error({.extension_text = "\xFF"}) == "extension_text");
  CHECK(error({.min_thought_tokens = 1, .extension_text = ""}) == "extension_text");
  CHECK(error({.max_extensions = -2}) == "max_extensions");
  CHECK(error({.max_answer_tokens = -2}) == "max_answer_tokens");
  CHECK(error({.max_tokens = -2}) == "max_tokens");
  CHECK(validate(ReplyOptions{}).ok());
  CHECK(validate(ReplyOptions{.thinking_token_budget = 0, .max_answer_tokens = 0}).ok());
}

TEST_CASE("the answer's sampler inherits the thought's, and that the model's") {
  ReplyOptions options;
  options.thought_sampler.temperature = 0.9F;
  options.thought_sampler.seed = 5;
  options.answer_sampler.temperature = 0.0F;
  const SamplerOptions defaults{.temperature = 0.6F, .top_p = 0.95F};
  CHECK(options.thought_settings(defaults) ==
        SamplerOptions{.temperature = 0.9F, .top_p = 0.95F, .seed = 5});
  CHECK(options.answer_settings(defaults) ==
        SamplerOptions{.temperature = 0, .top_p = 0.95F, .seed = 5});
}

}  // namespace
}  // namespace pensee
