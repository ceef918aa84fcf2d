// Log messages for a host that wants them; the library itself never prints.
#pragma once

#include <functional>
#include <string_view>

namespace pensee {

// The list is the one source of truth for values and names; values are never reused.
// X(enumerator, value, printed name)
//   kDebug    what only a search for a fault needs
//   kInfo     what was chosen and done
//   kWarning  it goes on, but not as the host may expect
#define PENSEE_LOG_LEVEL_LIST(X) \
  X(kDebug, 0, "debug")          \
  X(kInfo, 1, "info")            \
  X(kWarning, 2, "warning")

enum class LogLevel : int {
#define PENSEE_X(enumerator, value, name) enumerator = value,
  PENSEE_LOG_LEVEL_LIST(PENSEE_X)
#undef PENSEE_X
};

[[nodiscard]] constexpr const char* name_of(LogLevel level) noexcept {
  switch (level) {
#define PENSEE_X(enumerator, value, name) \
  case LogLevel::enumerator:              \
    return name;
    PENSEE_LOG_LEVEL_LIST(PENSEE_X)
#undef PENSEE_X
  }
  return "unknown";
}

// Takes one message without a newline, in UTF-8 but for the names of files that it quotes; the text
// is valid during the call. May be empty.
using Log = std::function<void(LogLevel level, std::string_view message)>;

}  // namespace pensee
