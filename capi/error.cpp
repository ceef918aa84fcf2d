// Errors, versions, and memory that the caller frees.
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include "guard.hpp"
#include "pensee/kernels/dispatch.hpp"

struct pensee_error {
  pensee_status status;
  const char* message;  // behind this object, in the same block; of the static one, a literal
};

namespace pensee::capi {
namespace {

// Given out when there is no memory for another. Never freed, so constant.
const pensee_error kOutOfMemoryError{PENSEE_ERROR_OUT_OF_MEMORY, "out of memory"};

}  // namespace

pensee_status fail_without_memory(pensee_error** error) noexcept {
  if (error != nullptr) *error = const_cast<pensee_error*>(&kOutOfMemoryError);
  return PENSEE_ERROR_OUT_OF_MEMORY;
}

pensee_status fail(pensee_error** error, pensee_status status, std::string_view message) noexcept {
  if (error == nullptr) return status;
  void* block = std::malloc(sizeof(pensee_error) + message.size() + 1);
  if (block == nullptr) return fail_without_memory(error);
  char* text = static_cast<char*>(block) + sizeof(pensee_error);
  std::memcpy(text, message.data(), message.size());
  text[message.size()] = '\0';
  *error = new (block) pensee_error{status, text};
  return status;
}

// The header's values are those of the core, one by one.
#define PENSEE_X(enumerator, value, text) +1
static_assert(0 PENSEE_STATUS_LIST(PENSEE_X) == 10);
#undef PENSEE_X
static_assert(static_cast<int>(Status::kInvalidArgument) == PENSEE_ERROR_INVALID_ARGUMENT);
static_assert(static_cast<int>(Status::kNotFound) == PENSEE_ERROR_NOT_FOUND);
static_assert(static_cast<int>(Status::kIoError) == PENSEE_ERROR_IO);
static_assert(static_cast<int>(Status::kCorruptFile) == PENSEE_ERROR_CORRUPT_FILE);
static_assert(static_cast<int>(Status::kUnsupported) == PENSEE_ERROR_UNSUPPORTED);
static_assert(static_cast<int>(Status::kOutOfMemory) == PENSEE_ERROR_OUT_OF_MEMORY);
static_assert(static_cast<int>(Status::kCancelled) == PENSEE_ERROR_CANCELLED);
static_assert(static_cast<int>(Status::kContextFull) == PENSEE_ERROR_CONTEXT_FULL);
static_assert(static_cast<int>(Status::kWrongState) == PENSEE_ERROR_WRONG_STATE);
static_assert(static_cast<int>(Status::kInternal) == PENSEE_ERROR_INTERNAL);

}  // namespace pensee::capi

using pensee::capi::kOutOfMemoryError;

uint32_t pensee_version(void) {
  return PENSEE_VERSION;
}

#define PENSEE_TEXT_OF(x) #x
#define PENSEE_TEXT(x) PENSEE_TEXT_OF(x)
const char* pensee_version_string(void) {
  return PENSEE_TEXT(PENSEE_VERSION_MAJOR) "." PENSEE_TEXT(PENSEE_VERSION_MINOR) "." PENSEE_TEXT(
      PENSEE_VERSION_PATCH);
}

int32_t pensee_has_feature(const char* name) {
  if (name == nullptr) return 0;
  for (const char* known : {"safetensors", "gguf", "fp8"}) {
    if (std::strcmp(name, known) == 0) return 1;
  }
  int32_t found = 0;
  pensee::capi::guard(nullptr, [&]() -> pensee::Result<void> {
    for (const pensee::KernelTable* table : pensee::compiled_kernels()) {
      if (std::strcmp(name, table->name) == 0) found = 1;
    }
    return {};
  });
  return found;
}

const char* pensee_status_string(pensee_status status) {
  return status == PENSEE_OK ? "ok" : pensee::status_name(static_cast<pensee::Status>(status));
}

pensee_status pensee_error_status(const pensee_error* error) {
  return error == nullptr ? PENSEE_OK : error->status;
}

const char* pensee_error_message(const pensee_error* error) {
  return error == nullptr ? "" : error->message;
}

void pensee_error_destroy(pensee_error* error) {
  if (error != &kOutOfMemoryError) std::free(error);
}

void pensee_free(void* memory) {
  std::free(memory);
}
