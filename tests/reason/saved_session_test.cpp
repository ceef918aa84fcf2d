#include "pensee/reason/saved_session.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "reason/replies.hpp"

namespace pensee {
namespace {

using Bytes = std::vector<std::byte>;

ReplyOptions brief() {
  ReplyOptions options = greedy();
  options.thinking_token_budget = 12;
  options.max_answer_tokens = 10;
  return options;
}

std::unique_ptr<Session> after_one_reply(SessionOptions options = {}) {
  auto session = new_session(options);
  REQUIRE(session->add_message(Role::kSystem, "Be brief. é").ok());
  must(session->ask(kQuestion, brief()));
  return session;
}

// Both give the same reply to the same question, token for token.
void expect_alike(Session& a, Session& b) {
  std::vector<std::vector<Event>> events;
  for (Session* session : {&a, &b}) {
    REQUIRE(session->add_message(Role::kUser, "And 5 * 6?").ok());
    REQUIRE(session->start(brief()).ok());
    events.push_back(run(*session));
  }
  CHECK(tokens_of(events[0]) == tokens_of(events[1]));
  REQUIRE(events[0].size() == events[1].size());
  for (size_t i = 0; i < events[0].size(); ++i) {
    CHECK(events[0][i].log_prob == events[1][i].log_prob);
  }
  CHECK(a.reply().usage.cached_tokens == b.reply().usage.cached_tokens);
  CHECK(std::ranges::equal(a.tokens(), b.tokens()));
}

void set_checksum(Bytes& bytes) {
  const size_t size = bytes.size() - sizeof(uint64_t);
  const uint64_t sum = Fnv1a64().add(std::span<const std::byte>(bytes).first(size)).value();
  std::memcpy(bytes.data() + size, &sum, sizeof(sum));
}

template <class T>
T number_at(const Bytes& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

// Every place at the start and at the end, and some between: all would take the square of the size.
size_t stride(size_t at, size_t size) {
  return at < 700 || at + 100 > size ? 1U : 997U;
}

Error error_of(std::span<const std::byte> bytes, const SessionOptions& options = {}) {
  // A block of exactly this size: reading past it would show.
  const Bytes own(bytes.begin(), bytes.end());
  const auto restored = restore(tiny(), own, options);
  if (restored.ok()) return {Status::kInternal, "restored"};
  return restored.error();
}

TEST_CASE("a restored session goes on as the saved one, with its cache") {
  auto session = after_one_reply();
  const Bytes bytes = must(save(*session));
  auto restored = must(restore(tiny(), bytes));
  CHECK(!restored->is_replying());
  CHECK(restored->context_length() == session->context_length());
  REQUIRE(restored->messages().size() == session->messages().size());
  for (size_t i = 0; i < restored->messages().size(); ++i) {
    CHECK(restored->messages()[i].role == session->messages()[i].role);
    CHECK(restored->messages()[i].content == session->messages()[i].content);
    CHECK(restored->messages()[i].reasoning_content == session->messages()[i].reasoning_content);
  }
  CHECK(std::ranges::equal(restored->tokens(), session->tokens()));
  CHECK(must(save(*restored)) == bytes);
  expect_alike(*session, *restored);
  CHECK(restored->reply().usage.cached_tokens > 0);
}

TEST_CASE("the cache keeps its type, whatever the options of the restored session say") {
  size_t sizes[3] = {};
  for (const CacheType type : {CacheType::kBF16, CacheType::kF32, CacheType::kQ8}) {
    auto session = after_one_reply({.context_length = 300, .cache_type = type});
    const Bytes bytes = must(save(*session));
    CHECK(number_at<uint32_t>(bytes, 28) == static_cast<uint32_t>(type));
    auto restored = must(restore(tiny(), bytes, {.cache_type = CacheType::kF32}));
    CHECK(must(save(*restored)) == bytes);
    expect_alike(*session, *restored);
    sizes[static_cast<size_t>(type)] = bytes.size();
  }
  const auto [bf16, f32, q8] = sizes;
  CHECK(q8 < bf16);
  CHECK(bf16 < f32);
}

TEST_CASE("logits outlive the saving, whether the newest token was fed or not") {
  auto session = after_one_reply();
  for (const bool is_fed : {false, true}) {
    CAPTURE(is_fed);
    auto restored = must(restore(tiny(), must(save(*session))));
    const auto expected = must(session->logits());  // feeds the newest token
    CHECK(std::ranges::equal(must(restored->logits()), expected));
  }
}

TEST_CASE("what a cancelled prompt left is saved, and its logits are not made up") {
  auto session = new_session({.prefill_chunk = 4});
  ReplyOptions options = brief();
  options.prefill_progress = [](int64_t, int64_t) { return false; };
  must(session->ask(kQuestion, options));
  REQUIRE(session->tokens().size() == 4);
  auto restored = must(restore(tiny(), must(save(*session)), {.prefill_chunk = 4}));
  CHECK(std::ranges::equal(must(restored->logits()), must(session->logits())));
  session = new_session({.prefill_chunk = 4});
  must(session->ask(kQuestion, options));
  restored = must(restore(tiny(), must(save(*session)), {.prefill_chunk = 4}));
  expect_alike(*session, *restored);
  CHECK(restored->reply().usage.cached_tokens == 4);
}

TEST_CASE("an empty session, and one without messages") {
  auto restored = must(restore(tiny(), must(save(*new_session()))));
  CHECK(restored->messages().empty());
  CHECK(restored->tokens().empty());
  auto fresh = new_session();
  expect_alike(*restored, *fresh);

  auto session = new_session();
  REQUIRE(session->start_prompt(std::vector<int32_t>{0, 5, 6, 7}, brief()).ok());
  must(session->answer());
  restored = must(restore(tiny(), must(save(*session))));
  CHECK(restored->messages().empty());
  CHECK(std::ranges::equal(restored->tokens(), session->tokens()));
}

TEST_CASE("saving in the middle of a reply is out of order") {
  auto session = new_session();
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(brief()).ok());
  const auto saved = save(*session);
  REQUIRE(!saved.ok());
  CHECK(saved.error().status == Status::kWrongState);
  must(session->answer());
  CHECK(save(*session).ok());
}

TEST_CASE("the room is the saved session's, or what the options say") {
  auto session = after_one_reply({.context_length = 300});
  const Bytes bytes = must(save(*session));
  CHECK(must(restore(tiny(), bytes))->context_length() == 300);
  const auto n = static_cast<int64_t>(session->tokens().size());
  auto larger = must(restore(tiny(), bytes, {.context_length = 400}));
  CHECK(larger->context_length() == 400);
  CHECK(std::ranges::equal(larger->tokens(), session->tokens()));
  CHECK(restore(tiny(), bytes, {.context_length = n - 1}).ok());  // the newest is not fed
  const auto small = restore(tiny(), bytes, {.context_length = n - 2});
  REQUIRE(!small.ok());
  CHECK(small.error().status == Status::kContextFull);
  CHECK(small.error().message.find(std::to_string(n)) != std::string::npos);
}

TEST_CASE("every truncation is an error") {
  const Bytes bytes = must(save(*after_one_reply({.context_length = 200})));
  const std::span<const std::byte> whole(bytes);
  for (size_t n = 0; n < bytes.size(); n += stride(n, bytes.size())) {
    CAPTURE(n);
    CHECK(error_of(whole.first(n)).status == Status::kCorruptFile);
  }
  // With a checksum that fits: the counts must not be believed.
  for (size_t n = 60; n < bytes.size(); n += stride(n, bytes.size())) {
    CAPTURE(n);
    Bytes part(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
    set_checksum(part);
    CHECK(error_of(part).status == Status::kCorruptFile);
  }
  Bytes longer = bytes;
  longer.resize(bytes.size() + 4);
  set_checksum(longer);
  CHECK(error_of(longer).status == Status::kCorruptFile);
}

TEST_CASE("every altered byte is an error") {
  Bytes bytes = must(save(*after_one_reply({.context_length = 200})));
  for (size_t i = 0; i < bytes.size(); i += stride(i, bytes.size())) {
    CAPTURE(i);
    const std::byte before = bytes[i];
    bytes[i] ^= std::byte{0x10};
    const Error error = error_of(bytes);
    CHECK(error.status == (i >= 8 && i < 12 ? Status::kUnsupported : Status::kCorruptFile));
    bytes[i] = before;
  }
  CHECK(restore(tiny(), bytes).ok());
}

TEST_CASE("hostile numbers under a good checksum are errors, and nothing large is allocated") {
  const Bytes good = must(save(*new_session({.context_length = 64})));
  REQUIRE(good.size() == 64);  // no message, no token
  const auto altered = [&](size_t at, auto value) {
    Bytes bytes = good;
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    set_checksum(bytes);
    return error_of(bytes);
  };
  CHECK(number_at<int64_t>(good, 20) == 64);
  CHECK(altered(20, int64_t{-1}).status == Status::kCorruptFile);
  CHECK(altered(20, int64_t{0}).status == Status::kCorruptFile);
  CHECK(restore(tiny(), good, {.context_length = -1}).error().status == Status::kInvalidArgument);
  CHECK(altered(20, INT64_MAX).status == Status::kInvalidArgument);
  CHECK(altered(28, uint32_t{3}).message.find("cache type: found 3") != std::string::npos);
  for (const uint32_t n : {1U, 1000U, UINT32_MAX}) {  // messages
    CHECK(altered(32, n).status == Status::kCorruptFile);
  }
  for (const uint64_t n : {uint64_t{1}, uint64_t{1} << 32, uint64_t{1} << 62, UINT64_MAX}) {
    CHECK(altered(36, n).status == Status::kCorruptFile);  // tokens
    CHECK(altered(44, n).status == Status::kCorruptFile);  // cached tokens
  }
  CHECK(altered(52, uint32_t{1}).status == Status::kCorruptFile);  // logits of no token
  CHECK(altered(52, uint32_t{2}).status == Status::kCorruptFile);
  CHECK(altered(12, uint64_t{0}).message.find("another model") != std::string::npos);
  CHECK(altered(8, uint32_t{1}).status == Status::kUnsupported);
  CHECK(altered(8, uint32_t{1}).message.find("expected version 3, found 1") != std::string::npos);
  CHECK(altered(0, 'x').message.find("something else") != std::string::npos);

  // A message that is not what one can be, and a token that is none.
  auto session = new_session({.context_length = 64});
  REQUIRE(session->add_message(Role::kAssistant, "abc", "xy").ok());
  REQUIRE(session->start_prompt(std::vector<int32_t>{0, 5}, {.max_tokens = 1}).ok());
  must(session->answer());
  const Bytes with_message = must(save(*session));
  const auto with = [&](size_t at, auto value) {
    Bytes bytes = with_message;
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    set_checksum(bytes);
    return error_of(bytes);
  };
  CHECK(with(36, uint32_t{3}).status == Status::kCorruptFile);               // role
  CHECK(with(40, UINT64_MAX).status == Status::kCorruptFile);                // size
  CHECK(with(48, char{'\xff'}).message.find("UTF-8") != std::string::npos);  // text
  CHECK(with(51, UINT64_MAX).message.find("a message's thought") != std::string::npos);
  CHECK(with(60, char{'\xff'}).message.find("thought: not UTF-8") != std::string::npos);
  REQUIRE(number_at<uint64_t>(with_message, 61) == 3);
  CHECK(with(69, int32_t{-1}).message.find("token -1") != std::string::npos);
  CHECK(with(69, INT32_MAX).status == Status::kCorruptFile);
}

TEST_CASE("damaged bytes with a checksum that fits never crash") {
  auto session = new_session({.context_length = 64});
  REQUIRE(session->add_message(Role::kUser, "abc").ok());
  REQUIRE(session->start_prompt(std::vector<int32_t>{0, 5}, {.max_tokens = 2}).ok());
  must(session->answer());
  const Bytes good = must(save(*session));
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    Bytes bytes = good;
    for (int i = 0; i < 2; ++i) bytes[20 + random() % 80] = static_cast<std::byte>(random());
    set_checksum(bytes);
    auto restored = restore(tiny(), bytes);
    // Whatever came out works on, or says what is wrong.
    if (restored) static_cast<void>((*restored)->ask("1+1", {.max_tokens = 1}).ok());
  }
}

TEST_CASE("another model is refused, the same model from elsewhere is not") {
  const Bytes bytes = must(save(*after_one_reply()));
  const pensee_test::TempDir dir;
  namespace fs = std::filesystem;
  for (const auto& entry : fs::directory_iterator(PENSEE_TINY_R1)) {
    if (entry.is_regular_file()) fs::copy_file(entry, dir.file(entry.path().filename()));
  }
  const auto load = [&] { return must(Model::load(dir.path(), {.threads = 1})); };
  auto same = must(restore(load(), bytes));
  CHECK(must(same->ask("And 5 * 6?", brief())).usage.cached_tokens > 0);

  const auto refused = [&](const std::shared_ptr<const Model>& model) {
    const auto restored = restore(model, bytes);
    REQUIRE(!restored.ok());
    CHECK(restored.error().status == Status::kInvalidArgument);
    CHECK(restored.error().message.find("another model") != std::string::npos);
  };
  // The same tensors with other numbers in one of them.
  const std::string weights = dir.file("model.safetensors");
  const TensorView& tensor = tiny()->transformer()->checkpoint().tensors().back();
  const auto size = fs::file_size(weights);
  const auto file = MappedFile::open(PENSEE_TINY_R1 + std::string("/model.safetensors"));
  REQUIRE(file.ok());
  REQUIRE(size == file->bytes().size());
  const auto begin = std::search(file->bytes().begin(), file->bytes().end(), tensor.data,
                                 tensor.data + tensor.bytes);
  REQUIRE(begin != file->bytes().end());
  std::fstream out(weights, std::ios::in | std::ios::out | std::ios::binary);
  out.seekp((begin - file->bytes().begin()) + static_cast<std::streamoff>(tensor.bytes / 2));
  out.put('\x01');
  out.put('\x02');
  out.close();
  refused(load());
  fs::copy_file(PENSEE_TINY_R1 + std::string("/model.safetensors"), weights,
                fs::copy_options::overwrite_existing);
  CHECK(restore(load(), bytes).ok());
  // Another configuration.
  Json config = Json::parse(std::ifstream(dir.file("config.json")));
  config["rms_norm_eps"] = 1e-3;
  std::ofstream(dir.file("config.json")) << config;
  refused(load());
}

TEST_CASE("files") {
  const pensee_test::TempDir dir;
  const std::string path = dir.file("talk.session");
  auto session = after_one_reply();
  REQUIRE(save_to_file(*session, path).ok());
  must(session->ask("1+1", brief()));
  REQUIRE(save_to_file(*session, path).ok());  // again, over the first
  auto restored = must(restore_from_file(tiny(), path));
  expect_alike(*session, *restored);

  const auto missing = restore_from_file(tiny(), dir.file("none"));
  CHECK(missing.error().status == Status::kNotFound);
  CHECK(missing.error().message.find(dir.file("none")) != std::string::npos);
  const auto foreign = restore_from_file(tiny(), dir.write("x", std::string(100, 'x')));
  CHECK(foreign.error().status == Status::kCorruptFile);
  CHECK(foreign.error().message.find(dir.file("x")) != std::string::npos);
  CHECK(save_to_file(*session, dir.file("no/x")).error().status == Status::kNotFound);
  REQUIRE(session->add_message(Role::kUser, kQuestion).ok());
  REQUIRE(session->start(brief()).ok());
  CHECK(save_to_file(*session, path).error().status == Status::kWrongState);
  CHECK(restore_from_file(tiny(), path).ok());  // what was there stays
}

}  // namespace
}  // namespace pensee
