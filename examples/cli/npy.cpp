#include "npy.hpp"

#include <bit>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace pensee::cli {

static_assert(std::endian::native == std::endian::little, "rows are written as they lie");

Error NpyWriter::failure(const char* what) const {
  return {Status::kIoError, path_ + ": cannot " + what + ": " + std::strerror(errno)};
}

Result<NpyWriter> NpyWriter::create(const std::string& path, int64_t rows, int64_t cols) {
  NpyWriter writer(path, std::fopen(path.c_str(), "wb"));
  if (writer.file_ == nullptr) return writer.failure("create the file");
  // Magic, version 1.0, two bytes of header length; the whole ends at a multiple of 64.
  constexpr size_t kPrefix = 10;
  constexpr size_t kAlign = 64;
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                       std::to_string(rows) + ", " + std::to_string(cols) + "), }";
  const size_t used = kPrefix + header.size() + 1;
  header.append((kAlign - used % kAlign) % kAlign, ' ');
  header += '\n';
  std::string prefix("\x93NUMPY\x01\x00", kPrefix - 2);
  prefix += static_cast<char>(header.size() & 0xff);
  prefix += static_cast<char>(header.size() >> 8);
  const std::string start = prefix + header;
  if (std::fwrite(start.data(), 1, start.size(), writer.file_.get()) != start.size()) {
    return writer.failure("write");
  }
  return writer;
}

Result<void> NpyWriter::append(std::span<const float> row) {
  if (std::fwrite(row.data(), sizeof(float), row.size(), file_.get()) != row.size()) {
    return failure("write");
  }
  return {};
}

Result<void> NpyWriter::close() {
  if (std::fclose(file_.release()) != 0) return failure("write");
  return {};
}

}  // namespace pensee::cli
