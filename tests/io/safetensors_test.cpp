#include "pensee/io/safetensors.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.hpp"

using pensee::DType;
using pensee::SafetensorsFile;
using pensee::Status;
using pensee::TensorView;
using pensee_test::as_bytes;
using pensee_test::safetensors;
using pensee_test::TempDir;

namespace {

const TensorView& named(const SafetensorsFile& file, std::string_view name) {
  for (const TensorView& tensor : file.tensors()) {
    if (tensor.name == name) return tensor;
  }
  FAIL("no tensor ", std::string(name));
  return file.tensors().front();
}

// Expects that the bytes are refused and that the message names the file and holds `words`.
void expect_refused(const std::string& bytes, Status status, std::string_view words) {
  const auto file = SafetensorsFile::from_bytes(as_bytes(bytes), "x.safetensors");
  REQUIRE_MESSAGE(!file.ok(), "expected an error with: ", std::string(words));
  CAPTURE(file.error().message);
  CHECK(file.error().status == status);
  CHECK(file.error().message.starts_with("x.safetensors: "));
  CHECK(file.error().message.find(words) != std::string::npos);
}

void expect_corrupt(std::string_view header, size_t data_bytes, std::string_view words) {
  CAPTURE(header);
  expect_refused(safetensors(header, data_bytes), Status::kCorruptFile, words);
}

constexpr std::string_view kGood = R"({"__metadata__":{"format":"pt","note":""},)"
                                   R"("b":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[12,15]},)"
                                   R"("scalar":{"dtype":"U8","shape":[],"data_offsets":[15,16]},)"
                                   R"("none":{"data_offsets":[12,12],"shape":[0,7],"dtype":"F64"},)"
                                   R"("a":{"dtype":"BF16","shape":[2,1,3],"data_offsets":[0,12]}})";

}  // namespace

TEST_CASE("a well-formed file lists its tensors in place") {
  const TempDir dir;
  const std::string path = dir.write("m.safetensors", safetensors(kGood, 16));
  const auto opened = SafetensorsFile::open(path);
  REQUIRE_MESSAGE(opened.ok(), opened.error().message);
  const SafetensorsFile& file = **opened;
  CHECK(file.path() == path);
  CHECK(file.bytes() == 8 + kGood.size() + 16);
  REQUIRE(file.mapped() != nullptr);
  CHECK(file.mapped()->bytes().size() == file.bytes());
  REQUIRE(file.tensors().size() == 4);

  const TensorView& a = named(file, "a");
  CHECK(a.dtype == DType::kBF16);
  CHECK(a.shape == pensee::Shape{{2, 1, 3}, 3});
  CHECK(a.bytes == 12);
  CHECK(a.file == path);
  CHECK(a.data[11] == std::byte{11});
  const TensorView& b = named(file, "b");
  CHECK(b.shape == pensee::Shape{{3}, 1});
  CHECK(b.data[0] == std::byte{12});  // at an odd address in the file: any alignment is allowed
  CHECK(named(file, "scalar").shape.rank == 0);
  CHECK(named(file, "scalar").data[0] == std::byte{15});
  CHECK(named(file, "none").bytes == 0);
  CHECK(named(file, "none").shape == pensee::Shape{{0, 7}, 2});
}

TEST_CASE("names with any characters, padding behind the header, files without tensors") {
  const std::string names = safetensors(
      R"({"\u00e9\"\\":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"":{"dtype":"U8","shape":)"
      R"([1],"data_offsets":[1,2]}}      )",
      2);
  const auto file = SafetensorsFile::from_bytes(as_bytes(names), "x");
  REQUIRE_MESSAGE(file.ok(), file.error().message);
  CHECK((*file)->tensors()[0].name == "é\"\\");
  CHECK((*file)->tensors()[1].name.empty());

  const std::string nothing = safetensors("{}", 0);
  const auto empty = SafetensorsFile::from_bytes(as_bytes(nothing), "x");
  REQUIRE(empty.ok());
  CHECK((*empty)->tensors().empty());
}

TEST_CASE("every dtype is read but the block types, which safetensors files have not"){
#define PENSEE_X(enumerator, size, elements, text)                                    \
  {                                                                                   \
    const std::string bytes =                                                         \
        safetensors(R"({"t":{"dtype":")" text R"(","shape":[1],"data_offsets":[0,)" + \
                        std::to_string(size) + "]}}",                                 \
                    size);                                                            \
    const auto file = SafetensorsFile::from_bytes(as_bytes(bytes), "x");              \
    REQUIRE(file.ok() == (elements == 1));                                            \
    if (file.ok()) CHECK((*file)->tensors()[0].dtype == DType::enumerator);           \
  }
    PENSEE_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
}

TEST_CASE("truncated files and wrong header lengths") {
  expect_refused("", Status::kCorruptFile, "expected at least 8 bytes, found 0");
  expect_refused("1234567", Status::kCorruptFile, "expected at least 8 bytes, found 7");
  expect_refused(std::string(8, '\0'), Status::kCorruptFile, "expected a JSON object");
  expect_refused(std::string(8, '\xff'), Status::kCorruptFile,
                 "expected at most 0 bytes, found 18446744073709551615");
  const std::string good = safetensors(kGood, 16);
  for (size_t size = 0; size < good.size(); ++size) {
    const auto file = SafetensorsFile::from_bytes(as_bytes(good).first(size), "x");
    CAPTURE(size);
    CHECK(!file.ok());
  }
  std::string beyond = good;
  beyond[7] = '\x7f';
  expect_refused(beyond, Status::kCorruptFile, "header length");
}

TEST_CASE("a header over 100 MB is refused even where the file has that much") {
  const TempDir dir;
  std::string start;
  for (size_t i = 0; i < 8; ++i)
    start.push_back(static_cast<char>(uint64_t{100'000'001} >> (8 * i)));
  const std::string path = dir.write("big.safetensors", start + "{");
  std::filesystem::resize_file(path, 200'000'000);
  const auto file = SafetensorsFile::open(path);
  REQUIRE(!file.ok());
  CHECK(file.error().message ==
        path + ": header length: expected at most 100000000 bytes, found 100000001");
}

TEST_CASE("headers that are not one JSON object") {
  for (const char* header : {"[]", "3", "null", "\"x\"", " {}", "\xef\xbb\xbf{}"}) {
    expect_corrupt(header, 0, "expected a JSON object");
  }
  for (const char* header : {"{", "{}{}", "{\"a\"", "{\"a\":{\"dtype\":", "{}x", "{\"\xff\":{}}",
                             R"({"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,1]}})"}) {
    expect_corrupt(header, 1, "not valid JSON");
  }
  expect_corrupt(std::string_view("{}\0\0", 4), 0, "NUL");
}

TEST_CASE("entries that are not what the format says") {
  expect_corrupt(R"({"t":3})", 0, "tensor t: expected an object, found 3");
  expect_corrupt(R"({"t":null})", 0, "tensor t: expected an object, found null");
  expect_corrupt(R"({"t":[1]})", 0, "tensor t: expected an object, found an array");
  expect_corrupt(R"({"t":{}})", 0, "tensor t: expected dtype, shape and data_offsets");
  expect_corrupt(R"({"t":{"dtype":"U8","shape":[1]}})", 1, "found only a part");
  expect_corrupt(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1, "found x");
  expect_corrupt(R"({"t":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
                 "tensor t: dtype is written twice");
  expect_corrupt(R"({"t":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", 1,
                 "dtype: expected a string, found 8");
  expect_corrupt(R"({"t":{"dtype":["U8"],"shape":[1],"data_offsets":[0,1]}})", 1,
                 "dtype: expected a string, found an array");
  expect_corrupt(R"({"t":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", 1,
                 "shape: expected an array of whole numbers, found 1");
  expect_corrupt(R"({"t":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1,
                 "shape: expected an array of whole numbers, found an array");
  expect_corrupt(R"({"t":{"dtype":"U8","shape":[{}],"data_offsets":[0,1]}})", 1, "found an object");
  expect_corrupt(R"({"t":{"dtype":"U8","shape":{},"data_offsets":[0,1]}})", 1, "found an object");
  expect_corrupt(R"({"t":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}})", 1, "found \"1\"");
  expect_corrupt(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":null}})", 1,
                 "data_offsets: expected an array of whole numbers, found null");
  expect_corrupt(R"({"t":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}})", 1, "boolean");
  expect_corrupt(R"({"__metadata__":{"a":1}})", 0, "__metadata__: expected a string, found 1");
  expect_corrupt(R"({"__metadata__":{"a":{}}})", 0, "__metadata__");
  expect_corrupt(R"({"__metadata__":"a"})", 0, "__metadata__: expected an object");
}

TEST_CASE("unknown dtypes and too many dimensions are unsupported") {
  expect_refused(safetensors(R"({"t":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}})", 1),
                 Status::kUnsupported, "tensor t: unknown dtype \"F4\"");
  expect_refused(safetensors(R"({"t":{"dtype":"U8","shape":[1,1,1,1,1],"data_offsets":[0,1]}})", 1),
                 Status::kUnsupported,
                 "tensor t: shape: expected at most 4 dimensions, found [1, 1, 1, 1, 1]");
  std::string many = R"({"t":{"dtype":"U8","shape":[1)";
  for (int i = 0; i < 1000; ++i) many += ",1";
  expect_corrupt(many + R"(],"data_offsets":[0,1]}})", 1, "more than 64 numbers");
}

TEST_CASE("impossible dimensions") {
  const auto with_shape = [](const std::string& shape) {
    return R"({"t":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,4]}})";
  };
  expect_corrupt(with_shape("[-1]"), 4, "shape: expected an array of whole numbers, found -1");
  expect_corrupt(with_shape("[1.5]"), 4, "found 1.5");
  expect_corrupt(with_shape("[1e3]"), 4, "found 1e3");
  expect_corrupt(with_shape("[18446744073709551616]"), 4, "found 18446744073709551616");
  expect_corrupt(with_shape("[18446744073709551615]"), 4, "too large");
  expect_corrupt(with_shape("[1099511627777]"), 4, "too large");
  // 2^62 elements of 4 bytes are 0 bytes modulo 2^64; 2^32 * 2^32 elements as well.
  expect_corrupt(with_shape("[1073741824,4294967296]"), 4, "too large");
  expect_corrupt(with_shape("[4294967296,4294967296]"), 4, "too large");
  expect_corrupt(with_shape("[4294967296,536870912]"), 4, "too large");  // 2^63
  // A zero does not excuse the other dimensions.
  expect_corrupt(R"({"t":{"dtype":"F32","shape":[0,1099511627776,1099511627776],)"
                 R"("data_offsets":[0,0]}})",
                 0, "too large");
  expect_corrupt(with_shape("[2]"), 4, "expected 8 bytes for F32 [2], found 4");
  expect_corrupt(with_shape("[]"), 3, "data_offsets");
  expect_corrupt(with_shape("[0]"), 4, "expected 0 bytes for F32 [0], found 4");
}

TEST_CASE("offsets outside the data") {
  const auto with_offsets = [](const std::string& offsets) {
    return R"({"t":{"dtype":"U8","shape":[4],"data_offsets":)" + offsets + "}}";
  };
  for (const char* offsets : {"[0,5]", "[4,0]", "[1,18446744073709551615]", "[4,8]", "[0]", "[]",
                              "[0,4,4]", "[18446744073709551615,3]"}) {
    expect_corrupt(with_offsets(offsets), 4,
                   "tensor t: data_offsets: expected [begin, end] within 4 bytes of data, found [");
  }
  expect_corrupt(with_offsets("[-4,0]"), 4, "data_offsets: expected an array of whole numbers");
  expect_corrupt(with_offsets("[0,3]"), 4, "expected 4 bytes for U8 [4], found 3");
}

TEST_CASE("overlaps, holes, trailing bytes and twins") {
  const auto two = [](int a_begin, int b_begin) {
    const auto entry = [](char name, int begin) {
      return std::string("\"") + name + R"(":{"dtype":"U8","shape":[2],"data_offsets":[)" +
             std::to_string(begin) + "," + std::to_string(begin + 2) + "]}";
    };
    return "{" + entry('a', a_begin) + "," + entry('b', b_begin) + "}";
  };
  expect_corrupt(two(0, 1), 3, "tensor b: expected data at offset 2");
  expect_corrupt(two(0, 1), 3, "(overlap)");
  expect_corrupt(two(0, 0), 2, "(overlap)");
  expect_corrupt(two(0, 3), 5, "found 3 (hole)");
  expect_corrupt(two(1, 3), 5, "tensor a: expected data at offset 0");
  expect_corrupt(two(2, 0), 5, "expected 4 bytes of tensor data, found 5");
  expect_corrupt("{}", 1, "expected 0 bytes of tensor data, found 1");
  // An empty tensor inside another one.
  expect_corrupt(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                 R"("e":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}})",
                 2, "(overlap)");
  expect_corrupt(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                 R"("\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                 2, "tensor a: written twice");
  expect_corrupt(R"({"__metadata__":{},"__metadata__":{}})", 0, "written twice");
}

TEST_CASE("errors of the file itself pass through") {
  const TempDir dir;
  CHECK(SafetensorsFile::open(dir.file("missing")).error().status == Status::kNotFound);
  CHECK(SafetensorsFile::open(dir.path()).error().status == Status::kIoError);
  CHECK(SafetensorsFile::open(dir.write("e", "")).error().status == Status::kCorruptFile);
}

TEST_CASE("a long name in an error is cut") {
  const std::string name(10000, 'n');
  const std::string bytes =
      safetensors("{\"" + name + R"(":{"dtype":"F4","shape":[],"data_offsets":[0,0]}})", 0);
  const auto file = SafetensorsFile::from_bytes(as_bytes(bytes), "x");
  REQUIRE(!file.ok());
  CHECK(file.error().message.size() < 300);
}

TEST_CASE("the time to read a header grows with its length, not faster") {
  // Processor seconds, so that other load on the machine does not count.
  const auto seconds_for = [](size_t n) {
    std::string header = "{";
    for (size_t i = 0; i < n; ++i) {
      header += (i > 0 ? ",\"" : "\"") + std::string("model.layers.3.mlp.experts.") +
                std::to_string(i) + R"(.gate_proj.weight":{"dtype":"U8","shape":[1,1],)" +
                R"("data_offsets":[)" + std::to_string(n - 1 - i) + "," + std::to_string(n - i) +
                "]}";
    }
    const std::string bytes = safetensors(header + "}", n);
    const std::clock_t begin = std::clock();
    const auto file = SafetensorsFile::from_bytes(as_bytes(bytes), "x");
    const std::clock_t end = std::clock();
    REQUIRE_MESSAGE(file.ok(), file.error().message);
    REQUIRE((*file)->tensors().size() == n);
    return static_cast<double>(end - begin) / CLOCKS_PER_SEC;
  };
  const double few = seconds_for(1000);
  const double many = seconds_for(20000);
  CHECK(many < 100.0 * few + 0.1);  // 20 times the tensors; quadratic work would take 400 times
}

TEST_CASE("random damage never crashes, and what is accepted lies within the file") {
  const std::string good = safetensors(kGood, 16);
  std::mt19937 random(20241);
  const auto below = [&](size_t n) { return static_cast<size_t>(random()) % n; };
  constexpr std::string_view kPieces[] = {
      "{", "}",   "[",    "]",      ",",   "\"",   "-1",
      "0", "9e9", "null", "\"a\":", "\\u", "\xff", "184467440737095516"};
  int accepted = 0;
  constexpr int kRounds = 6000;
  for (int round = 0; round < kRounds; ++round) {
    std::string bytes = good;
    const size_t changes = 1 + below(4);
    for (size_t i = 0; i < changes && !bytes.empty(); ++i) {
      const size_t at = below(bytes.size());
      switch (below(6)) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, 1 + below(8));
          break;
        case 2:
          bytes.insert(at, kPieces[below(std::size(kPieces))]);
          break;
        case 3:
          bytes.resize(at);
          break;
        case 4:
          bytes.insert(at, bytes.substr(below(bytes.size()), below(40)));
          break;
        default:
          bytes[at] = static_cast<char>('0' + below(10));
          break;
      }
    }
    // Half of the time the length is made to fit again, so that the damage reaches the parser.
    if (below(2) == 0 && bytes.size() > 24) {
      const size_t header = bytes.size() - 24;
      for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header >> (8 * i));
    }
    // A copy of exactly this size: the address sanitizer sees any read beyond it.
    const std::vector<char> exact(bytes.begin(), bytes.end());
    const auto span = std::as_bytes(std::span(exact));
    const auto file = SafetensorsFile::from_bytes(span, "x");
    if (!file.ok()) {
      REQUIRE(!file.error().message.empty());
      continue;
    }
    ++accepted;
    unsigned sum = 0;
    for (const TensorView& tensor : (*file)->tensors()) {
      for (size_t i = 0; i < tensor.bytes; ++i) sum += static_cast<unsigned>(tensor.data[i]);
      REQUIRE(tensor.data + tensor.bytes <= span.data() + span.size());
    }
    REQUIRE(sum <= 255U * bytes.size());
  }
  CHECK(accepted > 0);  // some damage is harmless: names, metadata and data may be anything
  CHECK(accepted < kRounds);
}
