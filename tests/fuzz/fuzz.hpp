// What a fuzz target gives to the driver. libFuzzer can drive it too: it needs the first function
// only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

// Takes one input. What is bad in it must become an error, and whatever else ends the process.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace pensee::fuzz {

// Words that inputs of this target are made of.
std::span<const std::string_view> words();

[[noreturn]] inline void fail(const char* file, int line, const char* what) {
  std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
  std::abort();
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace pensee::fuzz

// Ends the process unless the condition holds, NDEBUG or not.
#define FUZZ_CHECK(condition) \
  if (!(condition)) pensee::fuzz::fail(__FILE__, __LINE__, #condition)

// An error must name its file, here "f".
#define FUZZ_CHECK_ERROR(error) \
  FUZZ_CHECK((error).message.starts_with("f") && (error).message.size() > 5)
