// The bundled tiny R1, loaded once for all tests of this program.
#pragma once

#include <doctest/doctest.h>

#include <memory>

#include "pensee/reason/model.hpp"

namespace pensee {

inline const std::shared_ptr<const Model>& tiny() {
  static const std::shared_ptr<const Model> model = [] {
    Result<std::shared_ptr<const Model>> loaded = Model::load(PENSEE_TINY_R1, {.threads = 2});
    if (!loaded) FAIL(loaded.error().message);
    return std::move(loaded).value();
  }();
  return model;
}

}  // namespace pensee
