// A checkpoint: all tensors of one model, from one file or many, and the text files beside them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/io/gguf.hpp"
#include "pensee/io/gguf_split.hpp"
#include "pensee/io/mapped_file.hpp"
#include "pensee/io/model_files.hpp"
#include "pensee/io/safetensors.hpp"

namespace pensee {

// Called while loading with the fraction done, from 0 to 1; false cancels (Status::kCancelled).
using LoadProgress = std::function<bool(double fraction)>;

// Tells the host, if it listens, how far it is with `source`. Errors: kCancelled, as it says.
[[nodiscard]] inline Result<void> report_progress(const LoadProgress& progress, double fraction,
                                                  const std::string& source) {
  if (!progress || progress(fraction)) return {};
  return Error{Status::kCancelled, source + ": loading was cancelled"};
}

// Thread rule: immutable; any thread may read. Tensor views, their names and their file names live
// as long as the checkpoint.
class Checkpoint {
 public:
  static constexpr size_t kMaxTextBytes = ModelFiles::kMaxTextBytes;

  // `directory_or_file`: a directory with model.safetensors, or with model.safetensors.index.json
  // and the files it names (where both are, the single file is taken, as Hugging Face does), or
  // with one .gguf file, be it in parts; or one .safetensors file, which stands for all
  // that an index beside it names with it; or one GGUF file, of which the first part stands for
  // all. Maps the files and checks every header; weights are not read. Errors: kNotFound, kIoError,
  // kCorruptFile, kUnsupported, kCancelled, kOutOfMemory; kInvalidArgument for a path that is empty
  // or has a NUL byte, a directory with several models, or another part of a GGUF file than the
  // first.
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
  [[nodiscard]] const std::string& directory() const noexcept { return where_.directory(); }
  // What was opened, for messages.
  [[nodiscard]] const std::string& source() const noexcept { return source_; }
  // What messages call a file beside the weights: its path, or its buffer's name.
  [[nodiscard]] std::string path_of(const std::string& file_name) const {
    return where_.path_of(file_name);
  }
  // The metadata of a GGUF checkpoint (of its first part); null for safetensors.
  [[nodiscard]] const GgufMetadata* gguf() const noexcept {
    const GgufFile* first = files_.empty() ? nullptr : gguf_of(files_.front());
    return first != nullptr ? &first->metadata() : nullptr;
  }
  // Size of all tensor files together.
  [[nodiscard]] size_t bytes() const noexcept { return bytes_; }
  // Calls f(mapped file, its path) for every tensor file that is not in memory.
  template <class F>
  void for_each_mapped(F&& f) const {
    for (const File& file : files_) {
      std::visit(
          [&](const auto& opened) {
            if (opened->mapped() != nullptr) f(*opened->mapped(), opened->path());
          },
          file);
    }
  }

  // The whole of a text file beside the weights, such as config.json. kNotFound names its path;
  // kUnsupported if it has more than kMaxTextBytes.
  [[nodiscard]] Result<std::string> read_text(const std::string& file_name) const {
    return where_.read_text(file_name);
  }

 private:
  // File name -> names of the tensors that the index expects there.
  using FileMap = std::map<std::string, std::vector<std::string>, std::less<>>;
  using File =
      std::variant<std::unique_ptr<const SafetensorsFile>, std::unique_ptr<const GgufFile>>;
  static constexpr const char* kSingleName = "model.safetensors";
  static constexpr const char* kIndexName = "model.safetensors.index.json";

  Checkpoint() = default;

  Result<void> load(const std::string& path, const LoadProgress& progress) {
    if (path.empty()) return invalid_argument("checkpoint: expected a path, found an empty one");
    source_ = path;
    std::error_code ignored;  // the errors below say more
    if (std::filesystem::is_directory(path, ignored)) {
      where_ = ModelFiles::in_directory(path);
      return load_directory(progress);
    }
    const std::filesystem::path file(path);
    where_ = ModelFiles::in_directory(file.has_parent_path() ? file.parent_path().string() : ".");
    const std::string name = file.filename().string();
    PENSEE_ASSIGN_OR_RETURN(const bool gguf, is_gguf(path));
    return gguf ? load_gguf(name, progress) : load_safetensors(name, progress);
  }

  // Loads the file `name`, or all files of the model one of whose files it is.
  Result<void> load_safetensors(const std::string& name, const LoadProgress& progress) {
    if (name != kSingleName && where_.has(kIndexName)) {
      const Result<FileMap> files = read_index();
      if (files && files->contains(name)) return load_files(*files, progress);
      if (!files && name.find("-of-") != name.npos) return files.error();  // surely one of several
    }
    return load_files({{name, {}}}, progress);
  }

  Result<void> load_buffers(std::span<const NamedBuffer> files, const LoadProgress& progress) {
    source_ = "buffers";
    PENSEE_ASSIGN_OR_RETURN(where_, ModelFiles::in_memory(files));
    return load_directory(progress);
  }

  // Finds the tensor files of where_, and loads them.
  Result<void> load_directory(const LoadProgress& progress) {
    if (where_.has(kSingleName)) return load_files({{kSingleName, {}}}, progress);
    if (where_.has(kIndexName)) {
      PENSEE_ASSIGN_OR_RETURN(const FileMap files, read_index());
      return load_files(files, progress);
    }
    PENSEE_ASSIGN_OR_RETURN(const std::string name, find_gguf());
    return load_gguf(name, progress);
  }

  Result<void> load_files(const FileMap& files, const LoadProgress& progress) {
    PENSEE_RETURN_IF_ERROR(report_files(progress, files.size()));
    for (const auto& [name, tensors] : files) {
      PENSEE_ASSIGN_OR_RETURN(auto file, where_.open<SafetensorsFile>(name));
      add(std::move(file));
      PENSEE_RETURN_IF_ERROR(report_files(progress, files.size()));
    }
    PENSEE_RETURN_IF_ERROR(sort_tensors());
    return expect_listed(files);
  }

  // Loads the GGUF file `name`, or all parts of the model whose first part it is.
  Result<void> load_gguf(const std::string& name, const LoadProgress& progress) {
    const GgufPartName first = parse_gguf_part_name(name).value_or(GgufPartName{});
    if (first.number != 1) {
      return invalid_argument(path_of(name) + ": expected the first part, " +
                              first.with_number(1).text() + ", found part " +
                              std::to_string(first.number));
    }
    const auto parts = static_cast<size_t>(first.count);
    PENSEE_RETURN_IF_ERROR(report_files(progress, parts));
    for (size_t i = 0; i < parts; ++i) {
      const GgufPartName part = first.with_number(static_cast<int64_t>(i) + 1);
      PENSEE_ASSIGN_OR_RETURN(auto file, where_.open<GgufFile>(i == 0 ? name : part.text()));
      PENSEE_RETURN_IF_ERROR(check_gguf_part(*file, part));
      add(std::move(file));
      // Once the first part is known to be one: what stands for all must be whole.
      if (i == 0) PENSEE_RETURN_IF_ERROR(expect_parts(first));
      PENSEE_RETURN_IF_ERROR(report_files(progress, parts));
    }
    PENSEE_RETURN_IF_ERROR(sort_tensors());
    const auto total = gguf()->find(kGgufSplitTensors);
    if (!total) return {};
    PENSEE_ASSIGN_OR_RETURN(const int64_t expected, total->as_int());
    if (expected == static_cast<int64_t>(tensors_.size())) return {};
    return corrupt_file(total->where() + ": expected " + std::to_string(expected) +
                        " tensors in all parts, found " + std::to_string(tensors_.size()));
  }

  // Names the parts that are missing.
  [[nodiscard]] Result<void> expect_parts(const GgufPartName& first) const {
    constexpr int kMostNamed = 10;
    std::string names;
    int64_t missing = 0;
    for (int64_t i = 1; i <= first.count && first.count > 1; ++i) {
      const std::string name = first.with_number(i).text();
      if (where_.has(name) || ++missing > kMostNamed) continue;
      names += (names.empty() ? "" : ", ") + name;
    }
    if (missing == 0) return {};
    return Error{Status::kNotFound, source_ + ": expected " + std::to_string(first.count) +
                                        " parts, found all but " + std::to_string(missing) + ": " +
                                        names + (missing > kMostNamed ? ", ..." : "")};
  }

  // The name of the one GGUF file here, or of the first part of the one model here.
  [[nodiscard]] Result<std::string> find_gguf() const {
    PENSEE_ASSIGN_OR_RETURN(const std::set<std::string> names, where_.names_ending(kGgufSuffix));
    if (names.empty()) {
      return Error{Status::kNotFound, source_ + ": expected " + kSingleName + ", " + kIndexName +
                                          " or a " + std::string(kGgufSuffix) +
                                          " file, found none of them"};
    }
    const auto part = parse_gguf_part_name(*names.begin());
    const std::string first = part ? part->with_number(1).text() : *names.begin();
    for (const std::string& name : names) {
      const auto other = parse_gguf_part_name(name);
      if (other ? other->with_number(1).text() == first : name == first) continue;
      return invalid_argument(source_ + ": expected one model, found " + *names.begin() + " and " +
                              name + "; name the one to open");
    }
    return first;
  }

  // By its name or by its first bytes, since caches of downloads have names of their own.
  static Result<bool> is_gguf(const std::string& path) {
    if (path.ends_with(kGgufSuffix)) return true;
    PENSEE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
    constexpr std::string_view kMagic = GgufFile::kMagic;
    return file.bytes().size() >= kMagic.size() &&
           std::memcmp(file.bytes().data(), kMagic.data(), kMagic.size()) == 0;
  }

  static const GgufFile* gguf_of(const File& file) noexcept {
    const auto* opened = std::get_if<std::unique_ptr<const GgufFile>>(&file);
    return opened != nullptr ? opened->get() : nullptr;
  }

  Result<FileMap> read_index() const {
    const std::string path = path_of(kIndexName);
    PENSEE_ASSIGN_OR_RETURN(const std::string text, read_text(kIndexName));
    PENSEE_ASSIGN_OR_RETURN(const JsonDocument json, parse_json(text, path));
    PENSEE_ASSIGN_OR_RETURN(const JsonView weight_map, JsonView(json, path).at("weight_map"));
    PENSEE_RETURN_IF_ERROR(weight_map.expect_object());
    FileMap files;
    for (const auto& [tensor, file] : weight_map.json().items()) {
      if (!file.is_string() || !ModelFiles::is_plain_name(file.get_ref<const std::string&>())) {
        PENSEE_ASSIGN_OR_RETURN(const JsonView entry, weight_map.at(tensor));
        return entry.expected("a plain file name");
      }
      files[file.get_ref<const std::string&>()].push_back(tensor);
    }
    if (files.empty()) return corrupt_file(weight_map.where() + ": expected tensors, found none");
    return files;
  }

  // Tells how many of `n` files are open.
  [[nodiscard]] Result<void> report_files(const LoadProgress& progress, size_t n) const {
    return report_progress(progress, static_cast<double>(files_.size()) / static_cast<double>(n),
                           source_);
  }

  template <class FileType>
  void add(std::unique_ptr<const FileType> file) {
    bytes_ += file->bytes();
    tensors_.insert(tensors_.end(), file->tensors().begin(), file->tensors().end());
    files_.push_back(std::move(file));
  }

  // Sorts tensors_ by name, and checks that no name is there twice.
  Result<void> sort_tensors() {
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

  std::string source_;
  ModelFiles where_;
  size_t bytes_ = 0;
  std::vector<File> files_;
  std::vector<TensorView> tensors_;
};

}  // namespace pensee
