// float32 matrix products on oneDNN. Beside onednn_matmul.hpp the only file that includes oneDNN,
// so that what differs between its runtimes stays here.
#pragma once

#include <oneapi/dnnl/dnnl.h>
#include <signal.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_OMP
#  include <omp.h>
#elif DNNL_CPU_RUNTIME != DNNL_RUNTIME_SEQ
#  error "pensee needs a oneDNN built with the OpenMP or the sequential runtime"
#endif

namespace pensee {

namespace onednn_detail {

// Whether there are `bytes` now. What follows at once will then most likely find them too.
inline bool has_memory(size_t bytes) noexcept {
  void* volatile block = std::malloc(bytes);  // volatile: or the compiler leaves the pair out
  const bool found = block != nullptr;
  std::free(block);
  return found;
}

// Keeps oneDNN on the calling thread while it lives: the work is already split over our own
// threads. OpenMP's setting is per thread and is put back.
class SingleThreaded {
 public:
  SingleThreaded() noexcept {
#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_OMP
    before_ = omp_get_max_threads();
    if (before_ == 1) return;
    // A thread's first setting allocates, and OpenMP ends the process where it cannot.
    constexpr size_t kThreadSettings = 4096;
    ok_ = has_memory(kThreadSettings);
    if (ok_) omp_set_num_threads(1);
#endif
  }
  ~SingleThreaded() {
#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_OMP
    if (ok_ && before_ != 1) omp_set_num_threads(before_);
#endif
  }
  SingleThreaded(const SingleThreaded&) = delete;
  SingleThreaded& operator=(const SingleThreaded&) = delete;

  // False without memory.
  [[nodiscard]] bool ok() const noexcept {
    return ok_;
  }

 private:
  int before_ = 1;
  bool ok_ = true;
};

// Keeps signals from the calling thread while it lives. Some of oneDNN's generated code points the
// stack pointer into a workspace of its own (sgemm with AVX-512 and more than some 80 columns,
// in 2.6 and later): the frame of a handler would overwrite what else lies there in the heap.
class WithoutSignals {
 public:
  WithoutSignals() noexcept {
    sigset_t set;
    ::sigfillset(&set);
    // What an instruction itself raises cannot wait.
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
      ::sigdelset(&set, fault);
    }
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  ~WithoutSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace onednn_detail

// C(m, n) = A(m, k) * B(n, k)^T, all row-major; ld* are the distances between rows, in floats.
// False without memory for the workspace of oneDNN.
[[nodiscard]] inline bool gemm_nt(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
                                  const float* b, int64_t ldb, float* c, int64_t ldc) noexcept {
  const onednn_detail::SingleThreaded single;
  if (!single.ok()) return false;
  const onednn_detail::WithoutSignals without_signals;
  try {
    return dnnl_sgemm('N', 'T', m, n, k, 1.0F, a, lda, b, ldb, 0.0F, c, ldc) == dnnl_success;
  } catch (...) {  // std::bad_alloc, from behind its C interface
    return false;
  }
}

// oneDNN generates its code at the first product of a kind, and crashes, or fails ever after, if
// memory runs out meanwhile. So that happens here, when a model that needs it is loaded, after a
// look whether there is enough: false if not. Later calls cost next to nothing. Any thread.
[[nodiscard]] inline bool prepare_gemm() {
  constexpr size_t kGeneratedCode = size_t{32} << 20;  // it took 19 MiB with AVX2 and oneDNN 2.6
  if (!onednn_detail::has_memory(kGeneratedCode)) return false;
  constexpr int64_t kWidth = 64;
  std::vector<float> zeros(static_cast<size_t>(2 * kWidth * kWidth));
  float* result = zeros.data() + kWidth * kWidth;
  bool ok = true;
  for (const int64_t m : {int64_t{1}, int64_t{4}, kWidth}) {  // vectors, few rows, many
    ok = ok &&
         gemm_nt(m, kWidth, kWidth, zeros.data(), kWidth, zeros.data(), kWidth, result, kWidth);
  }
  return ok;
}

}  // namespace pensee
