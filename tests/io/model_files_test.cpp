#include "pensee/io/model_files.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "io/files.hpp"

using pensee::ModelFiles;
using pensee::NamedBuffer;
using pensee::Status;
using pensee_test::as_bytes;
using pensee_test::TempDir;

TEST_CASE("files of a directory and of memory answer alike") {
  const TempDir dir;
  dir.write("b.gguf", "B");
  dir.write("a.gguf", "A");
  dir.write("c.json", "{}");
  const std::vector<NamedBuffer> buffers = {
      {"b.gguf", as_bytes("B")}, {"c.json", as_bytes("{}")}, {"a.gguf", as_bytes("A")}};
  for (const ModelFiles& files :
       {ModelFiles::in_directory(dir.path()), ModelFiles::in_memory(buffers).value()}) {
    const bool in_memory = files.directory().empty();
    CHECK(files.has("a.gguf"));
    CHECK(!files.has("a"));
    CHECK(files.names_ending(".gguf").value() == std::set<std::string>{"a.gguf", "b.gguf"});
    CHECK(files.names_ending(".txt")->empty());
    CHECK(files.path_of("x") == (in_memory ? "x" : dir.file("x")));
    CHECK(files.read_text("c.json").value() == "{}");
    CHECK(files.read_text("x").error().status == Status::kNotFound);
    CHECK(files.read_text("../c.json").error().status == Status::kInvalidArgument);
  }
  CHECK(ModelFiles::in_directory(dir.file("gone")).names_ending("").error().status ==
        Status::kIoError);
  CHECK(!ModelFiles().has("a.gguf"));
}
