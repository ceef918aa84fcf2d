// Safetensors files: their headers, and what they say about the data.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "fuzz.hpp"
#include "pensee/io/safetensors.hpp"

namespace {

using pensee::SafetensorsFile;

void read(std::span<const std::byte> bytes) {
  const auto file = SafetensorsFile::from_bytes(bytes, "f");
  if (!file) {
    FUZZ_CHECK_ERROR(file.error());
    return;
  }
  // The tensors cover the data: all of it is read once, none beyond it.
  size_t total = 0;
  unsigned sum = 0;
  for (const pensee::TensorView& tensor : (*file)->tensors()) {
    FUZZ_CHECK(tensor.data >= bytes.data() && tensor.bytes <= bytes.size());
    for (size_t i = 0; i < tensor.bytes; ++i) sum += static_cast<unsigned>(tensor.data[i]);
    total += tensor.bytes;
  }
  FUZZ_CHECK(total <= bytes.size() && sum <= 255 * total);
}

}  // namespace

std::span<const std::string_view> pensee::fuzz::words() {
  static constexpr auto kWords =
      std::to_array<std::string_view>({"\"dtype\":",
                                       "\"shape\":",
                                       "\"data_offsets\":",
                                       "\"__metadata__\":",
                                       "\"F32\"",
                                       "\"BF16\"",
                                       "\"F8_E4M3\"",
                                       "\"I64\"",
                                       "\"BOOL\"",
                                       "\"F4\"",
                                       "[0,4]",
                                       "[]",
                                       "{}",
                                       "null",
                                       "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}",
                                       ",\"t\":",
                                       "-1",
                                       "1e400",
                                       "18446744073709551616",
                                       "[[",
                                       "\\u0000",
                                       "\\ud800"});
  return kWords;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  read(bytes);
  // Again with the length of the header that mutations have changed: to its last brace.
  constexpr size_t kLength = sizeof(uint64_t);
  if (size < kLength) return 0;
  const size_t brace = pensee::fuzz::text_of(data, size).rfind('}');
  if (brace == std::string_view::npos || brace < kLength) return 0;
  std::vector<std::byte> repaired(bytes.begin(), bytes.end());
  const uint64_t length = brace + 1 - kLength;
  std::memcpy(repaired.data(), &length, kLength);
  read(repaired);
  return 0;
}
