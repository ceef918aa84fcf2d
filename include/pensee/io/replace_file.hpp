// Writes files so that nobody ever sees half of one.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "pensee/base/result.hpp"

namespace pensee {

// Writes all of the bytes at place `at` of an open file. Returns 0, or the system's error code.
[[nodiscard]] inline int write_at(int fd, uint64_t at, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes = bytes.subspan(static_cast<size_t>(written));
    at += static_cast<uint64_t>(written);
  }
  return 0;
}

// kInvalidArgument if there is a device or a pipe at `path`: a new file must not take its place.
// (It cannot take that of a directory.)
[[nodiscard]] inline Result<void> expect_file_or_nothing(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return {};
  if (S_ISREG(found.st_mode) || S_ISDIR(found.st_mode)) return {};
  return invalid_argument(path + ": expected a file or nothing there, found a device or a pipe");
}

// A file that is written in pieces, by any threads, and takes its place when it is whole: until
// commit() it has no name, or, where the file system has no such files, a temporary one beside
// `path`. A file that was there is replaced then, and stays if it never comes to that.
class NewFile {
 public:
  // A file of `bytes` bytes, for which it takes the room. Others than its owner may read it as
  // `mode` and the umask say, or never where it has a temporary name. Errors: kInvalidArgument for
  // a path that is empty or has a NUL byte, or where there is a device or a pipe; kNotFound if
  // there is no such directory, kIoError.
  [[nodiscard]] static Result<NewFile> create(const std::string& path, size_t bytes,
                                              mode_t mode = S_IRUSR | S_IWUSR) {
    if (path.empty() || path.find('\0') != path.npos) {
      return invalid_argument("file path: expected a path, found an empty one or a NUL byte");
    }
    PENSEE_RETURN_IF_ERROR(expect_file_or_nothing(path));
    NewFile file(path);
    if (::access(kOpenFiles, F_OK) == 0) {
      const std::string directory = std::filesystem::path(path).parent_path().string();
      file.fd_ =
          ::open(directory.empty() ? "." : directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    }
    if (file.fd_ < 0) {
      file.temporary_ = path + ".XXXXXX";
      file.fd_ = ::mkostemp(file.temporary_.data(), O_CLOEXEC);
    }
    if (file.fd_ < 0) return file.system_error("create", errno);
    const int code = bytes == 0 ? 0 : ::posix_fallocate(file.fd_, 0, static_cast<off_t>(bytes));
    if (code != 0) return file.system_error("write", code);
    return file;
  }

  NewFile(NewFile&& other) noexcept
      : path_(std::move(other.path_)),
        temporary_(std::move(other.temporary_)),
        fd_(std::exchange(other.fd_, -1)) {}
  NewFile& operator=(NewFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(temporary_, other.temporary_);
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~NewFile() {
    if (fd_ < 0) return;
    ::close(fd_);
    if (!temporary_.empty()) static_cast<void>(::unlink(temporary_.c_str()));
  }

  // Errors: kIoError.
  [[nodiscard]] Result<void> write(size_t at, std::span<const std::byte> bytes) const {
    const int code = write_at(fd_, at, bytes);
    if (code != 0) return system_error("write", code);
    return {};
  }

  // The last call. Errors: kIoError.
  [[nodiscard]] Result<void> commit() {
    if (::fsync(fd_) != 0) return system_error("write", errno);
    const int code = temporary_.empty() ? name_it() : 0;
    if (code != 0) return system_error("name", code);
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return system_error("rename", errno);
    if (::close(std::exchange(fd_, -1)) != 0) return system_error("write", errno);
    return {};
  }

 private:
  static constexpr const char* kOpenFiles =
      "/proc/thread-self/fd/";  // where files without names have one

  explicit NewFile(const std::string& path) : path_(path) {}

  // Gives the file a temporary name that nothing else has. Returns the system's error code.
  int name_it() {
    const std::string file = kOpenFiles + std::to_string(fd_);
    for (int i = 0;; ++i) {
      // As long as that of mkostemp().
      std::array<char, 8> end{};
      const auto number =
          static_cast<unsigned>(::getpid()) * 2654435761U + static_cast<unsigned>(i);
      std::snprintf(end.data(), end.size(), ".%06x", number & 0xffffffU);
      std::string name = path_ + end.data();
      if (::linkat(AT_FDCWD, file.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
        temporary_ = std::move(name);
        return 0;
      }
      if (errno != EEXIST) return errno;
    }
  }

  [[nodiscard]] Error system_error(const char* verb, int code) const {
    const Status status = code == ENOENT || code == ENOTDIR ? Status::kNotFound : Status::kIoError;
    return {status,
            path_ + ": cannot " + verb + " the file: " + std::generic_category().message(code)};
  }

  std::string path_;
  std::string temporary_;  // empty: it has no name yet
  int fd_ = -1;
};

// Writes a temporary file, then gives it the name: see NewFile, whose errors it has. Only the owner
// may read it.
[[nodiscard]] inline Result<void> replace_file(const std::string& path,
                                               std::span<const std::byte> bytes) {
  PENSEE_ASSIGN_OR_RETURN(NewFile file, NewFile::create(path, bytes.size()));
  PENSEE_RETURN_IF_ERROR(file.write(0, bytes));
  return file.commit();
}

}  // namespace pensee
