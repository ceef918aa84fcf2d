// A vocabulary for scripts: an ASCII character is its own token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pensee {

// Its bytes; none for other tokens.
inline std::string_view ascii_token_bytes(int32_t token) {
  static const std::string table = [] {
    std::string s;
    for (int c = 0; c < 128; ++c) s.push_back(static_cast<char>(c));
    return s;
  }();
  return token < 128 ? std::string_view(table).substr(static_cast<size_t>(token), 1) : "";
}

}  // namespace pensee
