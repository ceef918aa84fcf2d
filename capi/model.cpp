// Models: loading, facts, tokens.
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "handles.hpp"
#include "pensee/kernels/dispatch.hpp"

namespace pensee::capi {
namespace {

Result<LoadOptions> load_options(const pensee_load_options* given) {
  pensee_load_options defaults{};
  defaults.struct_size = sizeof defaults;
  PENSEE_ASSIGN_OR_RETURN(const pensee_load_options options, read_struct(given, defaults));
  LoadOptions out;
  out.kernels = &best_kernels();
  out.threads = options.n_threads;
  out.read_ahead = options.read_ahead != 0;
  if (options.repack_dir != nullptr) out.repack_dir = options.repack_dir;
  if (options.progress != nullptr) {
    out.progress = [call = options.progress, user_data = options.progress_user_data](
                       double fraction) { return call(user_data, fraction) == 0; };
  }
  if (options.log != nullptr) {
    out.log = [call = options.log, user_data = options.log_user_data](LogLevel level,
                                                                      std::string_view message) {
      call(user_data, static_cast<int32_t>(level), std::string(message).c_str());
    };
  }
  return out;
}

// The handle of a loaded model.
Result<void> hand_over(Result<std::shared_ptr<const Model>> loaded, pensee_model** out) {
  PENSEE_ASSIGN_OR_RETURN(std::shared_ptr<const Model> model, std::move(loaded));
  auto state = std::make_shared<ModelState>();
  const auto text_of_tokens = [&](const std::vector<int32_t>& ids) {
    return model->tokenizer().decode(ids, false);
  };
  state->thought_open = text_of_tokens(model->delimiters().open);
  state->thought_close = text_of_tokens(model->delimiters().close);
  state->model = std::move(model);
  *out = new pensee_model{std::move(state)};
  return {};
}

static_assert(static_cast<int>(LogLevel::kDebug) == PENSEE_LOG_DEBUG);
static_assert(static_cast<int>(LogLevel::kInfo) == PENSEE_LOG_INFO);
static_assert(static_cast<int>(LogLevel::kWarning) == PENSEE_LOG_WARNING);

}  // namespace
}  // namespace pensee::capi

using namespace pensee;        // NOLINT: this file defines the interface
using namespace pensee::capi;  // NOLINT

pensee_status pensee_model_load(const char* path, const pensee_load_options* options,
                                pensee_model** model, pensee_error** error) {
  if (model != nullptr) *model = nullptr;
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(path);
    PENSEE_REQUIRE(model);
    PENSEE_ASSIGN_OR_RETURN(const LoadOptions load, load_options(options));
    return hand_over(Model::load(path, load), model);
  });
}

pensee_status pensee_model_load_buffers(const pensee_buffer* buffers, size_t n_buffers,
                                        const pensee_load_options* options, pensee_model** model,
                                        pensee_error** error) {
  if (model != nullptr) *model = nullptr;
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(model);
    PENSEE_ASSIGN_OR_RETURN(const auto given, span_of(buffers, n_buffers, "buffers"));
    std::vector<NamedBuffer> files;
    for (const pensee_buffer& buffer : given) {
      PENSEE_REQUIRE(buffer.name);
      PENSEE_ASSIGN_OR_RETURN(const auto bytes, span_of(static_cast<const std::byte*>(buffer.data),
                                                        buffer.size, buffer.name));
      files.push_back({buffer.name, bytes});
    }
    PENSEE_ASSIGN_OR_RETURN(const LoadOptions load, load_options(options));
    return hand_over(Model::load_buffers(files, load), model);
  });
}

void pensee_model_destroy(pensee_model* model) {
  delete model;
}

pensee_status pensee_model_get_info(const pensee_model* model, pensee_model_info* info,
                                    pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(model);
    PENSEE_REQUIRE(info);
    const Model& m = *model->state->model;
    const Config& config = m.config();
    pensee_model_info out{};
    out.architecture = config.model_type.c_str();
    out.kernels = m.transformer()->kernels().name;
    out.n_threads = m.transformer()->pool().size();
    out.n_layers = config.n_layers;
    out.hidden_size = config.hidden_size;
    out.vocab_size = config.vocab_size;
    out.max_context_length = config.context_limit();
    out.n_routed_experts = config.n_routed_experts;
    out.num_experts_per_tok = config.has_moe() ? config.num_experts_per_tok : 0;
    out.weights_bytes = m.transformer()->checkpoint().bytes();
    out.can_think = model->state->thought_open.empty() ? 0 : 1;
    out.has_chat_template = m.chat_template().ok() ? 1 : 0;
    out.thought_open = model->state->thought_open.c_str();
    out.thought_close = model->state->thought_close.c_str();
    return write_struct(info, out);
  });
}

pensee_status pensee_model_tokenize(const pensee_model* model, const char* text, size_t text_size,
                                    int32_t parse_special, int32_t** tokens, size_t* n_tokens,
                                    pensee_error** error) {
  if (tokens != nullptr) *tokens = nullptr;
  if (n_tokens != nullptr) *n_tokens = 0;
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(model);
    PENSEE_REQUIRE(tokens);
    PENSEE_REQUIRE(n_tokens);
    PENSEE_ASSIGN_OR_RETURN(const std::string_view view, text_of(text, text_size, "text"));
    const Tokenizer& tokenizer = model->state->model->tokenizer();
    PENSEE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, parse_special != 0
                                                                ? tokenizer.encode(view)
                                                                : tokenizer.encode_ordinary(view));
    *tokens = static_cast<int32_t*>(copy_for_caller(ids.data(), ids.size() * sizeof(int32_t), 0));
    *n_tokens = ids.size();
    return {};
  });
}

pensee_status pensee_model_detokenize(const pensee_model* model, const int32_t* tokens,
                                      size_t n_tokens, int32_t skip_special, char** text,
                                      size_t* text_size, pensee_error** error) {
  if (text != nullptr) *text = nullptr;
  if (text_size != nullptr) *text_size = 0;
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(model);
    PENSEE_REQUIRE(text);
    PENSEE_ASSIGN_OR_RETURN(const auto ids, span_of(tokens, n_tokens, "tokens"));
    const Tokenizer& tokenizer = model->state->model->tokenizer();
    for (const int32_t id : ids) {
      if (id >= 0 && id < model->state->model->config().vocab_size) continue;
      return invalid_argument("tokens: expected 0 to " +
                              std::to_string(model->state->model->config().vocab_size - 1) +
                              ", found " + std::to_string(id));
    }
    const std::string decoded = tokenizer.decode(ids, skip_special != 0);
    *text = static_cast<char*>(copy_for_caller(decoded.data(), decoded.size(), 1));
    if (text_size != nullptr) *text_size = decoded.size();
    return {};
  });
}

const char* pensee_model_token_bytes(const pensee_model* model, int32_t token, size_t* size) {
  if (size != nullptr) *size = 0;
  if (model == nullptr) return nullptr;
  const Tokenizer& tokenizer = model->state->model->tokenizer();
  if (token < 0 || token >= tokenizer.vocab_size()) return nullptr;
  const std::string_view bytes = tokenizer.token_bytes(token);
  if (size != nullptr) *size = bytes.size();
  return bytes.data();
}

int32_t pensee_model_token_is_special(const pensee_model* model, int32_t token) {
  return model != nullptr && model->state->model->tokenizer().is_special(token) ? 1 : 0;
}

pensee_status pensee_estimate_memory(const char* path, const pensee_session_options* options,
                                     int32_t n_threads, pensee_memory_estimate* estimate,
                                     pensee_error** error) {
  return guard(error, [&]() -> Result<void> {
    PENSEE_REQUIRE(path);
    PENSEE_REQUIRE(estimate);
    PENSEE_ASSIGN_OR_RETURN(const SessionOptions session, session_options(options));
    PENSEE_ASSIGN_OR_RETURN(const MemoryEstimate found,
                            Model::estimate_memory(path, session, n_threads, best_kernels()));
    pensee_memory_estimate out{};
    out.weights_bytes = found.weights_bytes;
    out.converted_bytes = found.converted_bytes;
    out.session_bytes = found.session_bytes;
    return write_struct(estimate, out);
  });
}
