// GGUF files: metadata, tensors, what they say about the data, and the configuration and the
// tokenizer that the metadata holds.
#include <array>

#include "fuzz.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/gguf.hpp"
#include "pensee/model/config_gguf.hpp"
#include "pensee/text/tokenizer.hpp"

namespace {

// Asks for the value as everything that it may be.
void read_value(const pensee::GgufValue& value) {
  FUZZ_CHECK(!value.found().empty());
  if (const auto number = value.as_int(); !number) FUZZ_CHECK_ERROR(number.error());
  if (const auto number = value.as_double(); !number) FUZZ_CHECK_ERROR(number.error());
  if (const auto flag = value.as_bool(); !flag) FUZZ_CHECK_ERROR(flag.error());
  if (const auto text = value.as_string()) FUZZ_CHECK(text->size() <= value.bytes().size());
  if (const auto texts = value.as_strings()) FUZZ_CHECK(texts->size() == value.size());
  if (const auto numbers = value.as_ints()) FUZZ_CHECK(numbers->size() == value.size());
  if (const auto numbers = value.as_floats()) FUZZ_CHECK(numbers->size() == value.size());
}

void read_model(std::span<const std::byte> bytes) {
  using namespace pensee;
  const NamedBuffer buffer{"f.gguf", bytes};
  const auto checkpoint = Checkpoint::open_buffers({&buffer, 1});
  if (!checkpoint || (*checkpoint)->gguf() == nullptr) return;
  const GgufMetadata& metadata = *(*checkpoint)->gguf();
  const auto config = config_from_gguf(metadata, **checkpoint);
  FUZZ_CHECK(config.ok() ? !config->fields().empty() : !config.error().message.empty());
  const auto tokenizer = Tokenizer::from_gguf(metadata);
  if (!tokenizer) {
    FUZZ_CHECK(!tokenizer.error().message.empty());
    return;
  }
  if (const auto ids = tokenizer->encode("It's 12 aab\n \xC3\xA9<think>")) {
    for (const int32_t id : *ids) FUZZ_CHECK(id >= 0 && id < tokenizer->vocab_size());
    FUZZ_CHECK(tokenizer->decode(*ids, true).size() <= tokenizer->decode(*ids, false).size());
  }
}

}  // namespace

std::span<const std::string_view> pensee::fuzz::words() {
  static constexpr auto kWords =
      std::to_array<std::string_view>({"GGUF",
                                       "general.alignment",
                                       "general.architecture",
                                       "split.count",
                                       "split.no",
                                       "tokenizer.ggml.tokens",
                                       "token_embd.weight",
                                       {"\x03\0\0\0", 4},
                                       {"\x09\0\0\0", 4},
                                       {"\x08\0\0\0", 4},
                                       {"\x20\0\0\0\0\0\0\0", 8},
                                       {"\0\x01\0\0\0\0\0\0", 8},
                                       {"\xff\xff\xff\xff\xff\xff\xff\xff", 8},
                                       {"\0\0\0\x80\0\0\0\0", 8},
                                       {"\0\0\0\0\0\0\0\x80", 8},
                                       {"\x09\0\0\0\x08\0\0\0", 8}});
  return kWords;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  read_model(bytes);
  const auto file = pensee::GgufFile::from_bytes(bytes, "f");
  if (!file) {
    FUZZ_CHECK_ERROR(file.error());
    return 0;
  }
  for (const pensee::GgufValue& value : (*file)->metadata().values()) {
    FUZZ_CHECK((*file)->metadata().find(value.key()).has_value());
    read_value(value);
  }
  unsigned sum = 0;
  for (const pensee::TensorView& tensor : (*file)->tensors()) {
    FUZZ_CHECK(tensor.bytes <= size);
    for (size_t i = 0; i < tensor.bytes; ++i) sum += static_cast<unsigned>(tensor.data[i]);
    FUZZ_CHECK(!tensor.shape.to_string().empty());
  }
  FUZZ_CHECK((*file)->tensors().empty() || sum <= 255 * size * (*file)->tensors().size());
  return 0;
}
