#include "pensee/base/tensor_view.hpp"

#include <doctest/doctest.h>

using pensee::Shape;

TEST_CASE("shapes print, compare and give their dimensions") {
  const Shape shape{{7168, 1536}, 2};
  CHECK(shape.to_string() == "(7168, 1536)");
  CHECK(Shape{}.to_string() == "()");
  CHECK(shape.span().size() == 2);
  CHECK(shape[0] == 7168);
  CHECK(shape[1] == 1536);
  CHECK(shape == Shape{{7168, 1536}, 2});
  CHECK(shape != Shape{{7168, 1536, 0}, 3});
  CHECK(shape != Shape{{1536, 7168}, 2});
}

TEST_CASE("ceil_div counts ragged blocks") {
  CHECK(pensee::ceil_div(0, 128) == 0);
  CHECK(pensee::ceil_div(1, 128) == 1);
  CHECK(pensee::ceil_div(128, 128) == 1);
  CHECK(pensee::ceil_div(129, 128) == 2);
}
