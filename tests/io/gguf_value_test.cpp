#include "pensee/io/gguf_value.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"
#include "pensee/io/gguf_metadata.hpp"

using pensee::GgufType;
using pensee::GgufValue;
using pensee::Status;
using pensee_test::array_key;
using pensee_test::key;
using pensee_test::raw;
using pensee_test::raw_string;

namespace {

// The one value of a file whose metadata is `text`, which must stay.
struct OneValue {
  explicit OneValue(const std::string& written) : text(written) {}
  [[nodiscard]] GgufValue value() const {
    pensee::gguf_detail::Reader reader(pensee_test::as_bytes(text), file);
    auto metadata = pensee::GgufMetadata::read(reader, 1);
    REQUIRE_MESSAGE(metadata.ok(), metadata.error().message);
    return metadata->values()[0];
  }
  std::string text;
  std::string file = "m.gguf";
};

template <class T>
void check_integer(GgufType type) {
  for (const T number :
       {std::numeric_limits<T>::min(), T{0}, T{1}, std::numeric_limits<T>::max()}) {
    const OneValue one(key("k", type, raw(number)));
    const GgufValue value = one.value();
    CHECK(value.type() == type);
    CHECK(value.size() == 1);
    CHECK(!value.is_array());
    CHECK(value.found() == std::to_string(number));
    CHECK(value.as_double().value() == static_cast<double>(number));
    CHECK(!value.as_bool().ok());
    CHECK(!value.as_string().ok());
    CHECK(!value.as_ints().ok());
    const OneValue many(array_key("k", type, 2, raw(number) + raw(T{1})));
    CHECK(many.value().as_floats().value() == std::vector<float>{static_cast<float>(number), 1.0F});
    if (number > static_cast<T>(0) && sizeof(T) == 8 && std::is_unsigned_v<T> && number != T{1}) {
      CHECK(
          value.as_int().error().message ==
          "m.gguf: k: expected an integer from -9223372036854775808 to 9223372036854775807, found "
          "18446744073709551615");
      CHECK(many.value().as_ints().error().message.find("k[0]") != std::string::npos);
    } else {
      CHECK(value.as_int().value() == static_cast<int64_t>(number));
      CHECK(many.value().as_ints().value() ==
            std::vector<int64_t>{static_cast<int64_t>(number), 1});
    }
  }
}

}  // namespace

TEST_CASE("GGUF integers of every type") {
  check_integer<uint8_t>(GgufType::kU8);
  check_integer<int8_t>(GgufType::kI8);
  check_integer<uint16_t>(GgufType::kU16);
  check_integer<int16_t>(GgufType::kI16);
  check_integer<uint32_t>(GgufType::kU32);
  check_integer<int32_t>(GgufType::kI32);
  check_integer<uint64_t>(GgufType::kU64);
  check_integer<int64_t>(GgufType::kI64);
}

TEST_CASE("GGUF numbers out of range") {
  const OneValue seven(key("llama.block_count", 7U));
  CHECK(seven.value().as_int(7, 7).value() == 7);
  const auto low = seven.value().as_int(8, 1024);
  CHECK(low.error().status == Status::kCorruptFile);
  CHECK(low.error().message ==
        "m.gguf: llama.block_count: expected an integer from 8 to 1024, found 7");
  CHECK(!seven.value().as_int(0, 6).ok());
  CHECK(seven.value().as_double(0.5, 6.0).error().message ==
        "m.gguf: llama.block_count: expected a number from 0.5 to 6.0, found 7");
  const OneValue list(array_key("k", GgufType::kI32, 3, raw(1) + raw(-2) + raw(3)));
  CHECK(list.value().as_ints(-2, 3).value() == std::vector<int64_t>{1, -2, 3});
  CHECK(list.value().as_ints(0, 9).error().message ==
        "m.gguf: k[1]: expected an array of integers from 0 to 9, found -2");
  CHECK(list.value().as_int().error().message.find("found an array of 3 i32") != std::string::npos);
}

TEST_CASE("GGUF fractions") {
  const OneValue half(key("k", GgufType::kF32, raw(0.5F)));
  CHECK(half.value().as_double().value() == 0.5);
  CHECK(half.value().found() == "0.5");
  CHECK(!half.value().as_int().ok());
  const OneValue tenth(key("k", GgufType::kF64, raw(0.1)));
  CHECK(tenth.value().as_double(0.0, 1.0).value() == 0.1);
  for (const double odd : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    const OneValue one(key("k", GgufType::kF64, raw(odd)));
    CHECK(one.value().as_double().error().message.find("m.gguf: k: expected a number") == 0);
  }
  const OneValue list(array_key("k", GgufType::kF32, 2, raw(-1.5F) + raw(2.0F)));
  CHECK(list.value().as_floats().value() == std::vector<float>{-1.5F, 2.0F});
  CHECK(!list.value().as_ints().ok());
  CHECK(!list.value().as_strings().ok());
}

TEST_CASE("GGUF truth values") {
  CHECK(OneValue(key("k", GgufType::kBool, "\1")).value().as_bool().value());
  const OneValue no(key("k", GgufType::kBool, std::string(1, '\0')));
  CHECK(!no.value().as_bool().value());
  CHECK(no.value().as_int().error().message.find("found false") != std::string::npos);
  CHECK(!no.value().as_double().ok());
  const OneValue list(array_key("k", GgufType::kBool, 1, "\1"));
  CHECK(!list.value().as_bool().ok());
  CHECK(!list.value().as_floats().ok());
}

TEST_CASE("GGUF texts lie in the file") {
  const OneValue one(key("k", "a text"));
  CHECK(one.value().is_string());
  CHECK(one.value().as_string().value().data() == one.text.data() + one.text.size() - 6);
  CHECK(one.value().as_bool().error().message ==
        "m.gguf: k: expected true or false, found \"a text\"");
  const OneValue empty(array_key("k", GgufType::kString, 0, ""));
  CHECK(empty.value().is_array());
  CHECK(!empty.value().is_string());
  CHECK(empty.value().as_strings().value().empty());

  std::string elements;
  for (int i = 0; i < 1000; ++i)
    elements += raw_string(std::string(static_cast<size_t>(i % 5), 'x'));
  const OneValue many(array_key("k", GgufType::kString, 1000, elements));
  const auto texts = many.value().as_strings().value();
  REQUIRE(texts.size() == 1000);
  for (size_t i = 0; i < texts.size(); ++i) {
    CHECK(texts[i].size() == i % 5);
    CHECK(texts[i].data() > many.text.data());
    CHECK(texts[i].data() <= many.text.data() + many.text.size());
  }
  CHECK(many.value().bytes().size() == elements.size());
}

TEST_CASE("a long text in an error is cut, and what is not printable is replaced") {
  const OneValue one(key("k\n", std::string(5000, 'y')));
  const std::string message = one.value().as_bool().error().message;
  CHECK(message.size() < 300);
  CHECK(message.find("m.gguf: k?: ") == 0);
}
