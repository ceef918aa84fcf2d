// Writes a whole file so that nobody ever sees half of it.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <system_error>

#include "pensee/base/result.hpp"

namespace pensee {

namespace replace_file_detail {

inline Error system_error(const std::string& path, const char* verb, int code) {
  const Status status = code == ENOENT || code == ENOTDIR ? Status::kNotFound : Status::kIoError;
  return {status,
          path + ": cannot " + verb + " the file: " + std::generic_category().message(code)};
}

// 0, or the error's number.
inline int write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return ::fsync(fd) == 0 ? 0 : errno;
}

}  // namespace replace_file_detail

// Writes a temporary file beside `path` (its name and six more characters), then gives it the name;
// a file that was there is replaced. On an error the old file stays and the temporary one goes.
// Only the owner may read the new file. Errors: kInvalidArgument, kNotFound if there is no such
// directory, kIoError.
[[nodiscard]] inline Result<void> replace_file(const std::string& path,
                                               std::span<const std::byte> bytes) {
  if (path.empty() || path.find('\0') != path.npos) {
    return invalid_argument("file path: expected a path, found an empty one or a NUL byte");
  }
  std::string temporary = path + ".XXXXXX";
  const int fd = ::mkstemp(temporary.data());
  if (fd < 0) return replace_file_detail::system_error(path, "create", errno);
  int code = replace_file_detail::write_all(fd, bytes);
  if (::close(fd) != 0 && code == 0) code = errno;
  const char* verb = "write";
  if (code == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) {
    code = errno;
    verb = "rename";
  }
  if (code == 0) return {};
  static_cast<void>(::unlink(temporary.c_str()));
  return replace_file_detail::system_error(path, verb, code);
}

}  // namespace pensee
