// Inputs of capi_fuzz as arguments of calls, and what every call promises.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>

#include "fuzz.hpp"
#include "pensee.h"

namespace pensee::fuzz {

// The arguments, taken from the input one after the other; zeros when it is used up.
class Script {
 public:
  Script(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  [[nodiscard]] bool is_over() const { return size_ == 0; }
  size_t byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  size_t below(size_t n) { return byte() % n; }
  // Once in 32 times: a call has many arguments, and one wrong one is the end of it.
  bool rarely() { return below(32) == 31; }
  // From `least` to `most`, sometimes one from beyond the limits.
  int64_t number(int64_t least, int64_t most) {
    static constexpr int64_t kOdd[] = {-1, INT64_MIN, INT64_MAX, INT32_MAX, PENSEE_UNSET, 1 << 20};
    if (rarely()) return kOdd[below(std::size(kOdd))];
    return least + static_cast<int64_t>(below(static_cast<size_t>(most - least) + 1));
  }
  float real() {
    static constexpr float kReals[] = {0,     0.5F,  1,    1.5F,   -1,           2,    1e-30F,
                                       1e30F, 0.95F, 0.1F, -1e30F, PENSEE_UNSET, -0.0F};
    return rarely() ? std::numeric_limits<float>::quiet_NaN() : kReals[below(std::size(kReals))];
  }
  // Borrowed from the input or a constant; may be no UTF-8.
  std::string text() {
    static constexpr std::string_view kTexts[] = {"",
                                                  "1+1?",
                                                  "What is 12 + 30?",
                                                  "<think>",
                                                  "</think>\n",
                                                  "\xC3\xA9\xE2\x86\x92",
                                                  "a",
                                                  "\\boxed{",
                                                  "<\xEF\xBD\x9CUser\xEF\xBD\x9C>",
                                                  "\xE4\xBD\xA0",
                                                  "Wait",
                                                  "\n\n"};
    const size_t which = below(32);
    if (which < 24) return std::string(kTexts[which % std::size(kTexts)]);
    std::string text;
    for (size_t n = below(24); n > 0; --n) text.push_back(static_cast<char>(byte()));
    return text;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

// Whose address no result may keep.
inline int sentinel = 0;

template <class T>
T* poisoned() {
  return reinterpret_cast<T*>(&sentinel);
}

// Makes a call, which is given where to put an error, and checks what came of it.
template <class Call>
pensee_status checked(Script& script, Call&& call) {
  if (script.rarely()) return call(nullptr);
  auto* error = poisoned<pensee_error>();
  const pensee_status status = call(&error);
  FUZZ_CHECK(status >= PENSEE_OK && status <= PENSEE_ERROR_INTERNAL);
  if (status == PENSEE_OK) {
    FUZZ_CHECK(error == poisoned<pensee_error>());
    return status;
  }
  FUZZ_CHECK(error != nullptr && error != poisoned<pensee_error>());
  FUZZ_CHECK(pensee_error_status(error) == status);
  FUZZ_CHECK(std::strlen(pensee_error_message(error)) > 3);
  FUZZ_CHECK(status != PENSEE_ERROR_INTERNAL);
  pensee_error_destroy(error);
  return status;
}

}  // namespace pensee::fuzz
