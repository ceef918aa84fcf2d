// A checkpoint: all tensors of one model, from one file or many, and the text files beside them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/io/mapped_file.hpp"
#include "pensee/io/safetensors.hpp"

namespace pensee {

// Called while loading with the fraction done, from 0 to 1; false cancels (Status::kCancelled).
using LoadProgress = std::function<bool(double fraction)>;

// A file in memory, named as it would be in a checkpoint's directory: "config.json".
struct NamedBuffer {
  std::string name;
  std::span<const std::byte> bytes;
};

// Thread rule: immutable; any thread may read. Tensor views, their names and their file names live
// as long as the checkpoint.
class Checkpoint {
 public:
  static constexpr size_t kMaxTextBytes = size_t{64} << 20;

  // `directory_or_file`: a directory with model.safetensors, or with model.safetensors.index.json
  // and the files it names (where both are, the single file is taken, as Hugging Face does); or
  // one .safetensors file. Maps the files and checks every header; weights are not read. Errors:
  // kNotFound, kIoError, kCorruptFile, kUnsupported, kCancelled.
  static Result<std::shared_ptr<const Checkpoint>> open(const std::string& directory_or_file,
                                                        const LoadProgress& progress = {}) {
    std::shared_ptr<Checkpoint> checkpoint(new Checkpoint);
    PENSEE_RETURN_IF_ERROR(checkpoint->load(directory_or_file, progress));
    return std::shared_ptr<const Checkpoint>(std::move(checkpoint));
  }

  // The same from memory: `files` are those of a directory. Their bytes may lie at any alignment,
  // are not copied, and must stay as they are as long as the checkpoint lives. Errors: those of
  // open(), with the buffers' names for paths; kInvalidArgument for a name that is no plain file
  // name or comes twice.
  static Result<std::shared_ptr<const Checkpoint>> open_buffers(std::span<const NamedBuffer> files,
                                                                const LoadProgress& progress = {}) {
    std::shared_ptr<Checkpoint> checkpoint(new Checkpoint);
    PENSEE_RETURN_IF_ERROR(checkpoint->load_buffers(files, progress));
    return std::shared_ptr<const Checkpoint>(std::move(checkpoint));
  }

  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  // The tensor of that name, or null.
  [[nodiscard]] const TensorView* find(std::string_view name) const noexcept {
    const auto it = std::lower_bound(
        tensors_.begin(), tensors_.end(), name,
        [](const TensorView& tensor, std::string_view text) { return tensor.name < text; });
    return it != tensors_.end() && it->name == name ? &*it : nullptr;
  }
  // The tensor of that name; kNotFound names the checkpoint and the tensor.
  [[nodiscard]] Result<TensorView> require(std::string_view name) const {
    if (const TensorView* tensor = find(name)) return *tensor;
    return Error{Status::kNotFound, source_ + ": no tensor " + printable(name)};
  }
  // All tensors, sorted by name.
  [[nodiscard]] std::span<const TensorView> tensors() const noexcept { return tensors_; }
  // Where config.json and the like are; empty if they are in memory.
  [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
  // What was opened, for messages.
  [[nodiscard]] const std::string& source() const noexcept { return source_; }
  // What messages call a file beside the weights: its path, or its buffer's name.
  [[nodiscard]] std::string path_of(const std::string& file_name) const {
    return in_memory_ ? file_name : join(directory_, file_name);
  }
  // Size of all tensor files together.
  [[nodiscard]] size_t bytes() const noexcept { return bytes_; }
  // Asks the operating system to begin reading all tensor files; see MappedFile::read_ahead.
  void read_ahead() const noexcept {
    for (const auto& file : files_) file->read_ahead();
  }

  // The whole of a text file beside the weights, such as config.json. kNotFound names its path;
  // kUnsupported if it has more than kMaxTextBytes.
  [[nodiscard]] Result<std::string> read_text(const std::string& file_name) const {
    if (!is_plain_name(file_name)) {
      return invalid_argument("expected a plain file name, found \"" + printable(file_name) + "\"");
    }
    if (in_memory_) {
      PENSEE_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, buffer(file_name));
      return text_of(bytes, file_name);
    }
    const std::string path = path_of(file_name);
    PENSEE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
    return text_of(file.bytes(), path);
  }

 private:
  // File name -> names of the tensors that the index expects there.
  using FileMap = std::map<std::string, std::vector<std::string>, std::less<>>;
  static constexpr const char* kSingleName = "model.safetensors";
  static constexpr const char* kIndexName = "model.safetensors.index.json";

  Checkpoint() = default;

  Result<void> load(const std::string& path, const LoadProgress& progress) {
    if (path.empty()) return invalid_argument("checkpoint: expected a path, found an empty one");
    source_ = path;
    std::error_code ignored;  // the errors below say more
    if (std::filesystem::is_directory(path, ignored)) {
      directory_ = path;
      return load_directory(progress);
    }
    const std::filesystem::path file(path);
    directory_ = file.has_parent_path() ? file.parent_path().string() : ".";
    return load_files({{file.filename().string(), {}}}, progress);
  }

  Result<void> load_buffers(std::span<const NamedBuffer> files, const LoadProgress& progress) {
    source_ = "buffers";
    in_memory_ = true;
    for (const NamedBuffer& file : files) {
      if (!is_plain_name(file.name)) {
        return invalid_argument("buffers: expected plain file names, found \"" +
                                printable(file.name) + "\"");
      }
      if (!buffers_.emplace(file.name, file.bytes).second) {
        return invalid_argument("buffers: " + printable(file.name) + " is there twice");
      }
    }
    return load_directory(progress);
  }

  // Finds the tensor files of directory_ or of buffers_, and loads them.
  Result<void> load_directory(const LoadProgress& progress) {
    if (has(kSingleName)) return load_files({{kSingleName, {}}}, progress);
    if (!has(kIndexName)) {
      return Error{Status::kNotFound,
                   source_ + ": expected " + kSingleName + " or " + kIndexName + ", found neither"};
    }
    PENSEE_ASSIGN_OR_RETURN(const FileMap files, read_index());
    return load_files(files, progress);
  }

  Result<void> load_files(const FileMap& files, const LoadProgress& progress) {
    PENSEE_RETURN_IF_ERROR(open_files(files, progress));
    PENSEE_RETURN_IF_ERROR(collect());
    return expect_listed(files);
  }

  [[nodiscard]] bool has(const char* name) const {
    std::error_code ignored;
    return in_memory_ ? buffers_.contains(name) : std::filesystem::exists(path_of(name), ignored);
  }

  [[nodiscard]] Result<std::span<const std::byte>> buffer(const std::string& name) const {
    const auto found = buffers_.find(name);
    if (found != buffers_.end()) return found->second;
    return Error{Status::kNotFound, printable(name) + ": no buffer of that name"};
  }

  [[nodiscard]] Result<std::unique_ptr<const SafetensorsFile>> open_tensors(
      const std::string& name) const {
    if (!in_memory_) return SafetensorsFile::open(path_of(name));
    PENSEE_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, buffer(name));
    return SafetensorsFile::from_bytes(bytes, name);
  }

  Result<FileMap> read_index() const {
    const std::string path = path_of(kIndexName);
    PENSEE_ASSIGN_OR_RETURN(const std::string text, read_text(kIndexName));
    PENSEE_ASSIGN_OR_RETURN(const Json json, parse_json(text, path));
    PENSEE_ASSIGN_OR_RETURN(const JsonView weight_map, JsonView(json, path).at("weight_map"));
    PENSEE_RETURN_IF_ERROR(weight_map.expect_object());
    FileMap files;
    for (const auto& [tensor, file] : weight_map.json().items()) {
      if (!file.is_string() || !is_plain_name(file.get_ref<const std::string&>())) {
        PENSEE_ASSIGN_OR_RETURN(const JsonView entry, weight_map.at(tensor));
        return entry.expected("a plain file name");
      }
      files[file.get_ref<const std::string&>()].push_back(tensor);
    }
    if (files.empty()) return corrupt_file(weight_map.where() + ": expected tensors, found none");
    return files;
  }

  Result<void> open_files(const FileMap& files, const LoadProgress& progress) {
    const auto report = [&](size_t done) -> Result<void> {
      if (progress && !progress(static_cast<double>(done) / static_cast<double>(files.size()))) {
        return Error{Status::kCancelled, source_ + ": load cancelled"};
      }
      return {};
    };
    PENSEE_RETURN_IF_ERROR(report(0));
    for (const auto& [name, tensors] : files) {
      PENSEE_ASSIGN_OR_RETURN(auto file, open_tensors(name));
      bytes_ += file->bytes();
      files_.push_back(std::move(file));
      PENSEE_RETURN_IF_ERROR(report(files_.size()));
    }
    return {};
  }

  // Fills tensors_ from files_, and checks that no name is there twice.
  Result<void> collect() {
    for (const auto& file : files_) {
      tensors_.insert(tensors_.end(), file->tensors().begin(), file->tensors().end());
    }
    std::sort(tensors_.begin(), tensors_.end(),
              [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
    const auto twin = std::adjacent_find(
        tensors_.begin(), tensors_.end(),
        [](const TensorView& a, const TensorView& b) { return a.name == b.name; });
    if (twin == tensors_.end()) return {};
    return corrupt_file(source_ + ": tensor " + printable(twin->name) + " is in two files: " +
                        std::string(twin->file) + " and " + std::string((twin + 1)->file));
  }

  // Checks that each tensor of the index is in the file that the index names.
  Result<void> expect_listed(const FileMap& files) const {
    for (const auto& [name, tensors] : files) {
      const std::string path = path_of(name);
      for (const std::string& tensor : tensors) {
        const TensorView* found = find(tensor);
        if (found != nullptr && found->file == path) continue;
        return corrupt_file(path_of(kIndexName) + ": tensor " + printable(tensor) +
                            ": expected in " + name + ", found in " +
                            (found == nullptr ? "no file" : std::string(found->file)));
      }
    }
    return {};
  }

  // A name that a file gave must not lead out of the directory.
  static bool is_plain_name(std::string_view name) {
    return !name.empty() && name != "." && name != ".." &&
           name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
  }

  static Result<std::string> text_of(std::span<const std::byte> bytes, const std::string& path) {
    if (bytes.size() > kMaxTextBytes) {
      return unsupported(path + ": expected at most " + std::to_string(kMaxTextBytes) +
                         " bytes, found " + std::to_string(bytes.size()));
    }
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  static std::string join(const std::string& directory, const std::string& name) {
    return (std::filesystem::path(directory) / name).string();
  }

  std::string source_;
  std::string directory_;
  bool in_memory_ = false;
  std::map<std::string, std::span<const std::byte>, std::less<>> buffers_;
  size_t bytes_ = 0;
  std::vector<std::unique_ptr<const SafetensorsFile>> files_;
  std::vector<TensorView> tensors_;
};

}  // namespace pensee
