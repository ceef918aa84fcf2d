// float32 matrix products on oneDNN. The only file that includes oneDNN, so that what differs
// between its versions and runtimes stays here.
#pragma once

#include <oneapi/dnnl/dnnl.h>

#include <cstdint>

#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_OMP
#  include <omp.h>
#elif DNNL_CPU_RUNTIME != DNNL_RUNTIME_SEQ
#  error "pensee needs a oneDNN built with the OpenMP or the sequential runtime"
#endif

namespace pensee {

// Keeps oneDNN on the calling thread while it lives: the work is already split over our own
// threads. OpenMP's setting is per thread and is put back.
class SingleThreadedOneDnn {
 public:
#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_OMP
  SingleThreadedOneDnn() noexcept : before_(omp_get_max_threads()) {
    omp_set_num_threads(1);
  }
  ~SingleThreadedOneDnn() {
    omp_set_num_threads(before_);
  }

 private:
  int before_;

 public:
#else
  SingleThreadedOneDnn() noexcept = default;
#endif
  SingleThreadedOneDnn(const SingleThreadedOneDnn&) = delete;
  SingleThreadedOneDnn& operator=(const SingleThreadedOneDnn&) = delete;
};

// C(m, n) = A(m, k) * B(n, k)^T + beta * C, all row-major; ld* are the distances between rows, in
// floats. False when oneDNN could not allocate its workspace.
[[nodiscard]] inline bool gemm_nt(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
                                  const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  const SingleThreadedOneDnn single;
  return dnnl_sgemm('N', 'T', m, n, k, 1.0F, a, lda, b, ldb, beta, c, ldc) == dnnl_success;
}

// C(m, n) = A(m, k) * B(k, n) + beta * C.
[[nodiscard]] inline bool gemm_nn(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
                                  const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  const SingleThreadedOneDnn single;
  return dnnl_sgemm('N', 'N', m, n, k, 1.0F, a, lda, b, ldb, beta, c, ldc) == dnnl_success;
}

}  // namespace pensee
