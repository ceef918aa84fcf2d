#include "machine_limits.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "peak.hpp"

namespace pensee::cli {
namespace {

constexpr int kPasses = 7;
constexpr size_t kBufferBytes = size_t{1} << 30;  // many times any cache of today
constexpr size_t kSliceBytes = size_t{1} << 21;   // one huge page: the unit of sharing out

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Memory that is unmapped at the end of the scope.
class Mapping {
 public:
  explicit Mapping(size_t bytes)
      : data_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
        bytes_(bytes) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (ok()) munmap(data_, bytes_);
  }
  [[nodiscard]] bool ok() const { return data_ != MAP_FAILED; }
  [[nodiscard]] bool ask_for_huge_pages() { return madvise(data_, bytes_, MADV_HUGEPAGE) == 0; }
  [[nodiscard]] uint64_t* words() { return static_cast<uint64_t*>(data_); }

 private:
  void* data_;
  size_t bytes_;
};

// For machines without a ReadFn of their own. Several sums, so that no addition waits for the one
// before.
uint64_t read_words(const void* data, uint64_t bytes) {
  constexpr size_t kSums = 16;
  const auto* words = static_cast<const uint64_t*>(data);
  std::array<uint64_t, kSums> sums{};
  for (size_t i = 0; i < bytes / sizeof(uint64_t); i += kSums) {
    for (size_t j = 0; j < kSums; ++j) sums[j] += words[i + j];
  }
  uint64_t sum = 0;
  for (const uint64_t s : sums) sum += s;
  return sum;
}

ReadFn best_read() {
#ifdef PENSEE_X86_PEAKS
  if (__builtin_cpu_supports("avx512f") != 0) return read_avx512;
  if (__builtin_cpu_supports("avx2") != 0) return read_avx2;
#endif
  return read_words;
}

// A quarter of the free memory at most.
size_t buffer_bytes() {
  const long pages = sysconf(_SC_AVPHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return kBufferBytes;
  const size_t free_bytes = static_cast<size_t>(pages) * static_cast<size_t>(page_bytes);
  return std::min(kBufferBytes, std::max(kSliceBytes, free_bytes / 4 / kSliceBytes * kSliceBytes));
}

Result<void> measure_reading(ThreadPool& pool, MachineLimits& limits) {
  const size_t bytes = buffer_bytes();
  const auto slices = static_cast<int64_t>(bytes / kSliceBytes);
  Mapping buffer(bytes);
  if (!buffer.ok()) {
    return Error{Status::kOutOfMemory,
                 "bench: cannot get " + std::to_string(bytes) + " bytes to read"};
  }
  limits.huge_pages_asked = buffer.ask_for_huge_pages();
  const auto slice_at = [&](int64_t slice) {
    return buffer.words() + static_cast<size_t>(slice) * (kSliceBytes / sizeof(uint64_t));
  };
  pool.parallel_for(slices, [&](int64_t slice, int) {
    std::fill_n(slice_at(slice), kSliceBytes / sizeof(uint64_t), uint64_t{1});
  });
  const ReadFn read = best_read();
  std::atomic<uint64_t> total{0};
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const double seconds = seconds_of([&] {
      pool.parallel_for(slices, [&](int64_t slice, int) {
        total.fetch_add(read(slice_at(slice), kSliceBytes), std::memory_order_relaxed);
      });
    });
    best = std::max(best, static_cast<double>(bytes) / seconds);
  }
  if (total.load() != bytes / sizeof(uint64_t) * kPasses) {
    return Error{Status::kInternal, "bench: the sum over the read buffer is wrong"};
  }
  limits.buffer_bytes = static_cast<double>(bytes);
  limits.read_bytes_per_second = best;
  return {};
}

[[maybe_unused]] double measure_peak(ThreadPool& pool, PeakFn peak) {
  constexpr uint64_t kRounds = 8'000'000;  // some tens of milliseconds
  const int n = pool.size();
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    std::atomic<uint64_t> operations{0};
    const double seconds = seconds_of([&] {
      pool.parallel_for(
          n, [&](int64_t, int) { operations.fetch_add(peak(kRounds), std::memory_order_relaxed); });
    });
    best = std::max(best, static_cast<double>(operations.load()) / seconds);
  }
  return best;
}

void measure_peaks([[maybe_unused]] ThreadPool& pool, MachineLimits& limits) {
  limits.f32 = limits.bf16 = limits.int8 = {"not available", std::nullopt};
#ifdef PENSEE_X86_PEAKS
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  const bool avx512 = __builtin_cpu_supports("avx512f") != 0;
  if (avx512) {
    limits.f32 = {"AVX-512", measure_peak(pool, peak_f32_avx512)};
  } else if (avx2) {
    limits.f32 = {"AVX2 FMA", measure_peak(pool, peak_f32_avx2)};
  }
  if (avx512 && __builtin_cpu_supports("avx512vnni") != 0) {
    limits.int8 = {"AVX-512 VNNI", measure_peak(pool, peak_int8_avx512)};
#  ifdef PENSEE_AVXVNNI_PEAK
  } else if (avx2 && __builtin_cpu_supports("avxvnni") != 0) {
    limits.int8 = {"AVX-VNNI", measure_peak(pool, peak_int8_avxvnni)};
#  endif
  } else if (avx2) {
    limits.int8 = {"AVX2 maddubs", measure_peak(pool, peak_int8_avx2)};
  }
  if (avx512 && __builtin_cpu_supports("avx512bf16") != 0) {
    limits.bf16 = {"AVX-512 BF16", measure_peak(pool, peak_bf16_avx512)};
  }
#endif
}

}  // namespace

Result<MachineLimits> measure_machine(ThreadPool& pool) {
  MachineLimits limits;
  limits.n_threads = pool.size();
  PENSEE_RETURN_IF_ERROR(measure_reading(pool, limits));
  measure_peaks(pool, limits);
  return limits;
}

}  // namespace pensee::cli
