#include "pensee/base/arena.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace pensee {
namespace {

struct Numbers {
  float* floats = nullptr;
  int64_t* integers = nullptr;
  static Numbers layout(Arena& arena) {
    Numbers n;
    n.floats = arena.take<float>(3);
    n.integers = arena.take<int64_t>(100);
    return n;
  }
};

bool is_aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 64 == 0;
}

// A host's allocator that keeps account.
struct Host {
  int64_t held = 0;
  int calls = 0;
  bool refuses = false;
  size_t shift = 0;  // misaligns
  size_t asked_alignment = 0;

  Allocator allocator() {
    return {[](void* user, size_t bytes, size_t alignment) -> void* {
              auto* host = static_cast<Host*>(user);
              ++host->calls;
              host->asked_alignment = alignment;
              if (host->refuses) return nullptr;
              host->held += static_cast<int64_t>(bytes);
              const size_t whole = (bytes + 2 * alignment - 1) / alignment * alignment;
              return static_cast<std::byte*>(std::aligned_alloc(alignment, whole)) + host->shift;
            },
            [](void* user, void* memory, size_t bytes) {
              auto* host = static_cast<Host*>(user);
              host->held -= static_cast<int64_t>(bytes);
              std::free(static_cast<std::byte*>(memory) - host->shift);
            },
            this};
  }
};

TEST_CASE(
    "layouts that share memory begin at the same place, and what follows behind the largest") {
  const auto lay_out = [](Arena& arena, Numbers& a, Numbers& b) {
    float* before = arena.take<float>(1);
    arena.share([&] { a.floats = arena.take<float>(3); }, [&] { b = Numbers::layout(arena); });
    return std::pair(before, arena.take<float>(1));
  };
  Numbers a;
  Numbers b;
  Arena measure;
  CHECK(lay_out(measure, a, b).second == nullptr);
  CHECK(measure.used() == 64 + 64 + 832 + 64);
  Arena arena = Arena::create(measure.used()).value();
  const auto [before, after] = lay_out(arena, a, b);
  CHECK(a.floats == b.floats);
  CHECK(a.floats == before + 16);
  CHECK(after == before + 16 + 16 + 208);
}

TEST_CASE("a layout is measured, then made, and its buffers are aligned and apart") {
  Arena measure;
  CHECK(Numbers::layout(measure).floats == nullptr);
  CHECK(measure.used() == 64 + 832);
  Arena arena = Arena::create(measure.used()).value();
  const Numbers n = Numbers::layout(arena);
  CHECK(arena.used() == measure.used());
  CHECK(is_aligned(n.floats));
  CHECK(is_aligned(n.integers));
  for (int i = 0; i < 3; ++i) n.floats[i] = 1;
  for (int i = 0; i < 100; ++i) n.integers[i] = i;
  CHECK(n.floats[2] == 1);
  CHECK(n.integers[99] == 99);
  CHECK(!arena.overflow());
}

TEST_CASE("sizes that cannot be addressed are told, not wrapped round") {
  Arena measure;
  CHECK(measure.take<double>(INT64_MAX / 4) == nullptr);
  CHECK(measure.overflow());
}

TEST_CASE("more memory than there is") {
  const auto arena = Arena::create(size_t{1} << 60);
  REQUIRE(!arena.ok());
  CHECK(arena.error().status == Status::kOutOfMemory);
  CHECK(arena.error().message.find(std::to_string(size_t{1} << 60)) != std::string::npos);
}

TEST_CASE("a host's allocator gives the memory and gets it back, once") {
  Host host;
  {
    Arena arena = Arena::create(1000, host.allocator()).value();
    CHECK(host.asked_alignment == 64);
    CHECK(host.held >= 1000);
    CHECK(is_aligned(arena.take<float>(8)));
    Arena moved = std::move(arena);
    arena = Arena::create(2000, host.allocator()).value();
    CHECK(host.held >= 3000);
    moved = std::move(arena);  // gives the first block back
    CHECK(host.held < 3000);
  }
  CHECK(host.held == 0);
  CHECK(host.calls == 2);
  CHECK(Arena::create(0, host.allocator()).ok());
  CHECK(host.held == 0);
}

TEST_CASE("an allocator that fails, misaligns, or is half set") {
  Host host{.refuses = true};
  CHECK(Arena::create(1000, host.allocator()).error().status == Status::kOutOfMemory);
  host = {.shift = 8};
  CHECK(Arena::create(1000, host.allocator()).error().status == Status::kInvalidArgument);
  CHECK(host.held == 0);
  Allocator half = host.allocator();
  half.release = nullptr;
  CHECK(Arena::create(1000, half).error().status == Status::kInvalidArgument);
  half = host.allocator();
  half.allocate = nullptr;
  CHECK(Arena::create(1000, half).error().status == Status::kInvalidArgument);
}

}  // namespace
}  // namespace pensee
