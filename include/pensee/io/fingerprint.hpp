// Tells checkpoints apart without reading them whole.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pensee/base/dtype.hpp"
#include "pensee/base/hash.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/io/checkpoint.hpp"

namespace pensee {

// Adds every tensor's name, type, shape and a few of its bytes: reads about a page of each.
inline void add_fingerprint(const Checkpoint& checkpoint, Fnv1a64& hash) {
  constexpr size_t kSampledBytes = 64;  // of each tensor, from its middle
  hash.add(uint64_t{checkpoint.bytes()});
  for (const TensorView& tensor : checkpoint.tensors()) {
    hash.add(tensor.name).add(dtype_name(tensor.dtype)).add(uint64_t{tensor.bytes});
    for (const int64_t dim : tensor.shape.span()) hash.add(static_cast<uint64_t>(dim));
    const size_t n = std::min(kSampledBytes, tensor.bytes);
    hash.add(std::span(tensor.data + (tensor.bytes - n) / 2, n));
  }
}

}  // namespace pensee
