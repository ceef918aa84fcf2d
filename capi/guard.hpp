// What every entry of the C interface has around it: no exception leaves, errors become objects.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "pensee.h"
#include "pensee/base/result.hpp"

namespace pensee::capi {

// Sets *error, if there is one, to an object with this message; without memory, to one that needs
// none. Returns `status`, or PENSEE_ERROR_OUT_OF_MEMORY then.
pensee_status fail(pensee_error** error, pensee_status status, std::string_view message) noexcept;
pensee_status fail_without_memory(pensee_error** error) noexcept;

// Runs `function`, which returns a Result<void>, and gives its status.
template <class Function>
pensee_status guard(pensee_error** error, Function&& function) noexcept {
  try {
    const Result<void> result = std::forward<Function>(function)();
    if (result) return PENSEE_OK;
    return fail(error, static_cast<pensee_status>(result.error().status), result.error().message);
  } catch (const std::bad_alloc&) {
    return fail_without_memory(error);
  } catch (const std::exception& exception) {
    return fail(error, PENSEE_ERROR_INTERNAL, exception.what());
  } catch (...) {
    return fail(error, PENSEE_ERROR_INTERNAL, "an unknown exception");
  }
}

inline Error null_argument(const char* name) {
  return invalid_argument(std::string(name) + ": expected a pointer, found NULL");
}

#define PENSEE_REQUIRE(pointer) \
  if ((pointer) == nullptr) return ::pensee::capi::null_argument(#pointer)

// The caller's array, which may be NULL if it is empty.
template <class T>
Result<std::span<T>> span_of(T* data, size_t size, const char* name) {
  if (data == nullptr && size != 0) return null_argument(name);
  if (size > static_cast<size_t>(PTRDIFF_MAX) / sizeof(T)) {
    return invalid_argument(std::string(name) + ": more elements than memory has bytes");
  }
  return std::span<T>(data, size);
}

// The caller's text; see PENSEE_NUL_TERMINATED.
inline Result<std::string_view> text_of(const char* text, size_t size, const char* name) {
  if (size == PENSEE_NUL_TERMINATED) {
    if (text == nullptr) return null_argument(name);
    return std::string_view(text);
  }
  PENSEE_ASSIGN_OR_RETURN(const std::span<const char> bytes, span_of(text, size, name));
  return std::string_view(bytes.data(), bytes.size());
}

// A copy for the caller to pensee_free(), with `extra` zero bytes after it; never NULL.
inline void* copy_for_caller(const void* data, size_t size, size_t extra) {
  auto* copy = static_cast<unsigned char*>(std::malloc(std::max<size_t>(size + extra, 1)));
  if (copy == nullptr) throw std::bad_alloc();
  if (size != 0) std::memcpy(copy, data, size);
  if (extra != 0) std::memset(copy + size, 0, extra);
  return copy;
}

}  // namespace pensee::capi
