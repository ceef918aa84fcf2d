// Writes a checkpoint as a GGUF file with other types.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "pensee/base/hash.hpp"
#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/threads.hpp"
#include "pensee/convert/converted_tensor.hpp"
#include "pensee/convert/gguf_keys.hpp"
#include "pensee/convert/gguf_sampling.hpp"
#include "pensee/convert/gguf_tokenizer.hpp"
#include "pensee/convert/hf_tensors.hpp"
#include "pensee/convert/type_choice.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/fingerprint.hpp"
#include "pensee/io/gguf_writer.hpp"
#include "pensee/io/mapped_file.hpp"
#include "pensee/io/quantize.hpp"
#include "pensee/kernels/reference.hpp"
#include "pensee/model/read_config.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

struct QuantizeOptions {
  TypeChoice types{DType::kQ8_0};
  bool mtp = false;  // of safetensors: with the layer of multi-token prediction, see HfTensors
  int threads = 0;   // 0: as many as may run at once
  const KernelTable* kernels = &reference_kernels();  // which decode the old file
  LoadProgress progress = {};  // may be empty; false stops, and another call goes on
};

struct QuantizeReport {
  size_t tensors = 0;
  size_t tensors_kept = 0;  // that an earlier attempt had written
  uint64_t bytes = 0;       // of the file
};

namespace quantize_file_detail {

// What the file will be: its tensors, in order, and its header.
struct Plan {
  std::optional<HfTensors> hf;  // owns what the tensors of safetensors point to
  std::vector<ConvertedTensor> tensors;
  GgufHeader header;
};

// The new file's data first goes to another path, and must replace no file of `checkpoint` under
// either: those are mapped, and read until the end.
inline Result<void> refuse_own_files(const Checkpoint& checkpoint, const std::string& path) {
  Result<void> checked;
  checkpoint.for_each_mapped([&](const MappedFile&, const std::string& file) {
    for (const std::string& name : {path, GgufWriter::part_path(path)}) {
      std::error_code ignored;  // neither need exist
      if (!std::filesystem::equivalent(name, file, ignored)) continue;
      checked = invalid_argument(name + ": expected another file than the one that is read" +
                                 (name == path ? "" : ", since new data is first put there"));
    }
  });
  return checked;
}

inline Result<void> plan_hf(const Checkpoint& checkpoint, bool mtp, Plan& plan) {
  PENSEE_ASSIGN_OR_RETURN(const Config config, read_config(checkpoint));
  PENSEE_RETURN_IF_ERROR(
      set_architecture_keys(config, checkpoint.path_of(kConfigFile), mtp, plan.header));
  const std::filesystem::path folder = std::filesystem::path(checkpoint.directory()) / "";
  const std::string name = folder.lexically_normal().parent_path().filename().string();
  if (!name.empty()) plan.header.set("general.name", name);
  PENSEE_RETURN_IF_ERROR(set_sampling_keys(checkpoint, plan.header));
  PENSEE_RETURN_IF_ERROR(set_tokenizer_keys(checkpoint, config, plan.header));
  PENSEE_ASSIGN_OR_RETURN(HfTensors hf, HfTensors::load(checkpoint, config, mtp));
  plan.tensors = hf.list();
  plan.hf.emplace(std::move(hf));
  return {};
}

inline Result<void> plan_gguf(const Checkpoint& checkpoint, Plan& plan) {
  for (const GgufValue& value : checkpoint.gguf()->values()) {
    const bool is_of_the_file =
        value.key().starts_with("split.") || value.key() == GgufFile::kAlignmentKey;
    if (!is_of_the_file) plan.header.set(value);
  }
  for (const TensorView& view : checkpoint.tensors()) {
    if (find_malformed_utf8(view.name)) {  // regexes are searched for in it
      return corrupt_file(std::string(view.file) + ": tensor " + printable(to_utf8(view.name)) +
                          ": name: not UTF-8");
    }
    const int64_t cols = view.shape.rank > 0 ? view.shape[view.shape.rank - 1] : 1;
    Matrix matrix{view.data, nullptr, view.dtype, 1, cols, dtype_row_bytes(view.dtype, cols)};
    for (int d = 0; d + 1 < view.shape.rank; ++d) matrix.rows *= view.shape[d];
    plan.tensors.push_back(ConvertedTensor::whole(std::string(view.name), view.shape, matrix));
  }
  return {};
}

inline Result<Plan> make_plan(const Checkpoint& checkpoint, const QuantizeOptions& options) {
  Plan plan;
  if (checkpoint.gguf() != nullptr) {
    if (options.mtp) {
      return invalid_argument(checkpoint.source() +
                              ": mtp: expected a checkpoint of safetensors; of a GGUF file all "
                              "tensors are kept");
    }
    PENSEE_RETURN_IF_ERROR(plan_gguf(checkpoint, plan));
  } else {
    PENSEE_RETURN_IF_ERROR(plan_hf(checkpoint, options.mtp, plan));
  }
  const TypeChoice& types = options.types;
  plan.header.set("general.file_type", gguf_file_type(types.type()));
  plan.header.set("general.quantization_version", uint32_t{2});
  // What an unfinished file must have in common with the one to be written.
  Fnv1a64 source;
  add_fingerprint(checkpoint, source);
  plan.header.set("pensee.source", source.value());
  const bool is_tied = std::none_of(plan.tensors.begin(), plan.tensors.end(),
                                    [](const auto& t) { return t.name == "output.weight"; });
  for (const ConvertedTensor& tensor : plan.tensors) {
    DType type = tensor.parts[0].dtype;
    if (is_weight_type(type)) {  // tables of whole numbers stay
      PENSEE_ASSIGN_OR_RETURN(type, types.choose(tensor.name, tensor.shape, is_tied));
    }
    PENSEE_RETURN_IF_ERROR(plan.header.add_tensor(tensor.name, type, tensor.shape));
  }
  return plan;
}

// Encodes rows in parallel, a few at a time.
class RowEncoder {
 public:
  RowEncoder(ThreadPool& pool, const KernelTable& kernels)
      : pool_(pool), kernels_(kernels), numbers_(static_cast<size_t>(pool.size())) {}

  // Rows of `tensor` from `begin` on, as many as are good to do at once, as `dtype`. The bytes stay
  // until the next call. kCorruptFile for numbers that the type cannot hold; kOutOfMemory.
  Result<std::span<const std::byte>> encode(const ConvertedTensor& tensor, DType dtype,
                                            int64_t begin) {
    const auto row_bytes = static_cast<size_t>(dtype_row_bytes(dtype, tensor.cols()));
    const int64_t step = rows_of_task(tensor);
    const int64_t end = std::min(begin + kTasks * step, tensor.rows());
    bytes_.resize(static_cast<size_t>(end - begin) * row_bytes);
    std::atomic<int64_t> bad_row = -1;
    std::atomic<bool> no_memory = false;  // tasks must not throw
    pool_.parallel_for((end - begin + step - 1) / step, [&](int64_t task, int thread) {
      const int64_t from = begin + task * step;
      const int64_t to = std::min(from + step, end);
      std::byte* out = bytes_.data() + static_cast<size_t>(from - begin) * row_bytes;
      try {
        encode_rows(tensor, dtype, {from, to}, thread, out, bad_row);
      } catch (const std::bad_alloc&) {
        no_memory = true;
      }
    });
    if (no_memory)
      return Error{Status::kOutOfMemory, "no memory to convert " + printable(tensor.name)};
    if (bad_row < 0) return std::span<const std::byte>(bytes_);
    return corrupt_file("tensor " + printable(tensor.name) + ": row " + std::to_string(bad_row) +
                        ": expected finite numbers" +
                        (is_wide(dtype) ? "" : " up to 65504 in magnitude") + " for " +
                        std::string(dtype_name(dtype)) + ", found others");
  }
  // How many rows the last call encoded, given its `begin`.
  [[nodiscard]] int64_t end_after(const ConvertedTensor& tensor, int64_t begin) const {
    return std::min(begin + kTasks * rows_of_task(tensor), tensor.rows());
  }

 private:
  static constexpr int64_t kTasks = 32;
  static constexpr int64_t kTaskNumbers = 1 << 16;

  void encode_rows(const ConvertedTensor& tensor, DType dtype, std::pair<int64_t, int64_t> rows,
                   int thread, std::byte* out, std::atomic<int64_t>& bad_row) {
    const auto row_bytes = static_cast<size_t>(dtype_row_bytes(dtype, tensor.cols()));
    std::vector<float>& numbers = numbers_[static_cast<size_t>(thread)];
    for (auto [from, end] = rows; from < end;) {
      const int64_t to = std::min(end, tensor.end_of_part(from));
      const bool is_copied = tensor.has_rows_of(dtype, from);
      if (!is_copied) {
        numbers.resize(static_cast<size_t>((to - from) * tensor.cols()));
        tensor.read(kernels_, from, to, numbers.data());
      }
      for (const float* row = numbers.data(); from < to; ++from, out += row_bytes) {
        if (is_copied) {
          std::memcpy(out, tensor.stored_row(from), row_bytes);
          continue;
        }
        if (!can_hold(dtype, row, tensor.cols())) bad_row = from;
        quantize_row(dtype, row, tensor.cols(), out);
        row += tensor.cols();
      }
    }
  }

  // Whole heads where reading a part of one costs as much as all of it.
  static int64_t rows_of_task(const ConvertedTensor& tensor) {
    if (tensor.transposed) return tensor.rows_of_head();
    return std::max<int64_t>(kTaskNumbers / std::max<int64_t>(tensor.cols(), 1), 1);
  }
  static bool is_wide(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16; }
  static bool can_hold(DType dtype, const float* row, int64_t n) {
    constexpr float kMostF16 = 65504.0F;
    const float most = is_wide(dtype) ? std::numeric_limits<float>::max() : kMostF16;
    return std::all_of(row, row + n, [&](float v) { return std::fabs(v) <= most; });
  }

  ThreadPool& pool_;
  const KernelTable& kernels_;
  std::vector<std::vector<float>> numbers_;  // of each thread
  std::vector<std::byte> bytes_;
};

inline Result<void> write_tensors(const Plan& plan, const Checkpoint& checkpoint,
                                  const QuantizeOptions& options, RowEncoder& encoder,
                                  GgufWriter& writer) {
  const auto entries = writer.header().tensors();
  const auto total = static_cast<double>(std::max<uint64_t>(writer.header().data_bytes(), 1));
  for (size_t i = writer.tensors_done(); i < entries.size(); ++i) {
    const ConvertedTensor& tensor = plan.tensors[i];
    uint64_t done = entries[i].offset;
    for (int64_t row = 0; entries[i].bytes > 0 && row < tensor.rows();
         row = encoder.end_after(tensor, row)) {
      if (options.progress && !options.progress(static_cast<double>(done) / total)) {
        return Error{Status::kCancelled, checkpoint.source() + ": stopped; the next call goes on"};
      }
      const auto bytes = encoder.encode(tensor, entries[i].dtype, row);
      if (!bytes) {
        return Error{bytes.error().status, checkpoint.source() + ": " + bytes.error().message};
      }
      PENSEE_RETURN_IF_ERROR(writer.write(*bytes));
      done += bytes->size();
    }
  }
  return {};
}

}  // namespace quantize_file_detail

// Writes `checkpoint`, of safetensors or GGUF, to the GGUF file `path`. Takes little memory besides
// the mapped file: some rows at a time. A file of that name is replaced when all of the new one is
// written; until then the data is in GgufWriter::part_path(path), and a call with the same input
// and types goes on from there. Tensors that have the wished type are copied as they are.
//
// Errors: of safetensors those of read_config, Weights::load, set_architecture_keys,
// set_sampling_keys and set_tokenizer_keys, and kUnsupported for `mtp` without such a layer; those
// of ThreadPool::create, TypeChoice::choose and GgufWriter; kInvalidArgument for the number of
// threads, `mtp` with a GGUF file, or where `path` or its part_path() is a file of the checkpoint;
// kCorruptFile for numbers that the type cannot hold or a name that is not UTF-8; kCancelled;
// kOutOfMemory.
[[nodiscard]] inline Result<QuantizeReport> quantize_file(const Checkpoint& checkpoint,
                                                          const std::string& path,
                                                          const QuantizeOptions& options) {
  namespace detail = quantize_file_detail;
  PENSEE_RETURN_IF_ERROR(detail::refuse_own_files(checkpoint, path));
  PENSEE_ASSIGN_OR_RETURN(const int threads, thread_count_of(options.threads));
  PENSEE_ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool, ThreadPool::create(threads));
  PENSEE_ASSIGN_OR_RETURN(const detail::Plan plan, detail::make_plan(checkpoint, options));
  PENSEE_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::create(path, plan.header));
  QuantizeReport report;
  report.tensors = plan.tensors.size();
  report.tensors_kept = writer.tensors_done();
  report.bytes = plan.header.encode().size() + plan.header.data_bytes();
  detail::RowEncoder encoder(*pool, *options.kernels);
  PENSEE_RETURN_IF_ERROR(detail::write_tensors(plan, checkpoint, options, encoder, writer));
  PENSEE_RETURN_IF_ERROR(writer.finish());
  if (options.progress) static_cast<void>(options.progress(1.0));
  return report;
}

}  // namespace pensee
