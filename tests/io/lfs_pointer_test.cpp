#include "pensee/io/lfs_pointer.hpp"

#include <doctest/doctest.h>

#include <string>

#include "io/files.hpp"
#include "pensee/io/gguf.hpp"
#include "pensee/io/safetensors.hpp"

using pensee_test::as_bytes;

TEST_CASE("a pointer of Git LFS in the place of a file") {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\n"
      "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
      "size 4302409976\n";
  const std::string words = "found a pointer of Git LFS";
  const auto safetensors = pensee::SafetensorsFile::from_bytes(as_bytes(pointer), "a.safetensors");
  REQUIRE(!safetensors.ok());
  CHECK(safetensors.error().status == pensee::Status::kCorruptFile);
  CHECK(safetensors.error().message.starts_with("a.safetensors: "));
  CHECK(safetensors.error().message.find(words) != std::string::npos);
  const auto gguf = pensee::GgufFile::from_bytes(as_bytes(pointer), "a.gguf");
  REQUIRE(!gguf.ok());
  CHECK(gguf.error().message.find(words) != std::string::npos);
  CHECK(pensee::expect_contents(as_bytes(std::string("version 2")), "a").ok());
}
