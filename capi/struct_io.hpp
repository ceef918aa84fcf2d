// Size-versioned structs: what callers with older and newer headers may give and get.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "pensee.h"
#include "pensee/base/result.hpp"

namespace pensee::capi {

// A size beyond this is not a struct of any version, but memory that nobody initialised.
inline constexpr size_t kLargestStruct = 4096;

// What the library knows of a struct. kSize: to the end of its last field, since sizeof would count
// padding, into which a later field may move. kFirstSize: as it was in the first release.
template <class T>
struct StructTraits;

#define PENSEE_SIZE_TO(type, field) (offsetof(type, field) + sizeof(type::field))
#define PENSEE_STRUCT_TRAITS(type, first_last_field, last_field)                               \
  template <>                                                                                  \
  struct StructTraits<type> {                                                                  \
    static constexpr const char* kName = #type;                                                \
    static constexpr size_t kSize = PENSEE_SIZE_TO(type, last_field);                          \
    static constexpr size_t kFirstSize = PENSEE_SIZE_TO(type, first_last_field);               \
    static_assert(std::is_trivially_copyable_v<type> && offsetof(type, struct_size) == 0);     \
    static_assert(kSize + alignof(type) > sizeof(type), #last_field " is not the last field"); \
  }

PENSEE_STRUCT_TRAITS(pensee_load_options, log_user_data, repack_dir);
PENSEE_STRUCT_TRAITS(pensee_model_info, thought_close, thought_close);
PENSEE_STRUCT_TRAITS(pensee_session_options, cache_type, cache_type);
PENSEE_STRUCT_TRAITS(pensee_memory_estimate, session_bytes, session_bytes);
PENSEE_STRUCT_TRAITS(pensee_sampler_options, seed, seed);
PENSEE_STRUCT_TRAITS(pensee_reply_options, prefill_progress_user_data, stop_in_thought);
PENSEE_STRUCT_TRAITS(pensee_event, answer_end, answer_end);
PENSEE_STRUCT_TRAITS(pensee_usage, accepted_tokens, accepted_tokens);
#undef PENSEE_STRUCT_TRAITS
#undef PENSEE_SIZE_TO

// Checks the size that a caller says its struct has.
template <class T>
Result<void> check_size(size_t size) {
  using Traits = StructTraits<T>;
  if (size >= Traits::kFirstSize && size <= kLargestStruct) return {};
  return invalid_argument(std::string(Traits::kName) + ".struct_size: expected " +
                          std::to_string(Traits::kFirstSize) + " or a little more, found " +
                          std::to_string(size) + "; was the struct initialised?");
}

// The caller's options, or `defaults` for NULL. A newer caller's further fields must be zero.
template <class T>
Result<T> read_struct(const T* given, const T& defaults) {
  using Traits = StructTraits<T>;
  if (given == nullptr) return defaults;
  const size_t size = given->struct_size;
  PENSEE_RETURN_IF_ERROR(check_size<T>(size));
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  if (size > Traits::kSize &&
      std::any_of(bytes + Traits::kSize, bytes + size, [](unsigned char b) { return b != 0; })) {
    return unsupported(std::string(Traits::kName) +
                       ": a field that this version of the library does not know is set");
  }
  T copy = defaults;
  std::memcpy(&copy, given, std::min(size, Traits::kSize));
  return copy;
}

// Writes as much of `value` as the caller's struct has room for; a newer caller's further fields
// become zero. `out->struct_size` stays.
template <class T>
Result<void> write_struct(T* out, T value) {
  using Traits = StructTraits<T>;
  if (out == nullptr) {
    return invalid_argument(std::string(Traits::kName) + ": expected a struct, found NULL");
  }
  const size_t size = out->struct_size;
  PENSEE_RETURN_IF_ERROR(check_size<T>(size));
  value.struct_size = size;
  std::memcpy(out, &value, std::min(size, Traits::kSize));
  if (size > Traits::kSize) {
    std::memset(reinterpret_cast<unsigned char*>(out) + Traits::kSize, 0, size - Traits::kSize);
  }
  return {};
}

// Fills a struct of a caller whose header has `header_version`.
template <class T>
pensee_status init_struct(T* out, size_t struct_size, uint32_t header_version,
                          const T& defaults) noexcept {
  constexpr uint32_t kMajor = 1000000;
  if (out == nullptr || struct_size < StructTraits<T>::kFirstSize || struct_size > kLargestStruct) {
    return PENSEE_ERROR_INVALID_ARGUMENT;
  }
  if (header_version / kMajor != PENSEE_VERSION_MAJOR) return PENSEE_ERROR_UNSUPPORTED;
  std::memset(out, 0, struct_size);
  std::memcpy(out, &defaults, std::min(struct_size, StructTraits<T>::kSize));
  out->struct_size = struct_size;
  return PENSEE_OK;
}

}  // namespace pensee::capi
