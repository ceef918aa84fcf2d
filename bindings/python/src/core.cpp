// pensee._core: the C interface for the Python files beside it, which give it names and types.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <exception>
#include <string>

#include "calls.hpp"
#include "model.hpp"
#include "pensee.hpp"
#include "session.hpp"

namespace {

namespace py = pybind11;
using namespace pybind11::literals;
using pensee::python::Model;
using pensee::python::Session;

// Status and message become the exception that _errors.py has for them.
void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const pensee::c::Error& error) {
    try {
      const py::object made =
          py::module_::import("pensee._errors")
              .attr("error_of")(error.status(), pensee::python::text_of(error.what()));
      PyErr_SetObject(py::type::handle_of(made).ptr(), made.ptr());
    } catch (py::error_already_set& failed) {
      failed.restore();
    }
  }
}

py::dict estimate_memory(std::string path, int64_t context_length, int32_t n_threads,
                         int32_t cache_type, int64_t prefill_chunk, int32_t speculation) {
  path = pensee::python::without_nul(std::move(path), "path");
  pensee::c::SessionOptions options;
  options.context_length = context_length;
  options.cache_type = cache_type;
  options.prefill_chunk = prefill_chunk;
  options.speculation = speculation;
  const pensee::c::MemoryEstimate estimate = [&] {
    const py::gil_scoped_release release;
    return pensee::c::estimate_memory(path, options, n_threads);
  }();
  py::dict out;
  out["weights_bytes"] = estimate.weights_bytes;
  out["converted_bytes"] = estimate.converted_bytes;
  out["session_bytes"] = estimate.session_bytes;
  return out;
}

void define_model(py::module_& module) {
  py::class_<Model>(module, "Model")
      .def_static("load", &Model::load, "path"_a, "n_threads"_a, "read_ahead"_a, "repack_dir"_a,
                  "progress"_a, "log"_a)
      .def_static("load_buffers", &Model::load_buffers, "files"_a, "n_threads"_a, "repack_dir"_a,
                  "progress"_a, "log"_a)
      .def("close", &Model::close)
      .def("info", &Model::info)
      .def("tokenize", &Model::tokenize, "text"_a, "parse_special"_a)
      .def("detokenize", &Model::detokenize, "tokens"_a, "skip_special"_a)
      .def("token_bytes", &Model::token_bytes, "token"_a)
      .def("is_special", &Model::is_special, "token"_a)
      .def("logits", &Model::logits, "tokens"_a, "progress"_a);
}

void define_session(py::module_& module) {
  py::class_<Session>(module, "Session")
      .def(py::init<const Model&, int64_t, int64_t, int32_t, int32_t>(), "model"_a,
           "context_length"_a, "prefill_chunk"_a, "speculation"_a, "cache_type"_a)
      .def_static("restore", &Session::restore, "model"_a, "data"_a, "context_length"_a,
                  "prefill_chunk"_a, "speculation"_a)
      .def_static("restore_file", &Session::restore_file, "model"_a, "path"_a, "context_length"_a,
                  "prefill_chunk"_a, "speculation"_a)
      .def("close", &Session::close)
      .def("add_message", &Session::add_message, "role"_a, "text"_a)
      .def("vote", &Session::vote, "n_voters"_a, "seed"_a)
      .def("add_answer", &Session::add_answer, "thought"_a, "text"_a)
      .def("messages", &Session::messages)
      .def("rewind", &Session::rewind, "n_messages"_a)
      .def("reset", &Session::reset)
      .def("start", &Session::start, "options"_a)
      .def("start_tokens", &Session::start_tokens, "tokens"_a, "options"_a)
      .def("start_text", &Session::start_text, "text"_a, "options"_a)
      .def("prefill", &Session::prefill)
      .def("step", &Session::step)
      .def("think", &Session::think)
      .def("answer", &Session::answer)
      .def("n_replies", &Session::n_replies)
      .def("abandon", &Session::abandon, "reply"_a)
      .def_static("step_many", &Session::step_many, "sessions"_a)
      .def("end_thinking", &Session::end_thinking)
      .def("cancel", &Session::cancel)
      .def("reply", &Session::reply)
      .def("is_replying", &Session::is_replying)
      .def("tokens", &Session::tokens)
      .def("context_length", &Session::context_length)
      .def("logits", &Session::logits)
      .def("fork", &Session::fork)
      .def("reseed", &Session::reseed, "seed"_a)
      .def("save", &Session::save)
      .def("save_file", &Session::save_file, "path"_a);
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  py::register_local_exception_translator(translate);
  module.def("version", &pensee_version_string);
  module.def(
      "has_feature", [](const std::string& name) { return pensee_has_feature(name.c_str()) != 0; },
      "name"_a);
  module.def("estimate_memory", &estimate_memory, "path"_a, "context_length"_a, "n_threads"_a,
             "cache_type"_a, "prefill_chunk"_a, "speculation"_a);
  define_model(module);
  define_session(module);
}
