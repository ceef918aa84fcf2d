#include "pensee/reason/model.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "model/golden.hpp"
#include "pensee/reason/session.hpp"
#include "reason/replies.hpp"
#include "reason/tiny.hpp"

namespace pensee {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  REQUIRE(!text.str().empty());
  return text.str();
}

// A copy of the tiny R1 in a directory of its own; the weights are linked.
class Copy {
 public:
  Copy() {
    std::string name = (fs::temp_directory_path() / "pensee-model-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    directory_ = name;
    for (const auto& entry : fs::directory_iterator(PENSEE_TINY_R1)) {
      const fs::path to = directory_ / entry.path().filename();
      if (to.extension() == ".safetensors") {
        fs::create_symlink(fs::absolute(entry.path()), to);
      } else {
        fs::copy_file(entry.path(), to);
      }
    }
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;
  ~Copy() { fs::remove_all(directory_); }

  void write(const std::string& file, const std::string& text) const {
    std::ofstream(directory_ / file, std::ios::binary) << text;
  }
  void replace(const std::string& file, const std::string& from, const std::string& to) const {
    std::string text = read(directory_ / file);
    REQUIRE(text.find(from) != std::string::npos);
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
      text.replace(at, from.size(), to);
    }
    write(file, text);
  }
  void remove(const std::string& file) const { fs::remove(directory_ / file); }
  std::string path() const { return directory_.string(); }
  Result<std::shared_ptr<const Model>> load(LoadOptions options = {}) const {
    options.threads = 1;
    return Model::load(directory_.string(), options);
  }
  std::shared_ptr<const Model> loaded() const {
    auto model = load();
    if (!model) FAIL(model.error().message);
    return *model;
  }
  Error error() const {
    const auto model = load();
    REQUIRE(!model.ok());
    return model.error();
  }

 private:
  fs::path directory_;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("the tiny R1 loads with its delimiters and defaults") {
  const Model& model = *tiny();
  CHECK(model.tokenizer().token_bytes(model.delimiters().open.at(0)) == "<think>");
  CHECK(model.tokenizer().token_bytes(model.delimiters().close.at(0)) == "</think>");
  CHECK(model.delimiters().end == std::vector<int32_t>{1});
  CHECK(model.sampler_defaults() == SamplerOptions{.temperature = 0.6F, .top_p = 0.95F});
  CHECK(model.chat_template().ok());
  CHECK(model.config().model_type == "deepseek_v3");
}

TEST_CASE("a GGUF file without vocabulary loads and runs on token ids") {
  const std::string models = PENSEE_TEST_DATA "/models/";
  const auto expected = golden::read_model(models + "qwen2_tied_bf16");
  const auto model = must(Model::load(models + "gguf/qwen2_tied.gguf", {.threads = 1}));
  CHECK(model->config().model_type == "qwen2");
  CHECK(model->tokenizer().vocab_size() == 0);
  CHECK(!model->delimiters().has_thoughts());
  REQUIRE(!model->chat_template().ok());
  CHECK(model->chat_template().error().message.find("no vocabulary") != std::string::npos);
  const auto no_text = model->tokenizer().encode("text");
  REQUIRE(!no_text.ok());
  CHECK(no_text.error().status == Status::kUnsupported);

  auto session = must(Session::create(model));
  ReplyOptions options;
  options.thought_sampler.temperature = 0.0F;
  options.max_tokens = static_cast<int64_t>(expected.greedy.size());
  REQUIRE(session->start_prompt(expected.prompt, options).ok());
  std::vector<int32_t> greedy;
  for (EventKind kind = EventKind::kToken; kind != EventKind::kDone;) {
    const Event event = must(session->step());
    kind = event.kind;
    if (kind == EventKind::kToken) greedy.push_back(event.token);
    CHECK(event.text.empty());
  }
  CHECK(greedy == expected.greedy);
}

TEST_CASE("generation_config.json gives end tokens and the sampler's defaults") {
  const Copy copy;
  copy.write("generation_config.json",
             R"({"eos_token_id": [1, 2], "temperature": 0.7, "top_p": 0.8, "top_k": 20,
                 "min_p": 0.05, "repetition_penalty": 1.1, "do_sample": true})");
  auto model = copy.loaded();
  CHECK(model->delimiters().end == std::vector<int32_t>{1, 2});
  CHECK(model->sampler_defaults() == SamplerOptions{.temperature = 0.7F,
                                                    .top_k = 20,
                                                    .top_p = 0.8F,
                                                    .min_p = 0.05F,
                                                    .repetition_penalty = 1.1F});
  copy.write("generation_config.json", R"({"do_sample": false, "temperature": 0.7})");
  CHECK(copy.loaded()->sampler_defaults().temperature == 0);
  copy.remove("generation_config.json");
  model = copy.loaded();
  CHECK(model->delimiters().end == std::vector<int32_t>{1});
  CHECK(model->sampler_defaults() == SamplerOptions{.temperature = 0.6F, .top_p = 0.95F});
}

TEST_CASE("a broken generation_config.json is an error that names file and key") {
  const Copy copy;
  const auto message = [&](const std::string& json) {
    copy.write("generation_config.json", json);
    const Error error = copy.error();
    CHECK(error.status == Status::kCorruptFile);
    CHECK(contains(error.message, "generation_config.json"));
    return error.message;
  };
  message("{");
  message("[]");
  CHECK(contains(message(R"({"eos_token_id": "one"})"), "eos_token_id"));
  CHECK(contains(message(R"({"eos_token_id": [1, -1]})"), "eos_token_id[1]"));
  CHECK(contains(message(R"({"temperature": -1})"), "temperature"));
  CHECK(contains(message(R"({"temperature": "hot"})"), "temperature"));
  CHECK(contains(message(R"({"top_k": 0.5})"), "top_k"));
  CHECK(contains(message(R"({"do_sample": 1})"), "do_sample"));
}

TEST_CASE("a model whose tokenizer lacks the template's tokens takes ready prompts only") {
  for (const std::string token : {"<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"}) {
    CAPTURE(token);
    const Copy copy;
    copy.replace("tokenizer.json", "\"" + token + "\"", "\"(another)\"");
    const auto model = copy.loaded();
    REQUIRE(!model->chat_template().ok());
    const Error error = model->chat_template().error();
    CHECK(error.status == Status::kUnsupported);
    CHECK(contains(error.message, "tokenizer.json"));
    CHECK(contains(error.message, token));
    const auto session = Session::create(model).value();
    REQUIRE(session->add_message(Role::kUser, "1+1").ok());
    CHECK(session->start().error().status == Status::kUnsupported);
    CHECK(session->start_prompt(std::vector<int32_t>{0, 5}).ok());
  }
}

TEST_CASE("a model whose delimiters are ordinary text thinks; one without any only answers") {
  const Copy copy;
  copy.replace("tokenizer.json", "\"<think>\"", "\"(think)\"");
  copy.replace("tokenizer.json", "\"</think>\"", "\"(/think)\"");
  const auto spelled = copy.loaded();
  CHECK(spelled->delimiters().are_spelled());
  const ReplyOptions options = {.thinking_token_budget = 8, .max_tokens = 30};
  Reply reply = Session::create(spelled).value()->ask("1+1", options).value();
  CHECK(reply.thought_end == ThoughtEnd::kBudget);
  CHECK(reply.usage.thought_tokens == 8);

  copy.write("chat_template.jinja",
             "{{ bos_token }}{% for m in messages %}{{ '<｜User｜>' + m.content }}{% endfor %}"
             "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}");
  const auto plain = copy.loaded();
  CHECK_FALSE(plain->delimiters().has_thoughts());
  for (const Thinking thinking : {Thinking::kAuto, Thinking::kOff}) {
    const auto session = Session::create(plain).value();
    reply = session->ask("1+1", {.thinking = thinking, .max_tokens = 5}).value();
    CHECK(reply.thought_end == ThoughtEnd::kSkipped);
    CHECK(reply.thought.empty());
    CHECK(reply.usage.thought_tokens == 0);
    CHECK(reply.usage.control_tokens + reply.usage.answer_tokens == 5);
  }
  const auto session = Session::create(plain).value();
  const auto thinks = session->ask("1+1", {.thinking = Thinking::kOn});
  REQUIRE(!thinks.ok());
  CHECK(thinks.error().status == Status::kUnsupported);
  CHECK(contains(thinks.error().message, "thinking"));
  CHECK(session->messages().empty());
}

TEST_CASE("messages of which the template makes no tokens are an error") {
  const Copy copy;
  copy.write("chat_template.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
  const auto session = Session::create(copy.loaded()).value();
  for (const char* text : {"", "1+1", ""}) {  // the second time there are tokens of the first reply
    const auto reply = session->ask(text, {.max_tokens = 2});
    CHECK(reply.ok() == (text[0] != '\0'));
    if (!reply) CHECK(reply.error().status == Status::kInvalidArgument);
    session->reset();
  }
}

TEST_CASE("an end token that the tokenizer lacks is an error") {
  const Copy copy;
  copy.write("generation_config.json", R"({"eos_token_id": 5000})");
  const Error error = copy.error();
  CHECK(error.status == Status::kCorruptFile);
  CHECK(contains(error.message, "5000"));
}

TEST_CASE("a tokenizer that is larger than the model is an error with both numbers") {
  const Copy copy;
  copy.replace("tokenizer.json", "\"<|EOT|>\"", "\"<|EOT|>\"");  // the pattern is there
  const std::string more = R"({"id": 5000, "content": "<more>", "single_word": false,
      "lstrip": false, "rstrip": false, "normalized": false, "special": true}, {)";
  std::string text = read(fs::path(PENSEE_TINY_R1) / "tokenizer.json");
  const size_t list = text.find('[', text.find("\"added_tokens\""));
  const size_t first = text.find('{', list);
  text.replace(first, 1, more);
  copy.write("tokenizer.json", text);
  CHECK(copy.error().status == Status::kCorruptFile);
}

TEST_CASE("a missing file is an error that names it") {
  for (const std::string file :
       {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}) {
    CAPTURE(file);
    const Copy copy;
    copy.remove(file);
    const auto model = copy.load();
    if (file == "tokenizer_config.json") {  // only messages need its chat template
      REQUIRE(model.ok());
      CHECK((*model)->chat_template().error().status == Status::kNotFound);
      CHECK(contains((*model)->chat_template().error().message, file));
    } else {
      REQUIRE(!model.ok());
      CHECK(model.error().status == Status::kNotFound);
      CHECK(contains(model.error().message, file));
    }
  }
}

TEST_CASE("a model whose template is not known takes ready prompts only") {
  const Copy copy;
  copy.write("chat_template.jinja", "{{ something_else }}");
  const auto model = copy.loaded();
  REQUIRE(!model->chat_template().ok());
  CHECK(contains(model->chat_template().error().message, "chat_template.jinja"));
  auto session = Session::create(model).value();
  REQUIRE(session->add_message(Role::kUser, "1+1").ok());
  CHECK(session->start().error().status == Status::kUnsupported);
  CHECK(session->start_prompt(std::vector<int32_t>{0, 5}).ok());
}

TEST_CASE("chat_template.jinja goes before tokenizer_config.json") {
  const Copy copy;
  const auto document = parse_json(read(fs::path(PENSEE_TINY_R1) / "tokenizer_config.json"), "");
  const Json& config = *document;
  copy.write("chat_template.jinja", config["chat_template"].get<std::string>());
  copy.write("tokenizer_config.json", R"({"chat_template": "{{ something_else }}"})");
  CHECK(copy.loaded()->chat_template().ok());
  copy.remove("chat_template.jinja");
  CHECK(copy.loaded()->chat_template().error().status == Status::kUnsupported);
  copy.write("tokenizer_config.json", R"({"chat_template": [{"name": "default"}]})");
  CHECK(copy.loaded()->chat_template().error().status == Status::kUnsupported);
  copy.write("tokenizer_config.json", "{");
  CHECK(copy.error().status == Status::kCorruptFile);
}

TEST_CASE("the progress rises to 1, and can cancel") {
  const Copy copy;
  std::vector<double> seen;
  LoadOptions options;
  options.progress = [&](double fraction) {
    seen.push_back(fraction);
    return true;
  };
  for (const bool read_ahead : {false, true}) {
    seen.clear();
    options.read_ahead = read_ahead;
    REQUIRE(copy.load(options).ok());
    REQUIRE(seen.size() >= 2);
    CHECK(std::is_sorted(seen.begin(), seen.end()));
    CHECK(seen.front() >= 0);
    CHECK(seen.back() == 1);
  }
  for (const double at : {0.0, 0.5}) {
    options.progress = [at](double fraction) { return fraction < at; };
    const auto model = copy.load(options);
    REQUIRE(!model.ok());
    CHECK(model.error().status == Status::kCancelled);
  }
}

// The tiny R1's files in memory, the weights at any alignment.
class Buffers {
 public:
  explicit Buffers(size_t shift = 0) {
    for (const auto& entry : fs::directory_iterator(PENSEE_TINY_R1)) {
      if (entry.is_regular_file()) add(entry.path().filename().string(), read(entry), shift);
    }
  }
  void add(const std::string& name, const std::string& text, size_t shift = 0) {
    texts_[name] = std::string(shift, ' ') + text;
    files_[name] = std::as_bytes(std::span(texts_[name])).subspan(shift);
  }
  void remove(const std::string& name) { files_.erase(name); }
  std::vector<NamedBuffer> list() const {
    std::vector<NamedBuffer> list;
    for (const auto& [name, bytes] : files_) list.push_back({name, bytes});
    return list;
  }
  Result<std::shared_ptr<const Model>> load() const {
    return Model::load_buffers(list(), {.threads = 1});
  }

 private:
  std::map<std::string, std::string> texts_;
  std::map<std::string, std::span<const std::byte>> files_;
};

TEST_CASE("a model from memory gives the replies of the one from files, at any alignment") {
  const ReplyOptions options = {.max_tokens = 40, .thought_sampler = {.temperature = 0.0F}};
  const auto ask = [&](const std::shared_ptr<const Model>& model) {
    return Session::create(model).value()->ask("What is 34 + 57?", options).value();
  };
  const Reply expected = ask(tiny());
  for (const size_t shift : {0U, 1U, 2U, 7U}) {
    CAPTURE(shift);
    const Buffers buffers(shift);
    const auto model = buffers.load();
    REQUIRE_MESSAGE(model.ok(), model.error().message);
    const Reply reply = ask(*model);
    CHECK(reply.thought == expected.thought);
    CHECK(reply.answer == expected.answer);
    CHECK((*model)->fingerprint() == tiny()->fingerprint());
  }
}

TEST_CASE("a missing or broken buffer is an error that names it") {
  for (const std::string file : {"config.json", "tokenizer.json", "model.safetensors"}) {
    CAPTURE(file);
    Buffers buffers;
    buffers.add(file, "{");
    auto model = buffers.load();
    REQUIRE(!model.ok());
    CHECK(model.error().status == Status::kCorruptFile);
    CHECK(model.error().message.starts_with(file));
    buffers.remove(file);
    model = buffers.load();
    REQUIRE(!model.ok());
    CHECK(model.error().status == Status::kNotFound);
    CHECK(contains(model.error().message, file));
  }
  Buffers buffers;
  buffers.add("generation_config.json", R"({"temperature": -1})");
  CHECK(buffers.load().error().message.starts_with("generation_config.json"));
  buffers.remove("generation_config.json");
  buffers.remove("tokenizer_config.json");
  buffers.remove("chat_template.jinja");
  const auto model = buffers.load();
  REQUIRE(model.ok());
  CHECK(contains((*model)->chat_template().error().message, "tokenizer_config.json"));
}

TEST_CASE("memory is estimated without the weights' bytes") {
  const Copy copy;
  const std::string path = tiny()->transformer()->checkpoint().directory();
  const SessionOptions options = {.context_length = 256, .prefill_chunk = 32};
  const MemoryEstimate estimate = Model::estimate_memory(path, options, 2).value();
  CHECK(estimate.weights_bytes == tiny()->transformer()->checkpoint().bytes());
  CHECK(
      estimate.session_bytes ==
      Sequence::estimate_memory(tiny()->config(), {.context_length = 256, .chunk = 32}, 2).value());
  // Norm weights of every layer at least, and not all the weights.
  const auto norms = static_cast<size_t>(2 * tiny()->config().n_layers + 1) *
                     static_cast<size_t>(tiny()->config().hidden_size) * sizeof(float);
  CHECK(estimate.converted_bytes >= norms);
  CHECK(estimate.converted_bytes < estimate.weights_bytes / 2);
  CHECK(Model::estimate_memory(path, {.context_length = 512, .prefill_chunk = 32}, 2)
            .value()
            .session_bytes > estimate.session_bytes);
  CHECK(Model::estimate_memory(path).ok());
  // Neither tokenizer nor template are needed; a wrong option or file is an error.
  copy.remove("tokenizer.json");
  const std::string copied = copy.path();
  CHECK(Model::estimate_memory(copied, options, 2).value().session_bytes == estimate.session_bytes);
  CHECK(Model::estimate_memory(copied, {.context_length = -1}).error().status ==
        Status::kInvalidArgument);
  CHECK(Model::estimate_memory(copied, {}, -1).error().status == Status::kInvalidArgument);
  copy.remove("config.json");
  CHECK(Model::estimate_memory(copied).error().status == Status::kNotFound);
}

TEST_CASE("memory of the prediction layer is counted where its weights are") {
  const Copy copy;
  const auto bytes = [&](Speculation speculation) {
    const SessionOptions options = {.context_length = 256, .speculation = speculation};
    return Model::estimate_memory(copy.path(), options, 1).value().session_bytes;
  };
  CHECK(bytes(Speculation::kAuto) > bytes(Speculation::kOff));
  // Now the layer after the last one is one of the model's own.
  const std::string n_layers = std::to_string(tiny()->config().n_layers);
  copy.replace("config.json", "\"num_hidden_layers\": " + n_layers,
               "\"num_hidden_layers\": " + std::to_string(tiny()->config().n_layers - 1));
  CHECK(bytes(Speculation::kAuto) == bytes(Speculation::kOff));
}

TEST_CASE("what an FP8 checkpoint converts is counted") {
  const std::string path = std::string(PENSEE_TEST_DATA) + "/models/mla_yarn_fp8";
  const auto checkpoint = Checkpoint::open(path).value();
  const MemoryEstimate estimate = Model::estimate_memory(path, {}, 1).value();
  size_t scales = 0;
  for (const TensorView& tensor : checkpoint->tensors()) {
    if (tensor.name.ends_with("_scale_inv")) scales += tensor.bytes;
  }
  CHECK(scales > 0);
  CHECK(estimate.converted_bytes > scales);
}

TEST_CASE("the log tells what was loaded and how, and warns of a missing template") {
  const Copy copy;
  std::vector<std::pair<LogLevel, std::string>> messages;
  LoadOptions options;
  options.log = [&](LogLevel level, std::string_view message) {
    messages.emplace_back(level, message);
  };
  const auto model = copy.load(options);
  REQUIRE(model.ok());
  REQUIRE(messages.size() == 2);
  for (const auto& [level, message] : messages) {
    CHECK(level == LogLevel::kInfo);
    CHECK(!contains(message, "\n"));
  }
  const Checkpoint& checkpoint = (*model)->transformer()->checkpoint();
  CHECK(contains(messages[0].second, copy.path()));
  CHECK(contains(messages[0].second, std::to_string(checkpoint.tensors().size()) + " tensors"));
  CHECK(contains(messages[0].second, std::to_string(checkpoint.bytes()) + " bytes"));
  CHECK(contains(messages[1].second, "kernels: reference"));
  CHECK(contains(messages[1].second, "threads: 1"));
  // Nothing more comes after the load.
  CHECK(Session::create(*model).value()->ask("1+1", {.max_tokens = 2}).ok());
  CHECK(messages.size() == 2);

  copy.write("chat_template.jinja", "{{ something_else }}");
  messages.clear();
  REQUIRE(copy.load(options).ok());
  REQUIRE(messages.size() == 3);
  CHECK(messages[2].first == LogLevel::kWarning);
  CHECK(contains(messages[2].second, "chat_template.jinja"));
  copy.remove("chat_template.jinja");
  copy.remove("tokenizer_config.json");
  messages.clear();
  REQUIRE(copy.load(options).ok());
  REQUIRE(messages.size() == 3);
  CHECK(contains(messages[2].second, "tokenizer_config.json"));
  copy.write("chat_template.jinja",
             "{{ bos_token }}{% for m in messages %}{{ m.content.split('</think>')[-1] }}"
             "{% endfor %}");
  copy.write("tokenizer_config.json", R"({"bos_token": "<｜begin▁of▁sentence｜>"})");
  messages.clear();
  REQUIRE(copy.load(options).ok());
  REQUIRE(messages.size() == 3);
  CHECK(messages[2].first == LogLevel::kWarning);
  CHECK(contains(messages[2].second, "opens no thought"));
  // A load that fails says so by its error alone.
  copy.remove("tokenizer.json");
  messages.clear();
  CHECK(!copy.load(options).ok());
  CHECK(messages.empty());
}

}  // namespace
}  // namespace pensee
