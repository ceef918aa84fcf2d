// Result<T>: the value of a call that can fail, or the Error that says why.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace pensee {

// Why a call failed. The list is the one source of truth for values and names; values are never
// reused. X(enumerator, value, printed name)
#define PENSEE_STATUS_LIST(X)                \
  X(kInvalidArgument, 1, "invalid argument") \
  X(kNotFound, 2, "not found")               \
  X(kIoError, 3, "input/output error")       \
  X(kCorruptFile, 4, "corrupt file")         \
  X(kUnsupported, 5, "unsupported")          \
  X(kOutOfMemory, 6, "out of memory")        \
  X(kCancelled, 7, "cancelled")              \
  X(kContextFull, 8, "context full")         \
  X(kWrongState, 9, "call out of order")     \
  X(kInternal, 10, "internal error")

enum class Status : int {
#define PENSEE_X(enumerator, value, text) enumerator = value,
  PENSEE_STATUS_LIST(PENSEE_X)
#undef PENSEE_X
};

[[nodiscard]] constexpr const char* status_name(Status status) noexcept {
  switch (status) {
#define PENSEE_X(enumerator, value, text) \
  case Status::enumerator:                \
    return text;
    PENSEE_STATUS_LIST(PENSEE_X)
#undef PENSEE_X
  }
  return "unknown status";
}

// What went wrong, in words a host can show: the file, the tensor, expected and found.
struct Error {
  Status status = Status::kInternal;
  std::string message;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  // Precondition: ok().
  [[nodiscard]] T& value() & { return assert(ok()), *std::get_if<0>(&state_); }
  [[nodiscard]] const T& value() const& { return assert(ok()), *std::get_if<0>(&state_); }
  [[nodiscard]] T&& value() && { return assert(ok()), std::move(*std::get_if<0>(&state_)); }
  [[nodiscard]] T& operator*() & { return value(); }
  [[nodiscard]] const T& operator*() const& { return value(); }
  [[nodiscard]] T&& operator*() && { return std::move(*this).value(); }
  [[nodiscard]] T* operator->() { return &value(); }
  [[nodiscard]] const T* operator->() const { return &value(); }

  // Precondition: !ok().
  [[nodiscard]] const Error& error() const& { return assert(!ok()), *std::get_if<1>(&state_); }
  [[nodiscard]] Error&& error() && { return assert(!ok()), std::move(*std::get_if<1>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : failed_(true), error_(std::move(error)) {}  // NOLINT: implicit

  [[nodiscard]] bool ok() const noexcept { return !failed_; }
  explicit operator bool() const noexcept { return ok(); }
  // Precondition: !ok().
  [[nodiscard]] const Error& error() const& { return assert(failed_), error_; }
  [[nodiscard]] Error&& error() && { return assert(failed_), std::move(error_); }

 private:
  bool failed_ = false;
  Error error_;
};

[[nodiscard]] inline Error invalid_argument(std::string message) {
  return {Status::kInvalidArgument, std::move(message)};
}
[[nodiscard]] inline Error corrupt_file(std::string message) {
  return {Status::kCorruptFile, std::move(message)};
}
[[nodiscard]] inline Error unsupported(std::string message) {
  return {Status::kUnsupported, std::move(message)};
}

}  // namespace pensee

#define PENSEE_CONCAT_INNER(a, b) a##b
#define PENSEE_CONCAT(a, b) PENSEE_CONCAT_INNER(a, b)

// Returns the error of a Result from the enclosing function, or goes on.
#define PENSEE_RETURN_IF_ERROR(expression)                 \
  do {                                                     \
    if (auto pensee_result = (expression); !pensee_result) \
      return std::move(pensee_result).error();             \
  } while (false)

// PENSEE_ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
#define PENSEE_ASSIGN_OR_RETURN(declaration, expression) \
  PENSEE_ASSIGN_OR_RETURN_INNER(PENSEE_CONCAT(pensee_result_, __LINE__), declaration, expression)
#define PENSEE_ASSIGN_OR_RETURN_INNER(result, declaration, expression) \
  auto result = (expression);                                          \
  if (!result) return std::move(result).error();                       \
  declaration = std::move(result).value()
