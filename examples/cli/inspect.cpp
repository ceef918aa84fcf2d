// info, tokenize, logits: looks into a model.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <optional>

#include "commands.hpp"
#include "load.hpp"
#include "npy.hpp"
#include "pensee/text/load_tokenizer.hpp"
#include "terminal.hpp"

namespace pensee::cli {
namespace {

std::string mebibytes(size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

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

}  // namespace

Result<int> run_info(const ModelOptions& options) {
  PENSEE_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(options));
  PENSEE_ASSIGN_OR_RETURN(const Config config, read_config(*checkpoint));
  print_row("folder", checkpoint->directory());
  for (const auto& [key, value] : config.fields()) print_row(key, value);

  std::map<std::string, std::pair<int64_t, size_t>> types;  // count and bytes
  for (const TensorView& tensor : checkpoint->tensors()) {
    auto& [count, bytes] = types[std::string(dtype_name(tensor.dtype))];
    ++count;
    bytes += tensor.bytes;
  }
  for (const auto& [name, total] : types) {
    print_row("tensors " + name, std::to_string(total.first) + ", " + mebibytes(total.second));
  }
  print_row("files", mebibytes(checkpoint->bytes()));
  PENSEE_ASSIGN_OR_RETURN(const size_t session,
                          Sequence::estimate_memory(config, {}, thread_count(options)));
  print_row("memory of a session", mebibytes(session) + " at the default context");
  print_row("kernels here", best_kernels().name);
  return 0;
}

Result<int> run_tokenize(const ModelOptions& options, const std::string& text) {
  PENSEE_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(options));
  PENSEE_ASSIGN_OR_RETURN(const std::optional<Tokenizer> tokenizer, load_tokenizer(*checkpoint));
  if (!tokenizer) return unsupported(checkpoint->source() + ": has no vocabulary, only token ids");
  PENSEE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer->encode(text));
  for (const int32_t id : ids) {
    write_out(std::to_string(id) + "\t" + quoted(tokenizer->token_bytes(id)) + "\n");
  }
  return 0;
}

Result<int> run_logits(const LogitsOptions& options) {
  PENSEE_ASSIGN_OR_RETURN(const auto model, load_transformer(options.model));
  SequenceOptions sequence_options;
  sequence_options.context_length = static_cast<int64_t>(options.ids.size());
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
  PENSEE_RETURN_IF_ERROR(sequence.prefill_with_logits(
      options.ids,
      [&](int64_t, int64_t, std::span<const float> logits) {
        if (written) written = file.append(logits);
      },
      [&](int64_t done, int64_t total) {
        bar.show(static_cast<double>(done) / static_cast<double>(total));
        return written.ok();
      }));
  PENSEE_RETURN_IF_ERROR(std::move(written));
  PENSEE_RETURN_IF_ERROR(file.close());
  return 0;
}

}  // namespace pensee::cli
