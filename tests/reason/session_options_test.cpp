#include "pensee/reason/session_options.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "reason/replies.hpp"

namespace pensee {
namespace {

// A host's allocator that keeps account and hands out memory full of NaN.
struct Host {
  int64_t held = 0;
  int64_t most = 0;
  int64_t left = INT64_MAX;  // refuses beyond

  Allocator allocator() {
    return {[](void* user, size_t bytes, size_t alignment) -> void* {
              auto* host = static_cast<Host*>(user);
              const auto size = static_cast<int64_t>(bytes);
              if (size > host->left - host->held) return nullptr;
              host->held += size;
              host->most = std::max(host->most, host->held);
              const size_t whole = (bytes + alignment - 1) / alignment * alignment;
              void* memory = std::aligned_alloc(alignment, whole);
              std::memset(memory, 0xff, whole);
              return memory;
            },
            [](void* user, void* memory, size_t bytes) {
              static_cast<Host*>(user)->held -= static_cast<int64_t>(bytes);
              std::free(memory);
            },
            this};
  }
};

TEST_CASE("the options reach the sequence") {
  Host host;
  const SessionOptions options = {
      .context_length = 100, .prefill_chunk = 7, .allocator = host.allocator()};
  const SequenceOptions found = options.sequence_options();
  CHECK(found.context_length == 100);
  CHECK(found.chunk == 7);
  CHECK((found.allocator.allocate == options.allocator.allocate));
  CHECK((found.allocator.release == options.allocator.release));
  CHECK(found.allocator.user == &host);
  CHECK(SessionOptions{}.sequence_options().chunk == 0);
}

TEST_CASE("a host's memory holds a session and its forks, whatever was in it, and comes back") {
  const SessionOptions plain = {.context_length = 256, .prefill_chunk = 16};
  const Reply expected = must(new_session(plain)->ask(kQuestion, greedy()));
  Host host;
  SessionOptions options = plain;
  options.allocator = host.allocator();
  {
    auto session = new_session(options);
    const int64_t one = host.held;
    CHECK(static_cast<size_t>(one) >=
          Sequence::estimate_memory(tiny()->config(), plain.sequence_options(), 2).value());
    const Reply reply = must(session->ask(kQuestion, greedy()));
    CHECK(reply.thought == expected.thought);
    CHECK(reply.answer == expected.answer);
    CHECK(host.held == one);  // nothing more while it runs
    const auto fork = must(session->fork());
    CHECK(host.held == 2 * one);
    session.reset();
    CHECK(host.held == one);
    REQUIRE(fork->clear_messages().ok());
    CHECK(must(fork->ask(kQuestion, greedy())).thought == expected.thought);
  }
  CHECK(host.held == 0);
}

TEST_CASE("a host without memory is kOutOfMemory, in create and in fork") {
  Host host;
  SessionOptions options = {.context_length = 64, .prefill_chunk = 16};
  options.allocator = host.allocator();
  auto session = new_session(options);
  host.left = 2 * host.held - 1;
  const auto fork = session->fork();
  REQUIRE(!fork.ok());
  CHECK(fork.error().status == Status::kOutOfMemory);
  CHECK(must(session->ask(kQuestion, {.max_tokens = 3})).usage.reply_tokens() == 3);
  host.left = 0;
  CHECK(Session::create(tiny(), options).error().status == Status::kOutOfMemory);
  options.allocator.release = nullptr;
  CHECK(Session::create(tiny(), options).error().status == Status::kInvalidArgument);
}

}  // namespace
}  // namespace pensee
