// One block of memory for all the buffers of a session, laid out once.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>

#include "pensee/base/result.hpp"

namespace pensee {

// Where large blocks come from. Both functions are set, or neither: then from the C library. They
// must not throw.
struct Allocator {
  // `bytes` (at least 1) at a multiple of `alignment`, a power of two; or null.
  void* (*allocate)(void* user, size_t bytes, size_t alignment) = nullptr;
  // Takes back what allocate() gave, with the same `bytes`.
  void (*release)(void* user, void* memory, size_t bytes) = nullptr;
  void* user = nullptr;
};

// A layout function takes its buffers from an arena twice: first from a measuring one (created by
// default, hands out null and adds up), then from one that has the memory. So the size is never
// written down a second time. From the C library, the memory is committed by the operating system
// page by page, when it is first written. What it reads before that is not defined.
class Arena {
 public:
  Arena() = default;

  // Errors: kOutOfMemory; kInvalidArgument if only one function of `allocator` is set, or if it
  // gives misaligned memory.
  static Result<Arena> create(size_t bytes, const Allocator& allocator = {}) {
    const bool is_host = allocator.allocate != nullptr;
    if (is_host != (allocator.release != nullptr)) {
      return invalid_argument("allocator: expected both functions or neither, found one");
    }
    const size_t total = is_host ? std::max<size_t>(bytes, 1) : bytes + kAlignment;
    void* memory = is_host
                       ? allocator.allocate(allocator.user, total, kAlignment)
                       : std::calloc(total, 1);  // calloc commits no page; malloc and fill would
    if (memory == nullptr) {
      return Error{Status::kOutOfMemory, "cannot allocate " + std::to_string(bytes) + " bytes"};
    }
    Arena arena;
    arena.memory_ = {static_cast<std::byte*>(memory), Release{allocator, total}};
    const auto address = reinterpret_cast<uintptr_t>(memory);
    const size_t gap = (kAlignment - address % kAlignment) % kAlignment;
    if (is_host && gap != 0) {
      return invalid_argument("allocator: expected memory at a multiple of " +
                              std::to_string(kAlignment) + " bytes");
    }
    arena.base_ = arena.memory_.get() + gap;
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

  // Buffers that are never needed at the same time: each of `layouts` takes its own from the same
  // memory.
  template <class... Layouts>
  void share(Layouts&&... layouts) {
    const size_t begin = used_;
    size_t end = begin;
    const auto lay_out = [&](auto& layout) {
      used_ = begin;
      layout();
      end = std::max(end, used_);
    };
    (lay_out(layouts), ...);
    used_ = end;
  }

  [[nodiscard]] size_t used() const noexcept { return used_; }
  // True when the sizes asked for cannot be addressed.
  [[nodiscard]] bool overflow() const noexcept { return overflow_; }

 private:
  struct Release {
    Allocator allocator;
    size_t bytes;  // no initialiser: g++ 12 then takes the class for not default-constructible
    void operator()(std::byte* memory) const noexcept {
      if (allocator.release == nullptr) return std::free(memory);
      allocator.release(allocator.user, memory, bytes);
    }
  };
  static constexpr size_t kAlignment = 64;

  std::unique_ptr<std::byte, Release> memory_;
  std::byte* base_ = nullptr;
  size_t capacity_ = 0;
  size_t used_ = 0;
  bool overflow_ = false;
};

}  // namespace pensee
