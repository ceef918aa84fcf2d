// Sessions as bytes or files: a conversation goes on later, or elsewhere, without re-reading it.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/hash.hpp"
#include "pensee/base/result.hpp"
#include "pensee/io/mapped_file.hpp"
#include "pensee/io/replace_file.hpp"
#include "pensee/model/sequence.hpp"
#include "pensee/reason/model.hpp"
#include "pensee/reason/session.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

// The layout; all numbers little-endian:
//   8 bytes  "PENSEESN"
//   uint32   kVersion
//   uint64   Model::fingerprint()
//   int64    context_length
//   uint32   CacheType
//   uint32   number of messages; for each: uint32 role, uint64 bytes of its text, the text, and the
//            same two of its thought, empty if there is none
//   uint64   number of tokens; for each: int32
//   uint64   number of tokens in the cache: all of them, or all but the newest
//   uint32   1 if the logits after the newest token follow the cache, or 0
//   bytes    (planes, tokens in the cache, row_bytes): the cache, as KvCache says
//   float32  (vocab_size): the logits, if they follow
//   uint64   FNV-1a (64 bits) of all before it
namespace saved_session_detail {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie");

inline constexpr std::string_view kMagic = "PENSEESN";
inline constexpr uint32_t kVersion = 3;
inline constexpr size_t kSmallest = kMagic.size() + 4 * sizeof(uint32_t) + 5 * sizeof(uint64_t);

[[nodiscard]] inline Error corrupt(const std::string& what) {
  return corrupt_file("saved session: " + what);
}

class Writer {
 public:
  // Everything that grows with the context is allocated here.
  static Result<Writer> create(size_t bytes) {
    Writer writer;
    try {
      writer.bytes_.reserve(bytes);
    } catch (const std::exception&) {  // bad_alloc or length_error
      return Error{Status::kOutOfMemory, "cannot allocate " + std::to_string(bytes) + " bytes"};
    }
    return writer;
  }
  template <class T>
  void numbers(std::span<const T> values) {
    const auto bytes = std::as_bytes(values);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  template <class T>
  void number(T value) {
    numbers(std::span<const T>(&value, 1));
  }
  void text(std::string_view value) { numbers(std::span(value.data(), value.size())); }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::vector<std::byte> take() && { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// Never reads past the end, and believes no count before it has seen that so much is there.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}

  [[nodiscard]] size_t left() const noexcept { return left_.size(); }
  Result<std::span<const std::byte>> take(uint64_t n, uint64_t size, const char* what) {
    if (n > left_.size() / size) {
      return corrupt(std::string(what) + ": expected " + std::to_string(n) + " times " +
                     std::to_string(size) + " bytes, found " + std::to_string(left_.size()) +
                     " bytes");
    }
    const auto taken = left_.first(static_cast<size_t>(n * size));
    left_ = left_.subspan(taken.size());
    return taken;
  }
  template <class T>
  Result<T> number(const char* what) {
    PENSEE_ASSIGN_OR_RETURN(const auto bytes, take(1, sizeof(T), what));
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }

 private:
  std::span<const std::byte> left_;
};

// A saved session, checked but for what only a model can tell.
struct Content {
  uint64_t fingerprint = 0;
  int64_t context_length = 0;
  CacheType cache_type = CacheType::kF32;
  std::vector<Message> messages;
  std::vector<int32_t> tokens;
  uint64_t cached = 0;
  bool has_logits = false;
  std::span<const std::byte> numbers;  // the rest; fit() divides it
  std::span<const std::byte> rows;     // (planes, cached, row_bytes)
  std::span<const std::byte> logits;   // (vocab_size) or empty
};

inline Result<std::string> read_text(Reader& reader, const char* what) {
  PENSEE_ASSIGN_OR_RETURN(const auto size, reader.number<uint64_t>(what));
  PENSEE_ASSIGN_OR_RETURN(const auto bytes, reader.take(size, 1, what));
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (find_malformed_utf8(text)) return corrupt(std::string(what) + ": not UTF-8");
  return text;
}

inline Result<Message> read_message(Reader& reader) {
  PENSEE_ASSIGN_OR_RETURN(const auto role, reader.number<uint32_t>("a message's role"));
  if (role > static_cast<uint32_t>(Role::kAssistant)) {
    return corrupt("a message's role: found " + std::to_string(role));
  }
  Message message{static_cast<Role>(role)};
  PENSEE_ASSIGN_OR_RETURN(message.content, read_text(reader, "a message"));
  PENSEE_ASSIGN_OR_RETURN(std::string thought, read_text(reader, "a message's thought"));
  if (!thought.empty()) message.reasoning_content = std::move(thought);
  return message;
}

inline Result<Content> read(std::span<const std::byte> bytes) {
  if (bytes.size() < kSmallest) {
    return corrupt("expected at least " + std::to_string(kSmallest) + " bytes, found " +
                   std::to_string(bytes.size()));
  }
  if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    return corrupt("expected " + std::string(kMagic) + " at the start; this is something else");
  }
  Reader reader(bytes.subspan(kMagic.size(), bytes.size() - kMagic.size() - sizeof(uint64_t)));
  Content content;
  PENSEE_ASSIGN_OR_RETURN(const auto version, reader.number<uint32_t>("version"));
  if (version != kVersion) {
    return unsupported("saved session: expected version " + std::to_string(kVersion) + ", found " +
                       std::to_string(version));
  }
  uint64_t checksum = 0;
  std::memcpy(&checksum, bytes.last(sizeof(checksum)).data(), sizeof(checksum));
  if (Fnv1a64().add(bytes.first(bytes.size() - sizeof(checksum))).value() != checksum) {
    return corrupt("the checksum is wrong: damaged, or cut short");
  }
  PENSEE_ASSIGN_OR_RETURN(content.fingerprint, reader.number<uint64_t>("fingerprint"));
  PENSEE_ASSIGN_OR_RETURN(content.context_length, reader.number<int64_t>("context_length"));
  if (content.context_length < 1) {
    return corrupt("context_length: found " + std::to_string(content.context_length));
  }
  PENSEE_ASSIGN_OR_RETURN(const auto cache_type, reader.number<uint32_t>("cache type"));
  if (cache_type >= uint32_t{CacheStorage::kCount}) {
    return corrupt("cache type: found " + std::to_string(cache_type));
  }
  content.cache_type = static_cast<CacheType>(cache_type);
  PENSEE_ASSIGN_OR_RETURN(const auto n_messages, reader.number<uint32_t>("messages"));
  for (uint32_t i = 0; i < n_messages; ++i) {
    PENSEE_ASSIGN_OR_RETURN(Message message, read_message(reader));
    content.messages.push_back(std::move(message));
  }
  PENSEE_ASSIGN_OR_RETURN(const auto n_tokens, reader.number<uint64_t>("tokens"));
  PENSEE_ASSIGN_OR_RETURN(const auto tokens, reader.take(n_tokens, sizeof(int32_t), "tokens"));
  content.tokens.resize(static_cast<size_t>(n_tokens));
  if (n_tokens > 0) std::memcpy(content.tokens.data(), tokens.data(), tokens.size());
  PENSEE_ASSIGN_OR_RETURN(content.cached, reader.number<uint64_t>("cached tokens"));
  if (content.cached > n_tokens || n_tokens - content.cached > 1) {
    return corrupt("cached tokens: expected " + std::to_string(n_tokens) + " or one less, found " +
                   std::to_string(content.cached));
  }
  PENSEE_ASSIGN_OR_RETURN(const auto flag, reader.number<uint32_t>("logits"));
  content.has_logits = flag == 1 && content.cached == n_tokens && n_tokens > 0;
  if (flag > 1 || (flag == 1) != content.has_logits) {
    return corrupt("logits: found " + std::to_string(flag));
  }
  PENSEE_ASSIGN_OR_RETURN(content.numbers, reader.take(reader.left(), 1, "cache"));
  return content;
}

// Checks what was read against the model and the room there will be.
inline Result<void> fit(Content& content, const Config& config, int64_t context_length) {
  for (const int32_t token : content.tokens) {
    if (token >= 0 && token < config.vocab_size) continue;
    return corrupt("token " + std::to_string(token) + " is not in the vocabulary");
  }
  const uint64_t logits = content.has_logits ? static_cast<uint64_t>(config.vocab_size) : 0;
  Reader reader(content.numbers);
  PENSEE_ASSIGN_OR_RETURN(
      content.rows,
      reader.take(content.cached,
                  static_cast<uint64_t>(KvCache::token_bytes(config, content.cache_type)),
                  "cache"));
  PENSEE_ASSIGN_OR_RETURN(content.logits, reader.take(logits, sizeof(float), "logits"));
  if (reader.left() > 0) {
    return corrupt(std::to_string(reader.left()) + " bytes more than expected");
  }
  if (static_cast<int64_t>(content.cached) <= context_length) return {};
  return Error{Status::kContextFull,
               "the saved session has " + std::to_string(content.tokens.size()) +
                   " tokens, the context holds " + std::to_string(context_length)};
}

// The parts of a session that are saved.
class Access {
 public:
  static const TokenFeed<Sequence>& feed(const Session& session) { return session.writer_.feed(); }

  // Precondition: fit() with the session's model and context.
  static void fill(Session& session, Content content) {
    const auto cached = static_cast<int64_t>(content.cached);
    session.writer_.feed().restore(content.tokens, content.has_logits, [&](Sequence& sequence) {
      std::span<const std::byte> rows = content.rows;
      sequence.restore(cached, [&](std::span<std::byte> plane) {
        std::memcpy(plane.data(), rows.data(), plane.size());
        rows = rows.subspan(plane.size());
      });
      if (content.has_logits) sequence.restore_logits(content.logits);
    });
    session.messages_ = std::move(content.messages);
  }
};

}  // namespace saved_session_detail

// The session as bytes: its messages, its tokens and their cache; not its last reply(). Errors:
// kWrongState while a reply is under way, kOutOfMemory. Thread rule: as if it used the session.
[[nodiscard]] inline Result<std::vector<std::byte>> save(const Session& session) {
  using saved_session_detail::Access;
  if (session.is_replying()) {
    return Error{Status::kWrongState, "save: a reply is under way; step() to its end or reset()"};
  }
  const Config& config = session.model()->config();
  const Sequence& sequence = Access::feed(session).sequence();
  const std::span<const int32_t> tokens = session.tokens();
  const auto cached = static_cast<uint64_t>(sequence.length());
  const bool has_logits = Access::feed(session).has_logits();
  const auto thought_of = [](const Message& message) -> std::string_view {
    return message.reasoning_content ? std::string_view(*message.reasoning_content) : "";
  };

  size_t bytes = saved_session_detail::kSmallest + tokens.size_bytes() +
                 static_cast<size_t>(cached * static_cast<uint64_t>(KvCache::token_bytes(
                                                  config, sequence.cache_type()))) +
                 (has_logits ? sequence.logits().size_bytes() : 0);
  for (const Message& m : session.messages()) {
    bytes += sizeof(uint32_t) + 2 * sizeof(uint64_t) + m.content.size() + thought_of(m).size();
  }
  PENSEE_ASSIGN_OR_RETURN(auto out, saved_session_detail::Writer::create(bytes));
  out.text(saved_session_detail::kMagic);
  out.number(saved_session_detail::kVersion);
  out.number(session.model()->fingerprint());
  out.number(session.context_length());
  out.number(static_cast<uint32_t>(sequence.cache_type()));
  out.number(static_cast<uint32_t>(session.messages().size()));
  for (const Message& m : session.messages()) {
    out.number(static_cast<uint32_t>(m.role));
    for (const std::string_view text : {std::string_view(m.content), thought_of(m)}) {
      out.number(uint64_t{text.size()});
      out.text(text);
    }
  }
  out.number(uint64_t{tokens.size()});
  out.numbers(tokens);
  out.number(cached);
  out.number(uint32_t{has_logits});
  for (int64_t p = 0; p < sequence.cache_planes(); ++p) out.numbers(sequence.cache_rows(p));
  if (has_logits) out.numbers(sequence.logits());
  out.number(Fnv1a64().add(out.bytes()).value());
  return std::move(out).take();
}

// The session that was saved, with a model loaded from the same files; its next reply equals what
// the saved one's would have been, unless that had a seed of reseed() or another prefill_chunk. A
// context_length of 0 in `options` means the saved session's; the type of the cache is the saved
// session's, whatever `options` say. Errors: kCorruptFile if the bytes are damaged, cut short or
// something else, kUnsupported if a version of this library wrote them whose layout is not known,
// kInvalidArgument if the model is another, kContextFull if `options` leave too little room, those
// of Session::create.
[[nodiscard]] inline Result<std::unique_ptr<Session>> restore(std::shared_ptr<const Model> model,
                                                              std::span<const std::byte> bytes,
                                                              const SessionOptions& options = {}) {
  PENSEE_ASSIGN_OR_RETURN(auto content, saved_session_detail::read(bytes));
  if (content.fingerprint != model->fingerprint()) {
    return invalid_argument("saved session: saved from another model");
  }
  SessionOptions settings = options;
  if (settings.context_length == 0) settings.context_length = content.context_length;
  settings.cache_type = content.cache_type;
  // A negative context_length is for Session::create to name.
  if (settings.context_length > 0) {
    PENSEE_RETURN_IF_ERROR(
        saved_session_detail::fit(content, model->config(), settings.context_length));
  }
  PENSEE_ASSIGN_OR_RETURN(auto session, Session::create(std::move(model), settings));
  saved_session_detail::Access::fill(*session, std::move(content));
  return session;
}

// save() into a file, whole or not at all; a file that was there is replaced. Errors: those of
// save() and replace_file().
[[nodiscard]] inline Result<void> save_to_file(const Session& session, const std::string& path) {
  PENSEE_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, save(session));
  return replace_file(path, bytes);
}

// restore() from a file. Errors: those of restore() and MappedFile::open, naming the path.
[[nodiscard]] inline Result<std::unique_ptr<Session>> restore_from_file(
    std::shared_ptr<const Model> model, const std::string& path,
    const SessionOptions& options = {}) {
  PENSEE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  Result<std::unique_ptr<Session>> session = restore(std::move(model), file.bytes(), options);
  if (session) return session;
  return Error{session.error().status, path + ": " + session.error().message};
}

}  // namespace pensee
