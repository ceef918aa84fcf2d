// What every long call from Python does: it lets other threads run, and hears Ctrl-C.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee.hpp"

namespace pensee::python {

namespace py = pybind11;

// A process that was forked has the memory of a model but not its threads: a call would wait for
// them for ever.
class Process {
 public:
  bool is_this() const noexcept { return pid_ == getpid(); }
  void require(const char* what) const {
    if (is_this()) return;
    throw c::Error(
        PENSEE_ERROR_WRONG_STATE,
        std::string(what) + ": made before this process was forked; load the model here");
  }

 private:
  pid_t pid_ = getpid();
};

// A session belongs to one thread at a time; this says so in place of a data race.
class Exclusive {
 public:
  explicit Exclusive(std::atomic_flag& in_use) : in_use_(in_use) {
    if (in_use_.test_and_set(std::memory_order_acquire)) {
      throw c::Error(PENSEE_ERROR_WRONG_STATE, "the session is in use by another call");
    }
  }
  ~Exclusive() { in_use_.clear(std::memory_order_release); }
  Exclusive(const Exclusive&) = delete;
  Exclusive& operator=(const Exclusive&) = delete;

 private:
  std::atomic_flag& in_use_;
};

// A call under way on this thread. What a callback of Python raises, and KeyboardInterrupt, waits
// here until the C interface has returned.
class Call {
 public:
  Call() : outer_(current()) { current() = this; }
  ~Call() { current() = outer_; }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Runs `function` with the GIL, unless it is stopped, and hears signals. Returns not 0, which
  // cancels, once it is stopped: by a signal, or by what a function of the same `owner` raised.
  // Called without the GIL.
  template <class Function>
  static int32_t callback(const void* owner, Function&& function) {
    Call& call = *current();
    if (call.is_stopped(owner)) return 1;
    const py::gil_scoped_acquire gil;
    try {
      call.interrupted_ = PyErr_CheckSignals() != 0;
      if (call.interrupted_) throw py::error_already_set();
      std::forward<Function>(function)();
    } catch (...) {
      if (!call.raised_ || call.interrupted_) call.raised_ = std::current_exception();
      call.raisers_.push_back(owner);
    }
    return call.is_stopped(owner) ? 1 : 0;
  }

  // A pensee_prefill_progress_fn; `user_data` is a py::object, a function or None.
  static int32_t on_prefill(void* user_data, int64_t done, int64_t total) {
    const auto& progress = *static_cast<const py::object*>(user_data);
    return callback(user_data, [&] {
      if (!progress.is_none()) progress(done, total);
    });
  }

  // The same for signals alone, and not at every token: taking the GIL may mean to wait for it.
  bool interrupted() {
    constexpr auto kInterval = std::chrono::milliseconds(20);
    const auto now = std::chrono::steady_clock::now();
    if (now - checked_ < kInterval) return raised_ != nullptr;
    checked_ = now;
    return callback(nullptr, [] {}) != 0 || raised_ != nullptr;
  }

  bool has_raised() const noexcept { return raised_ != nullptr; }
  bool was_interrupted() const noexcept { return interrupted_; }
  bool is_stopped(const void* owner) const noexcept {
    return interrupted_ || std::find(raisers_.begin(), raisers_.end(), owner) != raisers_.end();
  }
  // With the GIL.
  void rethrow() const {
    if (raised_) std::rethrow_exception(raised_);
  }

 private:
  static Call*& current() {
    static thread_local Call* call = nullptr;
    return call;
  }

  Call* outer_;
  std::exception_ptr raised_;         // the first, or that of a signal
  std::vector<const void*> raisers_;  // the owners of what raised
  bool interrupted_ = false;          // by a signal
  std::chrono::steady_clock::time_point checked_ = std::chrono::steady_clock::now();
};

// Memory that a Python object lends, which cannot move or go as long as this lives.
class View {
 public:
  explicit View(const py::handle& object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  }
  ~View() { PyBuffer_Release(&view_); }
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  const void* data() const noexcept { return view_.buf; }
  size_t size() const noexcept { return static_cast<size_t>(view_.len); }

 private:
  Py_buffer view_{};
};

// A message of the library. It may quote the name of a file, which need not be UTF-8: Python has
// its bytes as os.fsdecode() gives them.
inline py::object text_of(std::string_view message) {
  PyObject* text = PyUnicode_DecodeUTF8(message.data(), static_cast<Py_ssize_t>(message.size()),
                                        "surrogateescape");
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(text);
}

// Text for a C function that takes no length.
inline std::string without_nul(std::string text, const char* name) {
  if (text.find('\0') != std::string::npos) {
    throw c::Error(PENSEE_ERROR_INVALID_ARGUMENT,
                   std::string(name) + ": expected text without NUL, found one");
  }
  return text;
}

}  // namespace pensee::python
