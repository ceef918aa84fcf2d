// Writes a GGUF file tensor by tensor, and goes on where an earlier attempt was stopped.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/io/gguf_header.hpp"
#include "pensee/io/replace_file.hpp"

namespace pensee {

// The data goes to a file beside `path`, which gets the name `path` when all of it is there: nobody
// ever sees half a file under that name. What an attempt with the very same header left there is
// kept, tensor by tensor; whoever writes must therefore put into the header whatever decides the
// data (its source, say), or the two halves would not fit.
//
// Thread rule: one thread at a time. Only one writer of a path can be open, in all processes.
class GgufWriter {
 public:
  // Opens the file beside `path`. kInvalidArgument for a path that is empty or has a NUL byte, or
  // where there is a device or a pipe, kWrongState if another writer has it open, kNotFound
  // if there is no such directory, kIoError.
  static Result<GgufWriter> create(const std::string& path, GgufHeader header) {
    if (path.empty() || path.find('\0') != path.npos) {
      return invalid_argument("file path: expected a path, found an empty one or a NUL byte");
    }
    for (const std::string& name : {path, part_path(path)}) {
      PENSEE_RETURN_IF_ERROR(expect_file_or_nothing(name));
    }
    GgufWriter writer(path, std::move(header));
    PENSEE_RETURN_IF_ERROR(writer.open());
    PENSEE_RETURN_IF_ERROR(writer.resume());
    return writer;
  }

  // Where the data goes until all of it is there.
  [[nodiscard]] static std::string part_path(const std::string& path) { return path + ".part"; }

  GgufWriter(GgufWriter&& other) noexcept
      : path_(std::move(other.path_)),
        header_(std::move(other.header_)),
        fd_(std::exchange(other.fd_, -1)),
        at_(other.at_),
        waiting_(std::move(other.waiting_)),
        must_sync_(other.must_sync_),
        done_(other.done_),
        written_(other.written_) {}
  GgufWriter& operator=(GgufWriter&&) = delete;
  // What was written stays, for another attempt.
  ~GgufWriter() {
    if (fd_ < 0) return;
    static_cast<void>(flush());  // what is missing will be written by that attempt
    ::close(fd_);
  }

  [[nodiscard]] const GgufHeader& header() const noexcept { return header_; }
  // The tensors that are written, in the header's order; the next bytes are those of the next one.
  [[nodiscard]] size_t tensors_done() const noexcept { return done_; }

  // Writes the next bytes of the next tensor. kInvalidArgument if they are more than are missing,
  // kIoError.
  Result<void> write(std::span<const std::byte> bytes) {
    const auto tensors = header_.tensors();
    if (done_ == tensors.size() || bytes.size() > tensors[done_].bytes - written_) {
      return invalid_argument(path_ + ": expected no more data than tensors have, found " +
                              std::to_string(bytes.size()) + " bytes beyond");
    }
    must_sync_ = must_sync_ || bytes.size() == tensors[done_].bytes - written_;
    PENSEE_RETURN_IF_ERROR(append(bytes));
    written_ += bytes.size();
    return close_full_tensors();
  }

  // Gives the file its name; a file that had it is replaced. kWrongState if tensors are missing,
  // kIoError.
  Result<void> finish() {
    if (done_ != header_.tensors().size()) {
      return Error{Status::kWrongState, path_ + ": expected the data of " +
                                            std::to_string(header_.tensors().size()) +
                                            " tensors, found " + std::to_string(done_)};
    }
    PENSEE_RETURN_IF_ERROR(flush());
    if (::fsync(fd_) != 0) return failure("write", errno);
    if (std::rename(part_path(path_).c_str(), path_.c_str()) != 0) return failure("rename", errno);
    return {};
  }

 private:
  // The file's pages in memory are as large as what is written at a time: a huge page of the file.
  static constexpr uint64_t kPieceBytes = uint64_t{2} << 20;

  GgufWriter(std::string path, GgufHeader header)
      : path_(std::move(path)), header_(std::move(header)) {}

  Result<void> open() {
    constexpr mode_t kMode = 0666;  // less the process's mask
    fd_ = ::open(part_path(path_).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kMode);
    if (fd_ < 0) return failure("create", errno);
    const bool is_locked = ::flock(fd_, LOCK_EX | LOCK_NB) == 0;
    if (!is_locked && errno != EWOULDBLOCK) return failure("lock", errno);
    // Another writer may have finished in between; what is open here is its whole file then.
    struct stat opened {};
    struct stat named {};
    if (is_locked && ::fstat(fd_, &opened) == 0 && ::stat(part_path(path_).c_str(), &named) == 0 &&
        opened.st_ino == named.st_ino) {
      return {};
    }
    return Error{Status::kWrongState, part_path(path_) + ": another writer has it open"};
  }

  // Keeps what is there of the same file, and writes the header if nothing is.
  Result<void> resume() {
    const std::string encoded = header_.encode();
    std::string found(encoded.size(), '\0');
    struct stat status {};
    if (::fstat(fd_, &status) != 0) return failure("read the size of", errno);
    const auto size = static_cast<uint64_t>(status.st_size);
    uint64_t kept = 0;
    if (size >= encoded.size() && read_all(found) && found == encoded) {
      kept = encoded.size();
      for (const GgufHeader::Tensor& tensor : header_.tensors()) {
        const uint64_t end = encoded.size() + GgufHeader::padded(tensor.offset + tensor.bytes);
        if (end > size) break;
        kept = end;
        ++done_;
      }
    }
    if (::ftruncate(fd_, static_cast<off_t>(kept)) != 0) return failure("shorten", errno);
    at_ = kept;
    if (kept == 0) PENSEE_RETURN_IF_ERROR(append(std::as_bytes(std::span(encoded))));
    return close_full_tensors();
  }

  [[nodiscard]] bool read_all(std::string& into) const {
    size_t at = 0;
    while (at < into.size()) {
      const ssize_t n = ::pread(fd_, into.data() + at, into.size() - at, static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      at += static_cast<size_t>(n);
    }
    return true;
  }

  // Behind what is there, as soon as it fills a piece.
  Result<void> append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const uint64_t room = kPieceBytes - (at_ + waiting_.size()) % kPieceBytes;
      const auto taken = bytes.first(static_cast<size_t>(std::min<uint64_t>(room, bytes.size())));
      waiting_.insert(waiting_.end(), taken.begin(), taken.end());
      bytes = bytes.subspan(taken.size());
      if (taken.size() == room) PENSEE_RETURN_IF_ERROR(flush());
    }
    return {};
  }

  Result<void> flush() {
    const int code = write_at(fd_, at_, waiting_);
    if (code != 0) return failure("write", code);
    // So that what the size of the file promises is there after a crash of the machine too.
    if (must_sync_ && ::fdatasync(fd_) != 0) return failure("write", errno);
    must_sync_ = false;
    at_ += waiting_.size();
    waiting_.clear();
    return {};
  }

  // Pads the tensor that is whole, and passes over those without data.
  Result<void> close_full_tensors() {
    const auto tensors = header_.tensors();
    while (done_ < tensors.size() && written_ == tensors[done_].bytes) {
      const uint64_t end = tensors[done_].offset + tensors[done_].bytes;
      const std::vector<std::byte> zeros(static_cast<size_t>(GgufHeader::padded(end) - end));
      PENSEE_RETURN_IF_ERROR(append(zeros));
      ++done_;
      written_ = 0;
    }
    return {};
  }

  [[nodiscard]] Error failure(const char* verb, int code) const {
    const Status status = code == ENOENT || code == ENOTDIR ? Status::kNotFound : Status::kIoError;
    return {status, part_path(path_) + ": cannot " + verb +
                        " the file: " + std::generic_category().message(code)};
  }

  std::string path_;
  GgufHeader header_;
  int fd_ = -1;
  uint64_t at_ = 0;                 // bytes of the file that are written
  std::vector<std::byte> waiting_;  // those after them
  bool must_sync_ = false;          // a tensor ends among them
  size_t done_ = 0;                 // whole tensors
  uint64_t written_ = 0;            // bytes of the tensor after them
};

}  // namespace pensee
