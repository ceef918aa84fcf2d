// How the block types are decoded in AVX2 registers, for the kernels of q8-inl.hpp. What the bytes
// mean is written in pensee/kernels/blocks.hpp, what a decoder has in decoder-inl.hpp.
#pragma once

#include "blocks_grid-inl.hpp"
#include "blocks_k-inl.hpp"
#include "blocks_simple-inl.hpp"
#include "blocks_table-inl.hpp"
