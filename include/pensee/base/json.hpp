// JSON text to values without exceptions, and typed field access whose errors name file and key.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"

namespace pensee {

using Json = nlohmann::json;

inline constexpr size_t kMaxJsonDepth = 64;

// The parser's message without its error number and without the text it had read, which may be
// long or malformed.
[[nodiscard]] inline Error json_syntax_error(const std::string& file, size_t position,
                                             std::string_view what) {
  if (const size_t end = what.find("] "); what.starts_with('[') && end != what.npos) {
    what.remove_prefix(end + 2);
  }
  what = what.substr(0, what.find("; last read"));
  constexpr size_t kMaxDetail = 200;
  return corrupt_file(file + ": not valid JSON at byte " + std::to_string(position) + ": " +
                      std::string(what.substr(0, kMaxDetail)));
}

// Names from files, made fit for a message: cut to a readable length, control characters replaced.
[[nodiscard]] inline std::string printable(std::string_view text) {
  constexpr size_t kMaxLength = 120;
  std::string out(text.substr(0, kMaxLength));
  while (out.size() < text.size() && !out.empty() &&
         (static_cast<unsigned char>(text[out.size()]) & 0xc0U) == 0x80U) {
    out.pop_back();  // never cut inside a UTF-8 character
  }
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20U || c == '\x7f') c = '?';
  }
  if (text.size() > kMaxLength) out += "...";
  return out;
}

// Builds a Json value and refuses what the library's own builder lets pass: keys written twice
// (it keeps the last) and nesting beyond kMaxJsonDepth. The member names are nlohmann's.
template <class J>
class JsonBuilder {
 public:
  JsonBuilder(J& root, const std::string& file) : root_(root), file_(file) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(int64_t value) { return add(value); }
  bool number_unsigned(uint64_t value) { return add(value); }
  bool number_float(double value, const std::string& /*text*/) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(typename J::binary_t& value) { return add(std::move(value)); }
  bool start_object(size_t /*size*/) { return open(J::object()); }
  bool start_array(size_t /*size*/) { return open(J::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    const auto [place, is_new] = stack_.back()->emplace(name, nullptr);
    if (!is_new) {
      error_ = corrupt_file(file_ + ": key \"" + printable(name) + "\" is written twice");
      return false;
    }
    slot_ = &*place;
    return true;
  }
  bool parse_error(size_t position, const std::string& /*last*/, const typename J::exception& e) {
    error_ = json_syntax_error(file_, position, e.what());
    return false;
  }

  [[nodiscard]] Error error() && { return std::move(error_); }

 private:
  template <class T>
  J* place(T&& value) {
    if (stack_.empty()) {
      root_ = std::forward<T>(value);
      return &root_;
    }
    if (stack_.back()->is_array()) return &stack_.back()->emplace_back(std::forward<T>(value));
    *slot_ = std::forward<T>(value);
    return slot_;
  }
  template <class T>
  bool add(T&& value) {
    place(std::forward<T>(value));
    return true;
  }
  bool open(J&& container) {
    if (stack_.size() >= kMaxJsonDepth) {
      error_ = corrupt_file(file_ + ": nested deeper than " + std::to_string(kMaxJsonDepth));
      return false;
    }
    stack_.push_back(place(std::move(container)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  J& root_;
  const std::string& file_;
  std::vector<J*> stack_;
  J* slot_ = nullptr;  // where the value of the key just read goes
  Error error_;
};

// Owns the values of a parsed text. nlohmann's destructor allocates where a value has others in it,
// and ends the process when it cannot; this one takes the values apart from the inside out, which
// needs no memory.
template <class J>
class BasicJsonDocument {
 public:
  BasicJsonDocument() = default;
  explicit BasicJsonDocument(J root) : root_(std::move(root)) {}
  BasicJsonDocument(BasicJsonDocument&&) noexcept = default;
  BasicJsonDocument& operator=(BasicJsonDocument&& other) noexcept {
    root_.swap(other.root_);
    return *this;
  }
  ~BasicJsonDocument() { clear(root_); }

  [[nodiscard]] J& root() noexcept { return root_; }
  operator const J&() const& noexcept { return root_; }  // NOLINT: implicit
  operator const J&() && = delete;                       // would not outlive the document

 private:
  // Recurses as deep as the text is nested.
  static void clear(J& json) noexcept {
    if (auto* object = json.template get_ptr<typename J::object_t*>()) {
      for (auto& [name, value] : *object) clear(value);
      object->clear();
    } else if (auto* array = json.template get_ptr<typename J::array_t*>()) {
      for (J& value : *array) clear(value);
      array->clear();
    }
  }

  J root_;
};
using JsonDocument = BasicJsonDocument<Json>;

// Parses a whole JSON text. `file` is for messages only. kCorruptFile for anything that is not
// strict JSON, for keys written twice and for nesting beyond kMaxJsonDepth.
template <class J>
[[nodiscard]] Result<BasicJsonDocument<J>> parse_json_as(std::string_view text,
                                                         const std::string& file) {
  // nlohmann's lexer takes a NUL byte for the end of its input and would pass over the rest.
  if (const size_t nul = text.find('\0'); nul != text.npos) {
    return corrupt_file(file + ": not valid JSON at byte " + std::to_string(nul) + ": NUL byte");
  }
  BasicJsonDocument<J> document;
  JsonBuilder<J> builder(document.root(), file);
  if (!J::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder).error();
  return document;
}
[[nodiscard]] inline Result<JsonDocument> parse_json(std::string_view text,
                                                     const std::string& file) {
  return parse_json_as<Json>(text, file);
}

// A borrowed JSON value that knows where it came from. Every error is kCorruptFile and reads
// "config.json: rope_scaling.factor: expected a number, found null". The Json must outlive it.
class JsonView {
 public:
  JsonView(const Json& json, std::string file) : json_(&json), file_(std::move(file)) {}

  [[nodiscard]] const Json& json() const noexcept { return *json_; }
  [[nodiscard]] bool is_null() const noexcept { return json_->is_null(); }
  [[nodiscard]] bool is_object() const noexcept { return json_->is_object(); }
  [[nodiscard]] bool is_array() const noexcept { return json_->is_array(); }
  [[nodiscard]] bool is_string() const noexcept { return json_->is_string(); }
  [[nodiscard]] size_t size() const noexcept { return json_->size(); }
  // Whether it is this text. nlohmann's == copies the text, and ends the process without memory.
  [[nodiscard]] bool is(std::string_view text) const noexcept {
    const auto* found = json_->get_ptr<const std::string*>();
    return found != nullptr && *found == text;
  }

  // The member `key`; none if it is absent or null, or if this is not an object.
  [[nodiscard]] std::optional<JsonView> find(std::string_view key) const {
    if (!json_->is_object()) return std::nullopt;
    const auto it = json_->find(key);
    if (it == json_->end() || it->is_null()) return std::nullopt;
    return JsonView(*it, file_, child(key));
  }
  // Whether `key` is written, be it null.
  [[nodiscard]] bool contains(std::string_view key) const {
    return json_->is_object() && json_->contains(key);
  }
  // The member `key`, which may be null.
  [[nodiscard]] Result<JsonView> at(std::string_view key) const {
    PENSEE_RETURN_IF_ERROR(expect_object());
    const auto it = json_->find(key);
    if (it == json_->end()) {
      return corrupt_file(file_ + ": " + child(key) + ": missing");
    }
    return JsonView(*it, file_, child(key));
  }
  // Element i of an array. Precondition: is_array() and i < size().
  [[nodiscard]] JsonView operator[](size_t i) const {
    return JsonView((*json_)[i], file_, path_ + "[" + std::to_string(i) + "]");
  }

  [[nodiscard]] Result<void> expect_object() const {
    if (!json_->is_object()) return expected("an object");
    return {};
  }
  [[nodiscard]] Result<void> expect_array() const {
    if (!json_->is_array()) return expected("an array");
    return {};
  }
  // A whole number in [least, most]. Numbers written with a fraction or exponent are refused.
  [[nodiscard]] Result<int64_t> as_int(int64_t least, int64_t most) const {
    const bool fits =
        json_->is_number_unsigned()
            ? json_->get<uint64_t>() <= static_cast<uint64_t>(std::max<int64_t>(most, 0)) &&
                  most >= 0
            : json_->is_number_integer() && json_->get<int64_t>() <= most;
    if (fits && json_->get<int64_t>() >= least) return json_->get<int64_t>();
    return expected("an integer from " + std::to_string(least) + " to " + std::to_string(most));
  }
  // One token, or a list of them, of those from 0 to `n_tokens` - 1.
  [[nodiscard]] Result<std::vector<int32_t>> as_token_ids(int64_t n_tokens) const {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < (is_array() ? size() : 1); ++i) {
      PENSEE_ASSIGN_OR_RETURN(const int64_t id,
                              (is_array() ? (*this)[i] : *this).as_int(0, n_tokens - 1));
      ids.push_back(static_cast<int32_t>(id));
    }
    return ids;
  }
  // A finite number.
  [[nodiscard]] Result<double> as_double() const {
    if (!json_->is_number() || !std::isfinite(json_->get<double>())) return expected("a number");
    return json_->get<double>();
  }
  [[nodiscard]] Result<bool> as_bool() const {
    if (!json_->is_boolean()) return expected("true or false");
    return json_->get<bool>();
  }
  // The text, borrowed from the Json.
  [[nodiscard]] Result<std::string_view> as_string() const {
    if (!json_->is_string()) return expected("a string");
    return std::string_view(json_->get_ref<const std::string&>());
  }

  // "config.json: rope_scaling.factor: expected `what`, found 3".
  [[nodiscard]] Error expected(std::string_view what) const {
    return corrupt_file(where() + ": expected " + std::string(what) + ", found " + found());
  }
  // The file and the path of keys that lead here.
  [[nodiscard]] std::string where() const { return path_.empty() ? file_ : file_ + ": " + path_; }
  // The value, in a few words.
  [[nodiscard]] std::string found() const {
    if (json_->is_object()) return "an object";
    if (json_->is_array()) return "an array";
    if (json_->is_string()) return "\"" + printable(json_->get_ref<const std::string&>()) + "\"";
    return json_->dump();
  }

 private:
  JsonView(const Json& json, std::string file, std::string path)
      : json_(&json), file_(std::move(file)), path_(std::move(path)) {}
  [[nodiscard]] std::string child(std::string_view key) const {
    return path_.empty() ? printable(key) : path_ + "." + printable(key);
  }

  const Json* json_;
  std::string file_;
  std::string path_;
};

}  // namespace pensee
