#include "pensee/base/threads.hpp"

#include <doctest/doctest.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using pensee::Status;
using pensee::ThreadPool;

namespace {

TEST_CASE("by default there are as many threads as the process may run on at once") {
  cpu_set_t allowed;
  REQUIRE(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  CHECK(pensee::default_threads() == std::min(CPU_COUNT(&allowed), pensee::kMaxThreads));
  cpu_set_t one;
  CPU_ZERO(&one);
  size_t cpu = 0;
  while (!CPU_ISSET(cpu, &allowed)) ++cpu;
  CPU_SET(cpu, &one);
  REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK(pensee::default_threads() == 1);
  REQUIRE(sched_setaffinity(0, sizeof allowed, &allowed) == 0);
}

TEST_CASE("an option of 0 is the default, and others must be few enough") {
  CHECK(pensee::thread_count_of(0).value() == pensee::default_threads());
  CHECK(pensee::thread_count_of(1024).value() == 1024);
  for (const int bad : {-1, 1025}) {
    const auto refused = pensee::thread_count_of(bad);
    REQUIRE(!refused.ok());
    CHECK(refused.error().status == Status::kInvalidArgument);
    CHECK(refused.error().message ==
          "number of threads: expected 0 to 1024, found " + std::to_string(bad));
  }
}

std::unique_ptr<ThreadPool> make_pool(int n_threads) {
  auto pool = ThreadPool::create(n_threads);
  REQUIRE(pool.ok());
  return std::move(pool).value();
}

}  // namespace

TEST_CASE("a pool refuses absurd sizes") {
  for (const int n : {-1, 0, 1025}) {
    const auto pool = ThreadPool::create(n);
    REQUIRE(!pool.ok());
    CHECK(pool.error().status == Status::kInvalidArgument);
    CHECK(pool.error().message.find(std::to_string(n)) != std::string::npos);
  }
}

TEST_CASE("every task runs exactly once, on a thread of the pool") {
  for (const int n_threads : {1, 2, 3, 8}) {
    const auto pool = make_pool(n_threads);
    CHECK(pool->size() == n_threads);
    for (const int64_t n_tasks : {0, 1, 2, 7, 1000}) {
      std::vector<int> runs(static_cast<size_t>(n_tasks), 0);  // plain: races would show in TSan
      std::atomic<int> bad_threads{0};
      pool->parallel_for(n_tasks, [&](int64_t task, int thread) {
        ++runs[static_cast<size_t>(task)];
        if (thread < 0 || thread >= n_threads) ++bad_threads;
      });
      CHECK(std::count(runs.begin(), runs.end(), 1) == n_tasks);
      CHECK(bad_threads == 0);
    }
  }
}

TEST_CASE("negative task counts run nothing") {
  const auto pool = make_pool(2);
  bool ran = false;
  pool->parallel_for(-5, [&](int64_t, int) { ran = true; });
  CHECK(!ran);
}

TEST_CASE("a thread number is never used by two tasks at once") {
  constexpr int kThreads = 4;
  const auto pool = make_pool(kThreads);
  std::vector<int64_t> sums(kThreads, 0);  // one slot a thread, without atomics
  constexpr int64_t kTasks = 20000;
  pool->parallel_for(kTasks,
                     [&](int64_t task, int thread) { sums[static_cast<size_t>(thread)] += task; });
  int64_t total = 0;
  for (const int64_t sum : sums) total += sum;
  CHECK(total == kTasks * (kTasks - 1) / 2);
}

TEST_CASE("workers take part") {
  const auto pool = make_pool(2);
  std::atomic<int> seen{0};
  // Each task waits for the other, so one thread alone could never finish.
  pool->parallel_for(2, [&](int64_t, int) {
    ++seen;
    while (seen.load() < 2) std::this_thread::yield();
  });
  CHECK(seen == 2);
}

TEST_CASE("many small jobs, with results that the next job reads") {
  const auto pool = make_pool(3);
  std::vector<int64_t> values(5, 0);
  constexpr int kJobs = 20000;
  for (int job = 0; job < kJobs; ++job) {
    // Every job's function is a new object in the same place: a worker that joined late with the
    // fields of the job before would count wrongly.
    pool->parallel_for(static_cast<int64_t>(values.size()), [&values, job](int64_t task, int) {
      int64_t& value = values[static_cast<size_t>(task)];
      value = value == job ? job + 1 : -1;
    });
  }
  for (const int64_t value : values) CHECK(value == kJobs);
}

TEST_CASE("workers that fell asleep wake again") {
  const auto pool = make_pool(2);
  for (int job = 0; job < 50; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // longer than workers spin
    std::atomic<int> seen{0};
    pool->parallel_for(2, [&](int64_t, int) {
      ++seen;
      while (seen.load() < 2) std::this_thread::yield();
    });
    CHECK(seen == 2);
  }
}

TEST_CASE("a caller waits for a worker that is still inside a long task") {
  const auto pool = make_pool(2);
  std::atomic<int> seen{0};
  int64_t written = 0;
  pool->parallel_for(2, [&](int64_t, int thread) {
    ++seen;
    while (seen.load() < 2) std::this_thread::yield();
    if (thread == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the caller stops spinning
    written = 42;
  });
  CHECK(written == 42);
}

TEST_CASE("several callers at once") {
  const auto pool = make_pool(3);
  constexpr int kCallers = 4;
  constexpr int kJobs = 500;
  constexpr int64_t kTasks = 17;
  std::vector<int64_t> sums(kCallers, 0);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      for (int job = 0; job < kJobs; ++job) {
        std::vector<int64_t> parts(kTasks, 0);
        pool->parallel_for(
            kTasks, [&](int64_t task, int) { parts[static_cast<size_t>(task)] = task + caller; });
        for (const int64_t part : parts) sums[static_cast<size_t>(caller)] += part;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (int caller = 0; caller < kCallers; ++caller) {
    CHECK(sums[static_cast<size_t>(caller)] ==
          kJobs * (kTasks * (kTasks - 1) / 2 + kTasks * caller));
  }
}

TEST_CASE("pools come and go") {
  for (int round = 0; round < 300; ++round) {
    const auto pool = make_pool(1 + round % 4);
    if (round % 3 == 0) continue;  // some end before their workers have begun
    std::atomic<int> ran{0};
    pool->parallel_for(round % 5, [&](int64_t, int) { ++ran; });
    CHECK(ran == round % 5);
    // Some end while their workers are about to fall asleep.
    if (round % 3 == 2) std::this_thread::sleep_for(std::chrono::microseconds(round));
  }
}
