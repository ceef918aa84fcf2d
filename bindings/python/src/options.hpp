// Keyword arguments become the options of the C interface.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "calls.hpp"
#include "pensee.hpp"

namespace pensee::python {

[[noreturn]] inline void wrong_type(const std::string& name, const char* expected,
                                    py::handle found) {
  throw py::type_error(name + ": expected " + expected + ", found " +
                       std::string(py::str(py::type::handle_of(found).attr("__name__"))));
}

inline int64_t integer(const std::string& name, py::handle value) {
  if (!PyIndex_Check(value.ptr())) wrong_type(name, "an integer", value);
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!index) throw py::error_already_set();
  const long long number = PyLong_AsLongLong(index.ptr());
  if (number == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return number;
}

inline int32_t integer32(const std::string& name, py::handle value) {
  const int64_t number = integer(name, value);
  if (number < INT32_MIN || number > INT32_MAX) {
    throw c::Error(PENSEE_ERROR_INVALID_ARGUMENT,
                   name + ": " + std::to_string(number) + " is out of range");
  }
  return static_cast<int32_t>(number);
}

inline float real(const std::string& name, py::handle value) {
  const double number = PyFloat_AsDouble(value.ptr());
  if (number == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    wrong_type(name, "a number", value);
  }
  return static_cast<float>(number);
}

inline std::string text(const std::string& name, py::handle value) {
  if (!py::isinstance<py::str>(value)) wrong_type(name, "a str", value);
  return without_nul(py::cast<std::string>(value), name.c_str());
}

// Sets the field `name` of a sampler; false if there is none of this name.
inline bool set_sampler_field(c::SamplerOptions& sampler, const std::string& name,
                              py::handle value) {
  using Options = pensee_sampler_options;
  static constexpr std::array<std::pair<const char*, float Options::*>, 6> kReals = {{
      {"temperature", &Options::temperature},
      {"top_p", &Options::top_p},
      {"min_p", &Options::min_p},
      {"repetition_penalty", &Options::repetition_penalty},
      {"presence_penalty", &Options::presence_penalty},
      {"frequency_penalty", &Options::frequency_penalty},
  }};
  for (const auto& [known, field] : kReals) {
    if (name == known) return sampler.*field = real(name, value), true;
  }
  if (name == "top_k") return sampler.top_k = integer32(name, value), true;
  if (name == "seed") {
    const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
    if (!index) throw py::error_already_set();
    sampler.seed = PyLong_AsUnsignedLongLong(index.ptr());
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    sampler.has_seed = 1;
    return true;
  }
  return false;
}

// pensee_reply_options with all that it points to. A keyword whose value is None is as if not
// given. The settings of a sampler that are keywords themselves are the thought's, which the
// answer's inherit.
class Options {
 public:
  explicit Options(const py::dict& keywords) {
    for (const auto& [key, value] : keywords) {
      if (!value.is_none()) set(py::cast<std::string>(key), value);
    }
    options_.thought_sampler = &thought_sampler_;
    options_.answer_sampler = &answer_sampler_;
    for (const std::string& stop : stop_) stop_pointers_.push_back(stop.c_str());
    options_.stop = stop_pointers_.data();
    options_.n_stop = stop_pointers_.size();
    options_.prefill_progress = &Call::on_prefill;
  }
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  // The progress function must live as long as the reply, and that of a fork: its owner is
  // `progress()`, to be kept beside the session. Never NULL.
  const std::shared_ptr<py::object>& progress() const noexcept { return progress_; }
  const c::ReplyOptions& get() {
    options_.prefill_progress_user_data = progress_.get();
    return options_;
  }

 private:
  void set(const std::string& name, py::handle value) {
    using Fields = pensee_reply_options;
    static constexpr std::array<std::pair<const char*, int64_t Fields::*>, 5> kIntegers = {{
        {"thinking_token_budget", &Fields::thinking_token_budget},
        {"min_thought_tokens", &Fields::min_thought_tokens},
        {"max_extensions", &Fields::max_extensions},
        {"max_answer_tokens", &Fields::max_answer_tokens},
        {"max_tokens", &Fields::max_tokens},
    }};
    for (const auto& [known, field] : kIntegers) {
      if (name == known) {
        options_.*field = integer(name, value);
        return;
      }
    }
    struct Text {
      const char* name;
      std::string Options::*copy;
      const char* Fields::*field;
    };
    static constexpr std::array<Text, 4> kTexts = {{
        {"budget_message", &Options::budget_message_, &Fields::budget_message},
        {"extension_text", &Options::extension_text_, &Fields::extension_text},
        {"answer_grammar", &Options::answer_grammar_, &Fields::answer_grammar},
        {"answer_json_schema", &Options::answer_json_schema_, &Fields::answer_json_schema},
    }};
    for (const Text& known : kTexts) {
      if (name == known.name) {
        this->*known.copy = text(name, value);
        options_.*known.field = (this->*known.copy).c_str();
        return;
      }
    }
    if (name == "thinking") {
      if (!PyBool_Check(value.ptr())) {
        wrong_type(name, "True, False, \"auto\", \"on\", \"off\" or None", value);
      }
      options_.thinking = value.ptr() == Py_True ? PENSEE_THINKING_ON : PENSEE_THINKING_OFF;
    } else if (name == "stop_in_thought") {
      if (!PyBool_Check(value.ptr())) wrong_type(name, "True, False or None", value);
      options_.stop_in_thought = value.ptr() == Py_True ? 1 : 0;
    } else if (name == "history") {
      options_.history = integer32(name, value);
    } else if (name == "stop") {
      if (py::isinstance<py::str>(value)) wrong_type(name, "a sequence of str", value);
      for (const py::handle stop : value) stop_.push_back(text(name, stop));
    } else if (name == "answer_sampler") {
      set_answer_sampler(value);
    } else if (name == "prefill_progress") {
      if (PyCallable_Check(value.ptr()) == 0) wrong_type(name, "a function", value);
      *progress_ = py::reinterpret_borrow<py::object>(value);
    } else if (!set_sampler_field(thought_sampler_, name, value)) {
      throw py::type_error("unexpected keyword argument '" + name + "'");
    }
  }

  void set_answer_sampler(py::handle value) {
    if (!py::isinstance<py::dict>(value)) wrong_type("answer_sampler", "a dict", value);
    for (const auto& [key, setting] : py::reinterpret_borrow<py::dict>(value)) {
      if (!py::isinstance<py::str>(key)) wrong_type("answer_sampler", "names of type str", key);
      const std::string name = py::cast<std::string>(key);
      if (setting.is_none()) continue;
      if (!set_sampler_field(answer_sampler_, name, setting)) {
        throw py::type_error("answer_sampler: unexpected key '" + name + "'");
      }
    }
  }

  c::ReplyOptions options_;
  c::SamplerOptions thought_sampler_, answer_sampler_;
  std::string budget_message_, extension_text_, answer_grammar_, answer_json_schema_;
  std::vector<std::string> stop_;
  std::vector<const char*> stop_pointers_;
  std::shared_ptr<py::object> progress_ = std::make_shared<py::object>(py::none());
};

}  // namespace pensee::python
