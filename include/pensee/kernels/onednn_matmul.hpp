// Products of one size on oneDNN's matrix product, in bfloat16 or float32. Beside onednn.hpp the
// only file that includes oneDNN, and the only one that knows how its versions 2 and 3 differ.
#pragma once

#include <oneapi/dnnl/dnnl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/kernels/onednn.hpp"

namespace pensee {

namespace onednn_detail {

struct Destroy {
  void operator()(dnnl_engine_t engine) const noexcept { dnnl_engine_destroy(engine); }
  void operator()(dnnl_stream_t stream) const noexcept { dnnl_stream_destroy(stream); }
  void operator()(dnnl_memory_t memory) const noexcept { dnnl_memory_destroy(memory); }
  void operator()(dnnl_post_ops_t ops) const noexcept { dnnl_post_ops_destroy(ops); }
  void operator()(dnnl_primitive_attr_t attr) const noexcept { dnnl_primitive_attr_destroy(attr); }
  void operator()(dnnl_primitive_desc_t desc) const noexcept { dnnl_primitive_desc_destroy(desc); }
  void operator()(dnnl_primitive_t primitive) const noexcept { dnnl_primitive_destroy(primitive); }
};
// Of one of oneDNN's handles, which are pointers.
template <class Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy>;

// make(&handle) returns a status; null if it failed.
template <class Handle, class Make>
Owned<Handle> owned(Make&& make) {
  Handle handle = nullptr;
  return make(&handle) == dnnl_success ? Owned<Handle>(handle) : nullptr;
}

// What a matrix in memory looks like: numbers of a type, whose rows and columns lie so far apart.
class Layout {
 public:
  Layout(int64_t rows, int64_t cols, dnnl_data_type_t type, int64_t row_stride,
         int64_t col_stride) {
    const dnnl_dims_t sizes = {rows, cols};
    const dnnl_dims_t strides = {row_stride, col_stride};
#if DNNL_VERSION_MAJOR >= 3
    ok_ = dnnl_memory_desc_create_with_strides(&desc_, 2, sizes, type, strides) == dnnl_success;
#else
    ok_ = dnnl_memory_desc_init_by_strides(&desc_, 2, sizes, type, strides) == dnnl_success;
#endif
  }
#if DNNL_VERSION_MAJOR >= 3
  ~Layout() {
    dnnl_memory_desc_destroy(desc_);
  }
  [[nodiscard]] const_dnnl_memory_desc_t get() const noexcept {
    return desc_;
  }
#else
  ~Layout() = default;
  [[nodiscard]] const dnnl_memory_desc_t* get() const noexcept {
    return &desc_;
  }
#endif
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  [[nodiscard]] bool ok() const noexcept {
    return ok_;
  }

 private:
#if DNNL_VERSION_MAJOR >= 3
  dnnl_memory_desc_t desc_ = nullptr;
#else
  dnnl_memory_desc_t desc_{};
#endif
  bool ok_ = false;
};

// c += a * b, as their layouts say; the workspace is the caller's.
inline Owned<dnnl_primitive_desc_t> describe_matmul(dnnl_engine_t engine, const Layout& a,
                                                    const Layout& b, const Layout& c) {
  const auto ops = owned<dnnl_post_ops_t>(dnnl_post_ops_create);
  const auto attr = owned<dnnl_primitive_attr_t>(dnnl_primitive_attr_create);
  if (!a.ok() || !b.ok() || !c.ok() || ops == nullptr || attr == nullptr) return nullptr;
#if DNNL_VERSION_MAJOR >= 3
  const dnnl_status_t added = dnnl_post_ops_append_sum(ops.get(), 1.0F, 0, dnnl_data_type_undef);
#else
  const dnnl_status_t added = dnnl_post_ops_append_sum(ops.get(), 1.0F);
#endif
  if (added != dnnl_success ||
      dnnl_primitive_attr_set_post_ops(attr.get(), ops.get()) != dnnl_success ||
      dnnl_primitive_attr_set_scratchpad_mode(attr.get(), dnnl_scratchpad_mode_user) !=
          dnnl_success) {
    return nullptr;
  }
#if DNNL_VERSION_MAJOR >= 3
  return owned<dnnl_primitive_desc_t>([&](dnnl_primitive_desc_t* desc) {
    return dnnl_matmul_primitive_desc_create(desc, engine, a.get(), b.get(), nullptr, c.get(),
                                             attr.get());
  });
#else
  dnnl_matmul_desc_t matmul;
  if (dnnl_matmul_desc_init(&matmul, a.get(), b.get(), nullptr, c.get()) != dnnl_success) {
    return nullptr;
  }
  return owned<dnnl_primitive_desc_t>([&](dnnl_primitive_desc_t* desc) {
    return dnnl_primitive_desc_create(desc, &matmul, attr.get(), engine, nullptr);
  });
#endif
}

}  // namespace onednn_detail

// Whether oneDNN multiplies in AMX here, for which it asks the system, once.
[[nodiscard]] inline bool onednn_uses_amx() noexcept {
  return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_amx) ==
         dnnl_cpu_isa_avx512_core_amx;
}

// y (n, kRows) += x (n, kDepth) * w (kRows, kDepth)^T, all of them row-major and dense: x and w in
// bfloat16 or float32, y in float32. Immutable; for any thread.
class PanelMatmul {
 public:
  static constexpr int64_t kRows = 128;
  static constexpr int64_t kDepth = 512;
  // n is one of kMinTokens, and twice, four times ... as many.
  static constexpr int64_t kMinTokens = 16;
  static constexpr size_t kSizes = 6;
  static constexpr int64_t kMaxTokens = kMinTokens << (kSizes - 1);
  static constexpr int64_t kScratch = int64_t{1} << 20;  // bytes, at a multiple of 64

  // Generates oneDNN's code, all of it: see prepare_gemm(). Null if oneDNN has none for this
  // processor and type. Errors: kOutOfMemory.
  static Result<std::unique_ptr<const PanelMatmul>> create(bool in_bfloat16) {
    using Made = std::unique_ptr<const PanelMatmul>;
    const Error no_memory{Status::kOutOfMemory, "no memory to set up oneDNN"};
    constexpr size_t kGeneratedCode = size_t{32} << 20;
    if (!onednn_detail::has_memory(kGeneratedCode)) return no_memory;
    // oneDNN divides the work among as many threads as there are now.
    const onednn_detail::SingleThreaded single;
    if (!single.ok()) return no_memory;
    try {
      std::unique_ptr<PanelMatmul> matmul(new PanelMatmul);
      return matmul->prepare(in_bfloat16 ? dnnl_bf16 : dnnl_f32) ? Made(std::move(matmul)) : Made();
    } catch (const std::bad_alloc&) {  // ours, or from behind oneDNN's C interface
      return no_memory;
    }
  }

  // The largest n that is at most `tokens`; 0 if none is.
  [[nodiscard]] static int64_t tokens_at_once(int64_t tokens) noexcept {
    if (tokens < kMinTokens) return 0;
    int64_t n = kMaxTokens;
    while (n > tokens) n /= 2;
    return n;
  }

  // False without memory for oneDNN's workspace.
  [[nodiscard]] bool add(int64_t n, const void* x, const void* w, float* y,
                         void* scratch) const noexcept {
    const onednn_detail::SingleThreaded single;
    constexpr size_t kHandles = 65536;  // far more than oneDNN takes; it does not look itself
    if (!single.ok() || !onednn_detail::has_memory(kHandles)) return false;
    const onednn_detail::WithoutSignals without_signals;
    try {
      return run(sizes_[size_of(n)], {const_cast<void*>(x), const_cast<void*>(w), y, scratch});
    } catch (...) {
      return false;
    }
  }

 private:
  struct Size {
    onednn_detail::Owned<dnnl_primitive_desc_t> desc;
    onednn_detail::Owned<dnnl_primitive_t> primitive;
  };
  struct Argument {
    int number;
    dnnl_query_t layout;
  };
  static constexpr std::array<Argument, 4> kArguments{
      {{DNNL_ARG_SRC, dnnl_query_src_md},
       {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
       {DNNL_ARG_DST, dnnl_query_dst_md},
       {DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md}}};

  PanelMatmul() = default;

  static size_t size_of(int64_t n) noexcept {
    size_t size = 0;
    while ((kMinTokens << size) < n) ++size;
    return size;
  }

  bool prepare(dnnl_data_type_t type) {
    engine_ = onednn_detail::owned<dnnl_engine_t>(
        [](dnnl_engine_t* engine) { return dnnl_engine_create(engine, dnnl_cpu, 0); });
    if (engine_ == nullptr) return false;
    const onednn_detail::Layout w(kDepth, kRows, type, 1, kDepth);
    for (size_t i = 0; i < kSizes; ++i) {
      const int64_t n = kMinTokens << i;
      const onednn_detail::Layout x(n, kDepth, type, kDepth, 1);
      const onednn_detail::Layout y(n, kRows, dnnl_f32, kRows, 1);
      Size& size = sizes_[i];
      size.desc = onednn_detail::describe_matmul(engine_.get(), x, w, y);
      if (size.desc == nullptr) return false;
      const auto* scratchpad =
          dnnl_primitive_desc_query_md(size.desc.get(), dnnl_query_scratchpad_md, 0);
      if (dnnl_memory_desc_get_size(scratchpad) > size_t{kScratch}) return false;
      size.primitive = onednn_detail::owned<dnnl_primitive_t>([&size](dnnl_primitive_t* primitive) {
        return dnnl_primitive_create(primitive, size.desc.get());
      });
      if (size.primitive == nullptr) return false;
    }
    return try_all();
  }

  // Some code is only generated when it is first used.
  [[nodiscard]] bool try_all() const {
    constexpr int64_t kAligned = 64;
    const int64_t bytes = (kMaxTokens * kDepth + kRows * kDepth + kMaxTokens * kRows) * 4;
    std::vector<std::byte> memory(size_t{bytes + kScratch + kAligned});
    void* begin = memory.data();
    size_t room = memory.size();
    if (std::align(kAligned, room - kAligned, begin, room) == nullptr) return false;
    auto* x = static_cast<float*>(begin);
    float* w = x + kMaxTokens * kDepth;
    float* y = w + kRows * kDepth;
    bool ok = true;
    for (int64_t n = kMinTokens; n <= kMaxTokens; n *= 2) {
      ok = ok && add(n, x, w, y, y + kMaxTokens * kRows);
    }
    return ok;
  }

  bool run(const Size& size, const std::array<void*, 4>& data) const {
    const auto stream = onednn_detail::owned<dnnl_stream_t>([this](dnnl_stream_t* made) {
      return dnnl_stream_create(made, engine_.get(), dnnl_stream_default_flags);
    });
    if (stream == nullptr) return false;
    std::array<onednn_detail::Owned<dnnl_memory_t>, 4> memory;
    std::array<dnnl_exec_arg_t, 4> arguments;
    for (size_t i = 0; i < arguments.size(); ++i) {
      const auto* layout = dnnl_primitive_desc_query_md(size.desc.get(), kArguments[i].layout, 0);
      memory[i] = onednn_detail::owned<dnnl_memory_t>([&](dnnl_memory_t* made) {
        return dnnl_memory_create(made, layout, engine_.get(), data[i]);
      });
      if (memory[i] == nullptr) return false;
      arguments[i] = {kArguments[i].number, memory[i].get()};
    }
    return dnnl_primitive_execute(size.primitive.get(), stream.get(),
                                  static_cast<int>(arguments.size()),
                                  arguments.data()) == dnnl_success &&
           dnnl_stream_wait(stream.get()) == dnnl_success;
  }

  onednn_detail::Owned<dnnl_engine_t> engine_;
  std::array<Size, kSizes> sizes_;
};

}  // namespace pensee
