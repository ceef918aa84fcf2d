// A file mapped read-only into memory.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "pensee/base/result.hpp"

namespace pensee {

// Owns the mapping. The bytes stay where they are when the MappedFile is moved. The file must not
// be shortened while it is mapped: the operating system then ends a process that reads past the
// new end (SIGBUS).
//
// Thread rule: immutable after open; any thread may read.
class MappedFile {
 public:
  // kNotFound if there is no such file, kIoError for directories, pipes and devices and for what
  // the operating system refuses, kOutOfMemory if the address space is too small, kInvalidArgument
  // for a path that is empty or has a NUL byte.
  static Result<MappedFile> open(const std::string& path) {
    if (path.empty() || path.find('\0') != path.npos) {
      return invalid_argument("file path: expected a path, found an empty one or a NUL byte");
    }
    // Non-blocking, so that a pipe without a writer is refused below and not waited for.
    int fd = -1;
    do {
      fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) return system_error(path, "open", errno);
    Result<MappedFile> mapped = map(path, fd);
    ::close(fd);  // the mapping keeps the file
    return mapped;
  }

  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        modified_(other.modified_) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(modified_, other.modified_);
    return *this;
  }
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  // The whole file; empty for an empty one.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {static_cast<const std::byte*>(data_), size_};
  }

  // When the file was last written before it was opened, in nanoseconds of the system's clock.
  [[nodiscard]] int64_t modified() const noexcept { return modified_; }

  // Reads bytes [begin, begin + size) into memory, so that using them waits for no disk and no page
  // fault. The threads that share a file each take a part. `path` is for messages. kIoError,
  // kOutOfMemory. Preconditions: the bytes are in the file; `begin` is a multiple of the page size.
  Result<void> populate(size_t begin, size_t size, const std::string& path) const {
    if (size == 0) return {};
    std::byte* const first = static_cast<std::byte*>(data_) + begin;
    // Asks for all of it at once; populating alone would ask piece by piece.
    static_cast<void>(::madvise(first, size, MADV_WILLNEED));
#if defined(MADV_POPULATE_READ)
    int result = 0;
    do {
      result = ::madvise(first, size, MADV_POPULATE_READ);
    } while (result != 0 && (errno == EINTR || errno == EAGAIN));
    if (result == 0) return {};
    if (errno == ENOMEM) return system_error(path, "read", ENOMEM);
    if (errno != EINVAL) return system_error(path, "read", EIO);  // EFAULT: as a bus error would be
#endif
    // Linux before 5.14.
    constexpr size_t kPage = 4096;
    for (size_t i = 0; i < size; i += kPage) {
      static_cast<void>(*static_cast<const volatile std::byte*>(first + i));
    }
    return {};
  }

  // Gives back the memory that bytes read so far take of the process; the operating system may keep
  // them cached, and they are read again when they are used.
  void release() const noexcept {
    if (data_ != nullptr) static_cast<void>(::madvise(data_, size_, MADV_DONTNEED));
  }

 private:
  MappedFile(void* data, size_t size, const struct stat& status) noexcept
      : data_(data),
        size_(size),
        modified_(int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec) {}

  static Result<MappedFile> map(const std::string& path, int fd) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return system_error(path, "read the size of", errno);
    if (!S_ISREG(status.st_mode)) {
      const char* found = S_ISDIR(status.st_mode) ? "a directory" : "a pipe, socket or device";
      return Error{Status::kIoError, path + ": expected a regular file, found " + found};
    }
    if (status.st_size == 0) return MappedFile(nullptr, 0, status);
    const auto size = static_cast<uint64_t>(status.st_size);
    if (size > std::numeric_limits<size_t>::max()) return system_error(path, "map", ENOMEM);
    void* data =
        ::mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_PRIVATE, fd, /*offset=*/0);
    if (data == MAP_FAILED) return system_error(path, "map", errno);
#if defined(MADV_HUGEPAGE)
    // Weights are read faster where the file system caches files in huge pages (Linux 6.16 and
    // ext4, for one). What is cached already keeps its small ones; a refusal changes nothing.
    static_cast<void>(::madvise(data, static_cast<size_t>(size), MADV_HUGEPAGE));
#endif
    return MappedFile(data, static_cast<size_t>(size), status);
  }

  static Error system_error(const std::string& path, const char* verb, int code) {
    Status status = Status::kIoError;
    if (code == ENOENT || code == ENOTDIR) status = Status::kNotFound;
    if (code == ENOMEM) status = Status::kOutOfMemory;
    return {status,
            path + ": cannot " + verb + " the file: " + std::generic_category().message(code)};
  }

  void* data_ = nullptr;
  size_t size_ = 0;
  int64_t modified_ = 0;
};

}  // namespace pensee
