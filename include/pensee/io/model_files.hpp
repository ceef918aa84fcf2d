// Where the files of one model are: in a directory, or in memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/io/mapped_file.hpp"

namespace pensee {

// A file in memory, named as it would be in a checkpoint's directory: "config.json".
struct NamedBuffer {
  std::string name;
  std::span<const std::byte> bytes;
};

// Thread rule: immutable; any thread may read.
class ModelFiles {
 public:
  static constexpr size_t kMaxTextBytes = size_t{64} << 20;

  // No files.
  ModelFiles() = default;

  static ModelFiles in_directory(std::string directory) {
    ModelFiles files;
    files.directory_ = std::move(directory);
    return files;
  }
  // The buffers' bytes must stay as they are. kInvalidArgument for a name that is no plain file
  // name or comes twice.
  static Result<ModelFiles> in_memory(std::span<const NamedBuffer> buffers) {
    ModelFiles files;
    for (const NamedBuffer& buffer : buffers) {
      if (!is_plain_name(buffer.name)) {
        return invalid_argument("buffers: expected plain file names, found \"" +
                                printable(buffer.name) + "\"");
      }
      if (!files.buffers_.emplace(buffer.name, buffer.bytes).second) {
        return invalid_argument("buffers: " + printable(buffer.name) + " is there twice");
      }
    }
    return files;
  }

  // Empty if the files are in memory.
  [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
  // What messages call a file: its path, or its buffer's name.
  [[nodiscard]] std::string path_of(const std::string& name) const {
    return is_in_memory() ? name : (std::filesystem::path(directory_) / name).string();
  }
  [[nodiscard]] bool has(const std::string& name) const {
    std::error_code ignored;
    return is_in_memory() ? buffers_.contains(name)
                          : std::filesystem::exists(path_of(name), ignored);
  }
  // The names of all files that end so, sorted.
  [[nodiscard]] Result<std::set<std::string>> names_ending(std::string_view suffix) const {
    std::set<std::string> names;
    for (const auto& [name, bytes] : buffers_) {
      if (name.ends_with(suffix)) names.insert(name);
    }
    if (is_in_memory()) return names;
    std::error_code error;
    std::filesystem::directory_iterator it(directory_, error);
    for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
      std::string name = it->path().filename().string();
      if (name.ends_with(suffix)) names.insert(std::move(name));
    }
    if (!error) return names;
    return Error{Status::kIoError, directory_ + ": cannot list the directory: " + error.message()};
  }
  // FileType: SafetensorsFile or GgufFile.
  template <class FileType>
  [[nodiscard]] Result<std::unique_ptr<const FileType>> open(const std::string& name) const {
    if (!is_in_memory()) return FileType::open(path_of(name));
    PENSEE_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, buffer(name));
    return FileType::from_bytes(bytes, name);
  }
  // The whole of a text file. kNotFound names its path; kUnsupported if it has more than
  // kMaxTextBytes.
  [[nodiscard]] Result<std::string> read_text(const std::string& name) const {
    if (!is_plain_name(name)) {
      return invalid_argument("expected a plain file name, found \"" + printable(name) + "\"");
    }
    if (is_in_memory()) {
      PENSEE_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, buffer(name));
      return text_of(bytes, name);
    }
    const std::string path = path_of(name);
    PENSEE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
    return text_of(file.bytes(), path);
  }

  // A name that a file gave must not lead out of the directory.
  [[nodiscard]] static bool is_plain_name(std::string_view name) {
    return !name.empty() && name != "." && name != ".." &&
           name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
  }

 private:
  [[nodiscard]] bool is_in_memory() const noexcept { return directory_.empty(); }

  [[nodiscard]] Result<std::span<const std::byte>> buffer(const std::string& name) const {
    const auto found = buffers_.find(name);
    if (found != buffers_.end()) return found->second;
    return Error{Status::kNotFound, printable(name) + ": no buffer of that name"};
  }

  static Result<std::string> text_of(std::span<const std::byte> bytes, const std::string& path) {
    if (bytes.size() > kMaxTextBytes) {
      return unsupported(path + ": expected at most " + std::to_string(kMaxTextBytes) +
                         " bytes, found " + std::to_string(bytes.size()));
    }
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  std::string directory_;
  std::map<std::string, std::span<const std::byte>, std::less<>> buffers_;
};

}  // namespace pensee
