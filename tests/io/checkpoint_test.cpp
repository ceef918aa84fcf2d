#include "pensee/io/checkpoint.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.hpp"

using pensee::Checkpoint;
using pensee::Status;
using pensee::TensorView;
using pensee_test::as_bytes;
using pensee_test::safetensors;
using pensee_test::TempDir;

namespace {

constexpr const char* kIndex = "model.safetensors.index.json";

// A file of one-byte tensors with these names, in this order.
std::string tensors_named(const std::vector<std::string>& names) {
  std::string header = "{";
  for (size_t i = 0; i < names.size(); ++i) {
    header += (i > 0 ? ",\"" : "\"") + names[i] + R"(":{"dtype":"U8","shape":[1],)" +
              R"("data_offsets":[)" + std::to_string(i) + "," + std::to_string(i + 1) + "]}";
  }
  return safetensors(header + "}", names.size());
}

std::shared_ptr<const Checkpoint> open_good(const std::string& path) {
  auto opened = Checkpoint::open(path);
  REQUIRE_MESSAGE(opened.ok(), opened.error().message);
  return std::move(opened).value();
}

// Expects an error whose message holds every one of `words`.
void expect_error(const std::string& path, Status status, const std::vector<std::string>& words) {
  const auto opened = Checkpoint::open(path);
  REQUIRE(!opened.ok());
  CAPTURE(opened.error().message);
  CHECK(opened.error().status == status);
  for (const std::string& word : words) {
    CAPTURE(word);
    CHECK(opened.error().message.find(word) != std::string::npos);
  }
}

// Two shards with three tensors.
void write_sharded(const TempDir& dir) {
  dir.write("one.safetensors", tensors_named({"c", "a"}));
  dir.write("two.safetensors", tensors_named({"b"}));
  dir.write(kIndex, R"({"metadata":{"total_size":3},"weight_map":{"a":"one.safetensors",)"
                    R"("b":"two.safetensors","c":"one.safetensors"}})");
}

}  // namespace

TEST_CASE("a directory with one file") {
  const TempDir dir;
  const std::string content = tensors_named({"c", "a", "b"});
  dir.write("model.safetensors", content);
  const auto checkpoint = open_good(dir.path());
  CHECK(checkpoint->directory() == dir.path());
  CHECK(checkpoint->bytes() == content.size());
  int mapped = 0;
  checkpoint->for_each_mapped([&](const pensee::MappedFile&, const std::string&) { ++mapped; });
  CHECK(mapped == 1);
  REQUIRE(checkpoint->tensors().size() == 3);
  CHECK(std::is_sorted(checkpoint->tensors().begin(), checkpoint->tensors().end(),
                       [](const TensorView& a, const TensorView& b) { return a.name < b.name; }));
  const TensorView* b = checkpoint->find("b");
  REQUIRE(b != nullptr);
  CHECK(b->name == "b");
  CHECK(b->data[0] == std::byte{2});
  CHECK(b->file == dir.file("model.safetensors"));
  CHECK(checkpoint->find("") == nullptr);
  CHECK(checkpoint->find("aa") == nullptr);
  CHECK(checkpoint->find("z") == nullptr);
  CHECK(checkpoint->require("a")->data[0] == std::byte{1});
  const auto missing = checkpoint->require("model.norm.weight");
  CHECK(missing.error().status == Status::kNotFound);
  CHECK(missing.error().message == dir.path() + ": no tensor model.norm.weight");
}

TEST_CASE("one file by its own name, with or without a directory before it") {
  const TempDir dir;
  const std::string path = dir.write("weights.safetensors", tensors_named({"a"}));
  dir.write("config.json", "{}");
  const auto checkpoint = open_good(path);
  CHECK(checkpoint->directory() == dir.path());
  CHECK(checkpoint->find("a") != nullptr);
  CHECK(checkpoint->read_text("config.json").value() == "{}");

  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  const auto here = Checkpoint::open("weights.safetensors");
  std::filesystem::current_path(before);
  REQUIRE_MESSAGE(here.ok(), here.error().message);
  CHECK((*here)->directory() == ".");
}

TEST_CASE("shards are one checkpoint, and progress is told between them") {
  const TempDir dir;
  write_sharded(dir);
  std::vector<double> fractions;
  const auto opened = Checkpoint::open(dir.path(), [&](double fraction) {
    fractions.push_back(fraction);
    return true;
  });
  REQUIRE_MESSAGE(opened.ok(), opened.error().message);
  const auto& checkpoint = **opened;
  CHECK(fractions == std::vector<double>{0.0, 0.5, 1.0});
  REQUIRE(checkpoint.tensors().size() == 3);
  CHECK(checkpoint.find("a")->file == dir.file("one.safetensors"));
  CHECK(checkpoint.find("a")->data[0] == std::byte{1});
  CHECK(checkpoint.find("b")->file == dir.file("two.safetensors"));
  CHECK(checkpoint.bytes() == tensors_named({"c", "a"}).size() + tensors_named({"b"}).size());
}

TEST_CASE("one shard stands for all that the index names with it, another file for itself") {
  const TempDir dir;
  write_sharded(dir);
  dir.write("other.safetensors", tensors_named({"d"}));
  CHECK(open_good(dir.file("two.safetensors"))->tensors().size() == 3);
  CHECK(open_good(dir.file("other.safetensors"))->tensors().size() == 1);
  dir.write("model.safetensors", tensors_named({"only"}));
  dir.write(kIndex, "no index");
  CHECK(open_good(dir.file("model.safetensors"))->tensors().size() == 1);
  CHECK(open_good(dir.file("other.safetensors"))->tensors().size() == 1);
  dir.write("model-00002-of-00002.safetensors", tensors_named({"e"}));
  expect_error(dir.file("model-00002-of-00002.safetensors"), Status::kCorruptFile, {kIndex});
}

TEST_CASE("the single file is taken where both forms are") {
  const TempDir dir;
  write_sharded(dir);
  dir.write("model.safetensors", tensors_named({"only"}));
  CHECK(open_good(dir.path())->tensors().size() == 1);
}

TEST_CASE("progress can cancel, at the start and between shards") {
  const TempDir dir;
  write_sharded(dir);
  for (const double stop_at : {0.0, 0.5, 1.0}) {
    int calls_after = 0;
    bool stopped = false;
    const auto opened = Checkpoint::open(dir.path(), [&](double fraction) {
      if (stopped) ++calls_after;
      stopped = fraction >= stop_at;
      return !stopped;
    });
    REQUIRE(!opened.ok());
    CHECK(opened.error().status == Status::kCancelled);
    CHECK(calls_after == 0);
  }
}

TEST_CASE("views live as long as the checkpoint, wherever it is held") {
  const TempDir dir;
  write_sharded(dir);
  std::shared_ptr<const Checkpoint> kept;
  TensorView view;
  {
    auto opened = Checkpoint::open(dir.path());
    REQUIRE(opened.ok());
    view = (*opened)->require("b").value();
    kept = std::move(opened).value();
  }
  CHECK(view.name == "b");
  CHECK(view.file == dir.file("two.safetensors"));
  CHECK(view.data[0] == std::byte{0});
}

TEST_CASE("paths where no checkpoint is") {
  const TempDir dir;
  expect_error("", Status::kInvalidArgument, {"empty"});
  expect_error(dir.file("missing"), Status::kNotFound, {dir.file("missing")});
  expect_error(dir.path(), Status::kNotFound, {dir.path(), "model.safetensors", kIndex});
  expect_error(dir.write("text.txt", "not a checkpoint"), Status::kCorruptFile,
               {dir.file("text.txt"), "header length"});
  std::filesystem::create_directory(dir.file("model.safetensors"));
  expect_error(dir.path(), Status::kIoError, {dir.file("model.safetensors"), "a directory"});
}

TEST_CASE("an index that leads out of its directory is refused") {
  const TempDir dir;
  dir.write("one.safetensors", tensors_named({"a"}));
  for (const char* name :
       {"../one.safetensors", "/etc/passwd", "..", ".", "", "sub/one.safetensors",
        "sub\\\\one.safetensors", "one\\u0000.safetensors"}) {
    CAPTURE(name);
    dir.write(kIndex, std::string(R"({"weight_map":{"a":")") + name + "\"}}");
    expect_error(dir.path(), Status::kCorruptFile,
                 {dir.file(kIndex), "weight_map.a", "plain file name"});
  }
}

TEST_CASE("an index that is not one") {
  const TempDir dir;
  const auto expect = [&](const char* text, const char* words) {
    CAPTURE(text);
    dir.write(kIndex, text);
    expect_error(dir.path(), Status::kCorruptFile, {dir.file(kIndex), words});
  };
  expect("", "not valid JSON");
  expect("[]", "expected an object, found an array");
  expect("{}", "weight_map: missing");
  expect(R"({"weight_map":[]})", "weight_map: expected an object");
  expect(R"({"weight_map":null})", "weight_map: expected an object, found null");
  expect(R"({"weight_map":{}})", "expected tensors, found none");
  expect(R"({"weight_map":{"a":3}})", "weight_map.a: expected a plain file name, found 3");
  expect(R"({"weight_map":{"a":"x","a":"y"}})", "written twice");
}

TEST_CASE("shards and index must agree") {
  const TempDir dir;
  write_sharded(dir);
  const auto with_map = [&](const char* map) {
    dir.write(kIndex, std::string(R"({"weight_map":)") + map + "}");
  };
  with_map(R"({"a":"one.safetensors","b":"gone.safetensors"})");
  expect_error(dir.path(), Status::kNotFound, {dir.file("gone.safetensors")});
  with_map(R"({"a":"one.safetensors","b":"two.safetensors","d":"two.safetensors"})");
  expect_error(dir.path(), Status::kCorruptFile,
               {kIndex, "tensor d: expected in two.safetensors, found in no file"});
  with_map(R"({"a":"two.safetensors","b":"two.safetensors","c":"one.safetensors"})");
  expect_error(dir.path(), Status::kCorruptFile,
               {"tensor a: expected in two.safetensors, found in", dir.file("one.safetensors")});
  write_sharded(dir);
  dir.write("two.safetensors", tensors_named({"b", "a"}));
  expect_error(dir.path(), Status::kCorruptFile,
               {"tensor a is in two files", "one.safetensors", "two.safetensors"});
  write_sharded(dir);
  const std::string whole = tensors_named({"b"});
  dir.write("two.safetensors", whole.substr(0, whole.size() - 1));
  expect_error(dir.path(), Status::kCorruptFile, {dir.file("two.safetensors"), "tensor b"});
}

TEST_CASE("text files beside the weights") {
  const TempDir dir;
  dir.write("model.safetensors", tensors_named({"a"}));
  dir.write("empty.json", "");
  const auto checkpoint = open_good(dir.path());
  CHECK(checkpoint->read_text("empty.json").value().empty());
  const auto missing = checkpoint->read_text("config.json");
  CHECK(missing.error().status == Status::kNotFound);
  CHECK(missing.error().message.find(dir.file("config.json")) != std::string::npos);
  for (const char* name : {"../x", "/etc/passwd", "", ".."}) {
    CHECK(checkpoint->read_text(name).error().status == Status::kInvalidArgument);
  }
  std::filesystem::resize_file(dir.write("huge.json", ""), Checkpoint::kMaxTextBytes + 1);
  const auto huge = checkpoint->read_text("huge.json");
  REQUIRE(!huge.ok());
  CHECK(huge.error().status == Status::kUnsupported);
  CHECK(huge.error().message.find(dir.file("huge.json")) != std::string::npos);
  CHECK(huge.error().message.find("67108865") != std::string::npos);
}

TEST_CASE("buffers are read as a directory is, at any alignment") {
  const std::string one = tensors_named({"c", "a"});
  const std::string two = tensors_named({"b"});
  const std::string index = R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors",)"
                            R"("c":"one.safetensors"}})";
  for (const size_t shift : {0U, 1U, 3U, 8U}) {
    const std::string room = std::string(shift, ' ') + one;  // `one` at another alignment
    std::vector<pensee::NamedBuffer> files = {{"config.json", as_bytes("{}")},
                                              {kIndex, as_bytes(index)},
                                              {"one.safetensors", as_bytes(room).subspan(shift)},
                                              {"two.safetensors", as_bytes(two)}};
    std::vector<double> fractions;
    const auto opened = Checkpoint::open_buffers(files, [&](double fraction) {
      fractions.push_back(fraction);
      return true;
    });
    REQUIRE_MESSAGE(opened.ok(), opened.error().message);
    const Checkpoint& checkpoint = **opened;
    CHECK(fractions == std::vector<double>{0.0, 0.5, 1.0});
    REQUIRE(checkpoint.tensors().size() == 3);
    CHECK(checkpoint.find("a")->data[0] == std::byte{1});
    CHECK(checkpoint.find("a")->file == "one.safetensors");
    CHECK(reinterpret_cast<const char*>(checkpoint.find("c")->data) > room.data());  // in place
    CHECK(reinterpret_cast<const char*>(checkpoint.find("c")->data) < room.data() + room.size());
    CHECK(checkpoint.bytes() == one.size() + two.size());
    CHECK(checkpoint.directory().empty());
    CHECK(checkpoint.path_of("config.json") == "config.json");
    CHECK(checkpoint.read_text("config.json").value() == "{}");
    const auto missing = checkpoint.read_text("tokenizer.json");
    CHECK(missing.error().status == Status::kNotFound);
    CHECK(missing.error().message.find("tokenizer.json") != std::string::npos);
    CHECK(checkpoint.read_text("../x").error().status == Status::kInvalidArgument);
    checkpoint.for_each_mapped([](const pensee::MappedFile&, const std::string&) { CHECK(false); });
    // The single file goes before the index, as in a directory.
    files.push_back({"model.safetensors", as_bytes(two)});
    CHECK(Checkpoint::open_buffers(files).value()->tensors().size() == 1);
  }
}

TEST_CASE("wrong buffers are errors that name them") {
  const std::string one = tensors_named({"a"});
  const std::string index = R"({"weight_map":{"a":"one.safetensors"}})";
  using Files = std::vector<pensee::NamedBuffer>;
  const auto expect = [](const Files& files, Status status, const char* words) {
    const auto opened = Checkpoint::open_buffers(files);
    REQUIRE(!opened.ok());
    CAPTURE(opened.error().message);
    CHECK(opened.error().status == status);
    CHECK(opened.error().message.find(words) != std::string::npos);
  };
  const auto single = [&](std::string_view bytes) {
    return Files{{"model.safetensors", as_bytes(bytes)}};
  };
  expect({}, Status::kNotFound, "expected model.safetensors, ");
  expect({{kIndex, as_bytes(index)}}, Status::kNotFound, "one.safetensors: no buffer");
  expect({{kIndex, {}}}, Status::kCorruptFile, kIndex);
  expect({{"a/b", as_bytes(one)}}, Status::kInvalidArgument, "a/b");
  expect({{"", as_bytes(one)}}, Status::kInvalidArgument, "plain file names");
  expect({{"x", {}}, {"x", {}}}, Status::kInvalidArgument, "x is there twice");
  expect(single(""), Status::kCorruptFile, "model.safetensors: expected at least 8 bytes");
  for (size_t n = 0; n < one.size(); ++n) {
    const std::string part = one.substr(0, n);  // its own block: reading past it would show
    expect(single(part), Status::kCorruptFile, "model.safetensors");
  }
}

TEST_CASE("a randomly damaged index never crashes") {
  const TempDir dir;
  write_sharded(dir);
  const std::string good =
      R"({"metadata":{"total_size":3},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})";
  std::mt19937 random(7);
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::string text = good;
    for (int i = 0; i < 3; ++i) text[random() % text.size()] = static_cast<char>(random());
    dir.write(kIndex, text);
    if (!Checkpoint::open(dir.path()).ok()) ++refused;
  }
  CHECK(refused > 150);
}
