#include "pensee/kernels/onednn.hpp"

#include <doctest/doctest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pensee {
namespace {

std::atomic<uintptr_t> stack_begin, stack_end;
std::atomic<int> handled, elsewhere;
pthread_t tested;

void handle(int /*signal*/) {
  if (::pthread_equal(tested, ::pthread_self()) == 0) return;
  const auto address = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  if (address < stack_begin || address >= stack_end) ++elsewhere;
  ++handled;
}

// With AVX-512, some of oneDNN's code has its stack pointer in the heap.
TEST_CASE("signals during a product are handled on the stack") {
  pthread_attr_t attributes;
  REQUIRE(::pthread_getattr_np(::pthread_self(), &attributes) == 0);
  void* begin = nullptr;
  size_t size = 0;
  REQUIRE(::pthread_attr_getstack(&attributes, &begin, &size) == 0);
  ::pthread_attr_destroy(&attributes);
  tested = ::pthread_self();
  stack_begin = reinterpret_cast<uintptr_t>(begin);
  stack_end = stack_begin + size;

  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  struct sigaction before {};
  REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
  const itimerval often = {{0, 200}, {0, 200}};  // microseconds
  REQUIRE(::setitimer(ITIMER_REAL, &often, nullptr) == 0);
  constexpr int64_t kRows = 64;
  constexpr int64_t kCols = 128;
  const std::vector<float> a(kRows * kCols, 1.0F);
  std::vector<float> c(kRows * kRows);
  bool ok = true;
  for (int i = 0; i < 1000000 && handled < 300; ++i) {
    ok = ok && gemm_nt(kRows, kRows, kCols, a.data(), kCols, a.data(), kCols, c.data(), kRows);
  }
  const itimerval never{};
  CHECK(::setitimer(ITIMER_REAL, &never, nullptr) == 0);
  CHECK(::sigaction(SIGALRM, &before, nullptr) == 0);
  CHECK(ok);
  CHECK(c[0] == static_cast<float>(kCols));
  CHECK(handled >= 300);
  CHECK(elsewhere == 0);
}

}  // namespace
}  // namespace pensee
