// The pool of worker threads that one loaded model owns and its sessions share.
#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#include "pensee/base/result.hpp"

#if defined(__x86_64__) || defined(__i386__)
#  define PENSEE_CPU_RELAX() __builtin_ia32_pause()
#else
#  define PENSEE_CPU_RELAX() std::this_thread::yield()
#endif

namespace pensee {

inline constexpr int kMaxThreads = 1024;  // of a pool

// The hardware threads that this process may run on: what 0 threads mean.
[[nodiscard]] inline int default_threads() noexcept {
  cpu_set_t allowed;
  const bool is_known = ::sched_getaffinity(0, sizeof allowed, &allowed) == 0;
  const int count =
      is_known ? CPU_COUNT(&allowed) : static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(count, 1, kMaxThreads);
}

inline Error bad_thread_count(int least, int found) {
  return invalid_argument("number of threads: expected " + std::to_string(least) + " to " +
                          std::to_string(kMaxThreads) + ", found " + std::to_string(found));
}
// What an option asks for, 0: as many as may run at once. kInvalidArgument.
[[nodiscard]] inline Result<int> thread_count_of(int option) {
  if (option < 0 || option > kMaxThreads) return bad_thread_count(0, option);
  return option == 0 ? default_threads() : option;
}

// parallel_for hands tasks out by an atomic counter. The calling thread works too, and waits only
// for workers that joined: a worker that the operating system has not yet woken is never waited
// for. Workers spin briefly after a job, then sleep, so that an idle pool costs nothing.
//
// Thread rule: any thread may call parallel_for; calls are served one at a time. A task must not
// call parallel_for on the same pool.
class ThreadPool {
 public:
  // `n_threads` counts the caller: 1 starts no thread. Errors: kInvalidArgument, kOutOfMemory;
  // kInternal where the operating system refuses a thread for another reason.
  static Result<std::unique_ptr<ThreadPool>> create(int n_threads) {
    if (n_threads < 1 || n_threads > kMaxThreads) {
      return bad_thread_count(1, n_threads);
    }
    std::unique_ptr<ThreadPool> pool(new ThreadPool);
    try {
      pool->workers_.reserve(static_cast<size_t>(n_threads - 1));
      for (int i = 1; i < n_threads; ++i) {
        pool->workers_.emplace_back([p = pool.get(), i] { p->work(i); });
      }
    } catch (const std::system_error& e) {
      // What the operating system says where a thread's memory, or the number of threads, runs out.
      const bool no_room = e.code() == std::errc::resource_unavailable_try_again ||
                           e.code() == std::errc::not_enough_memory;
      return Error{no_room ? Status::kOutOfMemory : Status::kInternal,
                   std::string("cannot start a thread: ") + e.what()};
    }
    return pool;
  }

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  ~ThreadPool() {
    stop_.store(true, std::memory_order_relaxed);
    gate_.fetch_add(kEpochUnit, std::memory_order_seq_cst);
    gate_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  [[nodiscard]] int size() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  // Calls f(task, thread) for every task in [0, n_tasks), thread in [0, size()). Returns when all
  // are done. `f` must not throw.
  template <class F>
  void parallel_for(int64_t n_tasks, F&& f) {
    if (n_tasks <= 0) return;
    if (workers_.empty() || n_tasks == 1) {
      const std::lock_guard<std::mutex> lock(callers_);
      for (int64_t task = 0; task < n_tasks; ++task) f(task, 0);
      return;
    }
    using Function = std::remove_reference_t<F>;
    const std::lock_guard<std::mutex> lock(callers_);
    call_ = [](void* context, int64_t task, int thread) {
      (*static_cast<Function*>(context))(task, thread);
    };
    context_ = const_cast<void*>(static_cast<const void*>(&f));
    n_tasks_ = n_tasks;
    next_.store(0, std::memory_order_relaxed);
    const uint32_t epoch = (gate_.load(std::memory_order_relaxed) & kEpochMask) + kEpochUnit;
    // seq_cst here and below: notify_all looks for sleepers before it makes a system call, and that
    // look must not pass ahead of the change that the sleepers wait for.
    gate_.store(epoch | kOpen, std::memory_order_seq_cst);
    gate_.notify_all();
    take_tasks(0);
    // Close the gate; a worker that has not joined by now has nothing left to do.
    uint32_t gate = gate_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
    for (int spins = 0; (gate & kActiveMask) != 0; ++spins) {
      if (spins < kSpins) {
        PENSEE_CPU_RELAX();
      } else {
        gate_.wait(gate, std::memory_order_acquire);
      }
      gate = gate_.load(std::memory_order_acquire);
    }
  }

 private:
  ThreadPool() = default;

  static constexpr int kSpins = 4000;  // some ten microseconds: the gap between two operations
  // gate_: bit 0 open, bits 1..11 workers inside, the rest counts jobs.
  static constexpr uint32_t kOpen = 1;
  static constexpr uint32_t kActiveUnit = 2;
  static constexpr uint32_t kEpochUnit = 1U << 12;
  static constexpr uint32_t kEpochMask = ~(kEpochUnit - 1);
  static constexpr uint32_t kActiveMask = kEpochUnit - kActiveUnit;

  void take_tasks(int thread) {
    for (;;) {
      const int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
      if (task >= n_tasks_) return;
      call_(context_, task, thread);
    }
  }

  void work(int thread) {
    uint32_t done = 0;  // the job last worked on
    int spins = 0;
    for (;;) {
      uint32_t gate = gate_.load(std::memory_order_acquire);
      // Read after the gate: whoever sees the gate that the destructor left sees stop_ too, and
      // whoever sees an older one will not sleep on it.
      if (stop_.load(std::memory_order_relaxed)) return;
      if ((gate & kOpen) != 0 && (gate & kEpochMask) != done) {
        if (gate_.compare_exchange_weak(gate, gate + kActiveUnit, std::memory_order_acq_rel)) {
          take_tasks(thread);
          done = gate & kEpochMask;
          const uint32_t left =
              gate_.fetch_sub(kActiveUnit, std::memory_order_seq_cst) - kActiveUnit;
          // The caller waits only behind a closed gate, and only the last to leave has news for it.
          if ((left & (kOpen | kActiveMask)) == 0) gate_.notify_all();
          spins = 0;
        }
      } else if (spins < kSpins) {
        ++spins;
        PENSEE_CPU_RELAX();
      } else {
        gate_.wait(gate, std::memory_order_relaxed);
        spins = 0;
      }
    }
  }

  std::vector<std::thread> workers_;
  std::mutex callers_;
  std::atomic<uint32_t> gate_{0};
  std::atomic<int64_t> next_{0};
  std::atomic<bool> stop_{false};
  void (*call_)(void*, int64_t, int) = nullptr;
  void* context_ = nullptr;
  int64_t n_tasks_ = 0;
};

}  // namespace pensee
