// info, tokenize, logits: looks into a model.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <optional>

#include "commands.hpp"
#include "load.hpp"
#include "npy.hpp"
#include "pensee/base/json.hpp"
#include "pensee/model/sequence.hpp"
#include "pensee/model/weight_reader.hpp"
#include "pensee/reason/model.hpp"
#include "pensee/text/load_tokenizer.hpp"
#include "pensee/text/utf8.hpp"
#include "terminal.hpp"

namespace pensee::cli {
namespace {

void print_row(const std::string& name, const std::string& value) {
  constexpr size_t kNameWidth = 26;
  const size_t gap = name.size() < kNameWidth ? kNameWidth - name.size() : 1;
  write_out(name + std::string(gap, ' ') + value + "\n");
}

// The bytes of a token in double quotes, those that are not printable ASCII or UTF-8 as \xHH.
std::string quoted(std::string_view bytes) {
  std::string text = "\"";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      text += "\\n";
    } else if (c == '"' || c == '\\') {
      text += {'\\', c};
    } else if (byte < ' ' || byte >= 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", byte);
      text += escape;
    } else {
      text += c;
    }
  }
  return text + "\"";
}

// As the file calls it, and the family.
std::string architecture_of(const Checkpoint& checkpoint, const Config& config) {
  const GgufMetadata* metadata = checkpoint.gguf();
  const auto value = metadata != nullptr ? metadata->find("general.architecture") : std::nullopt;
  if (!value || !value->is_string()) return config.model_type;
  return std::string(*value->as_string()) + " (" + config.model_type + ")";
}

// How many tensors of each type there are, and how large they are together.
void print_tensors(const Checkpoint& checkpoint) {
  std::map<std::string, std::pair<int64_t, size_t>> types;  // count and bytes
  for (const TensorView& tensor : checkpoint.tensors()) {
    auto& [count, bytes] = types[std::string(dtype_name(tensor.dtype))];
    ++count;
    bytes += tensor.bytes;
  }
  for (const auto& [name, total] : types) {
    print_row("tensors " + name, std::to_string(total.first) + ", " + mebibytes(total.second));
  }
  print_row("files", mebibytes(checkpoint.bytes()));
}

// "</think> (128799)": the text and the ids of some tokens.
std::string token_text(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::string text;
  std::string numbers;
  for (const int32_t id : ids) {
    text += tokenizer.token_bytes(id);
    numbers += (numbers.empty() ? "" : ", ") + std::to_string(id);
  }
  return (find_malformed_utf8(text) ? quoted(std::string_view(text)) : Json(text).dump()) + " (" +
         numbers + ")";
}

// What the model makes of texts. A model that cannot be asked is no error here: the row says why.
void print_texts(const ModelOptions& options) {
  LoadOptions load;
  load.kernels = &best_kernels();
  load.threads = 1;
  const auto model = Model::load(model_path(options), load);
  if (!model) {
    print_row("questions", "impossible: " + model.error().message);
    return;
  }
  const Tokenizer& tokenizer = (*model)->tokenizer();
  print_row("tokens", std::to_string(tokenizer.vocab_size()));
  const Result<ChatTemplate>& chat_template = (*model)->chat_template();
  if (!chat_template) {
    print_row("chat template", "none that is known: " + chat_template.error().message);
  } else {
    print_row("chat template",
              std::string(chat_template->form()) +
                  (chat_template->opens_thought() ? ", opens the thought" : "") +
                  (chat_template->has_thinking_switch() ? ", has a switch for thinking" : ""));
  }
  const Delimiters& delimiters = (*model)->delimiters();
  if (!delimiters.open.empty()) {
    print_row("thought opens with", token_text(tokenizer, delimiters.open));
    print_row("thought closes with", token_text(tokenizer, delimiters.close));
  }
  for (const int32_t id : delimiters.end) {
    print_row("reply ends with", token_text(tokenizer, {id}));
  }
}

Result<void> print_memory(const InfoOptions& options) {
  SessionOptions session;
  session.context_length = options.context;
  PENSEE_ASSIGN_OR_RETURN(session.cache_type, cache_type_from_name(options.model.cache_type));
  PENSEE_ASSIGN_OR_RETURN(const MemoryEstimate memory,
                          Model::estimate_memory(model_path(options.model), session,
                                                 options.model.threads, best_kernels()));
  print_row("memory of the weights", mebibytes(memory.weights_bytes) + ", mapped from the files");
  print_row("memory besides", mebibytes(memory.converted_bytes) + " at most");
  print_row("memory of a session",
            mebibytes(memory.session_bytes) + " at " +
                (options.context == 0 ? "the default context"
                                      : std::to_string(options.context) + " tokens of context"));
  return {};
}

}  // namespace

Result<int> run_info(const InfoOptions& options) {
  PENSEE_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(options.model));
  PENSEE_ASSIGN_OR_RETURN(Config config, read_config(*checkpoint));
  // What config.json promises may not be in the files.
  if (!has_mtp_layer(*checkpoint, config)) config.num_nextn_predict_layers = 0;
  print_row("model", checkpoint->source());
  print_row("format", checkpoint->gguf() != nullptr ? "GGUF" : "safetensors");
  print_row("architecture", architecture_of(*checkpoint, config));
  for (const auto& [key, value] : config.fields()) print_row(key, value);
  print_tensors(*checkpoint);
  print_texts(options.model);
  PENSEE_RETURN_IF_ERROR(print_memory(options));
  print_row("kernels here", best_kernels().name);
  return 0;
}

Result<int> run_tokenize(const ModelOptions& options, const std::string& text) {
  PENSEE_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(options));
  PENSEE_ASSIGN_OR_RETURN(const std::optional<Tokenizer> tokenizer, load_tokenizer(*checkpoint));
  if (!tokenizer) return unsupported(checkpoint->source() + ": has no vocabulary, only token ids");
  PENSEE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer->encode(given_or_input(text)));
  for (const int32_t id : ids) {
    write_out(std::to_string(id) + "\t" + quoted(tokenizer->token_bytes(id)) + "\n");
  }
  return 0;
}

Result<int> run_logits(const LogitsOptions& options) {
  PENSEE_ASSIGN_OR_RETURN(const auto model, load_transformer(options.model));
  SequenceOptions sequence_options;
  sequence_options.context_length = static_cast<int64_t>(options.ids.size());
  sequence_options.cache_type = CacheType::kF32;
  PENSEE_ASSIGN_OR_RETURN(Sequence sequence, Sequence::create(model, sequence_options));
  const int64_t vocab = model->config().vocab_size;
  for (const int32_t id : options.ids) {
    if (id < 0 || id >= vocab) {
      return invalid_argument("--ids: expected 0 to " + std::to_string(vocab - 1) + ", found " +
                              std::to_string(id));
    }
  }
  PENSEE_ASSIGN_OR_RETURN(NpyWriter file,
                          NpyWriter::create(options.out, sequence.capacity(), vocab));
  Result<void> written;
  ProgressBar bar("reading the prompt");
  Result<void> read = sequence.prefill_with_logits(
      options.ids,
      [&](int64_t, int64_t, std::span<const float> logits) {
        if (written) written = file.append(logits);
      },
      [&](int64_t done, int64_t total) {
        bar.show(static_cast<double>(done) / static_cast<double>(total));
        return written.ok();
      });
  PENSEE_RETURN_IF_ERROR(std::move(written));  // first: it may be why the rest was not read
  PENSEE_RETURN_IF_ERROR(std::move(read));
  PENSEE_RETURN_IF_ERROR(file.close());
  return 0;
}

}  // namespace pensee::cli
