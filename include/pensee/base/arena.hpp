// One block of memory for all the buffers of a session, laid out once.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>

#include "pensee/base/result.hpp"

namespace pensee {

// A layout function takes its buffers from an arena twice: first from a measuring one (created by
// default, hands out null and adds up), then from one that has the memory. So the size is never
// written down a second time. The memory reads as zero, and the operating system commits a page
// only when it is first written.
class Arena {
 public:
  Arena() = default;

  static Result<Arena> create(size_t bytes) {
    Arena arena;
    arena.memory_.reset(static_cast<std::byte*>(std::calloc(bytes + kAlignment, 1)));
    if (arena.memory_ == nullptr) {
      return Error{Status::kOutOfMemory, "cannot allocate " + std::to_string(bytes) + " bytes"};
    }
    const auto address = reinterpret_cast<uintptr_t>(arena.memory_.get());
    arena.base_ = arena.memory_.get() + (kAlignment - address % kAlignment) % kAlignment;
    arena.capacity_ = bytes;
    return arena;
  }

  // `count` elements of a trivial type, aligned for the widest vectors. Null while measuring.
  template <class T>
  [[nodiscard]] T* take(int64_t count) {
    const size_t limit = std::numeric_limits<size_t>::max() / 2;
    const size_t elements = static_cast<size_t>(count);
    if (elements > (limit - used_) / sizeof(T) - kAlignment) {
      overflow_ = true;
      return nullptr;
    }
    const size_t offset = used_;
    used_ += (elements * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    if (base_ == nullptr) return nullptr;
    assert(used_ <= capacity_);
    return reinterpret_cast<T*>(base_ + offset);
  }

  [[nodiscard]] size_t used() const noexcept { return used_; }
  // True when the sizes asked for cannot be addressed.
  [[nodiscard]] bool overflow() const noexcept { return overflow_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  static constexpr size_t kAlignment = 64;

  std::unique_ptr<std::byte, Free> memory_;
  std::byte* base_ = nullptr;
  size_t capacity_ = 0;
  size_t used_ = 0;
  bool overflow_ = false;
};

}  // namespace pensee
