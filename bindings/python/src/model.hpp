// A model, as Python has it.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "calls.hpp"
#include "pensee.hpp"

namespace pensee::python {

// What all sessions of a model share. Views of the caller's buffers go after the model.
struct LoadedModel {
  explicit LoadedModel(c::Model loaded) : model(std::move(loaded)) {}
  ~LoadedModel() {
    // The threads to join are in the process that loaded it.
    if (!process.is_this()) new c::Model(std::move(model));
  }
  LoadedModel(const LoadedModel&) = delete;
  LoadedModel& operator=(const LoadedModel&) = delete;

  Process process;
  std::shared_ptr<const std::deque<View>> views;
  c::Model model;
};

class Model {
 public:
  // `progress(fraction)` and `log(level, message)` may be None.
  static Model load(std::string path, int32_t n_threads, bool read_ahead, std::string repack_dir,
                    py::object progress, py::object log) {
    path = without_nul(std::move(path), "path");
    repack_dir = without_nul(std::move(repack_dir), "repack_dir");
    return load_with(n_threads, progress, log, nullptr, [&](c::LoadOptions& options) {
      options.read_ahead = read_ahead ? 1 : 0;
      options.repack_dir = repack_dir.c_str();
      return c::Model::load(path, options);
    });
  }
  // From a dict of names and objects with the buffer protocol.
  static Model load_buffers(const py::dict& files, int32_t n_threads, std::string repack_dir,
                            py::object progress, py::object log) {
    repack_dir = without_nul(std::move(repack_dir), "repack_dir");
    std::vector<std::string> names;
    std::vector<pensee_buffer> buffers;
    auto views = std::make_shared<std::deque<View>>();
    for (const auto& [name, file] : files) {
      names.push_back(without_nul(py::cast<std::string>(name), "files"));
      views->emplace_back(file);
    }
    for (size_t i = 0; i < names.size(); ++i) {
      buffers.push_back({names[i].c_str(), (*views)[i].data(), (*views)[i].size()});
    }
    return load_with(n_threads, progress, log, std::move(views), [&](c::LoadOptions& options) {
      options.repack_dir = repack_dir.c_str();
      return c::Model::load_buffers(buffers, options);
    });
  }

  // To be held during a call without the GIL, in which another thread may close this.
  std::shared_ptr<const LoadedModel> loaded() const {
    if (!loaded_) throw c::Error(PENSEE_ERROR_WRONG_STATE, "the model is closed");
    loaded_->process.require("the model");
    return loaded_;
  }
  void close() { loaded_.reset(); }

  py::dict info() const {
    const auto loaded = this->loaded();
    const c::ModelInfo info = loaded->model.info();
    py::dict out;
    out["architecture"] = info.architecture;
    out["kernels"] = info.kernels;
    out["n_threads"] = info.n_threads;
    out["n_layers"] = info.n_layers;
    out["hidden_size"] = info.hidden_size;
    out["vocab_size"] = info.vocab_size;
    out["max_context_length"] = info.max_context_length;
    out["n_routed_experts"] = info.n_routed_experts;
    out["num_experts_per_tok"] = info.num_experts_per_tok;
    out["weights_bytes"] = info.weights_bytes;
    out["can_think"] = info.can_think != 0;
    out["has_chat_template"] = info.has_chat_template != 0;
    out["thought_open"] = info.thought_open;
    out["thought_close"] = info.thought_close;
    return out;
  }

  std::vector<int32_t> tokenize(const std::string& text, bool parse_special) const {
    const auto loaded = this->loaded();
    const py::gil_scoped_release release;
    return loaded->model.tokenize(text, parse_special);
  }
  py::str detokenize(const std::vector<int32_t>& tokens, bool skip_special) const {
    const auto loaded = this->loaded();
    std::string text;
    {
      const py::gil_scoped_release release;
      text = loaded->model.detokenize(tokens, skip_special);
    }
    return py::str(text);
  }
  py::object token_bytes(int32_t token) const {
    const auto loaded = this->loaded();
    const std::string_view bytes = loaded->model.token_bytes(token);
    if (bytes.data() == nullptr) return py::none();
    return py::bytes(bytes.data(), bytes.size());
  }
  bool is_special(int32_t token) const { return loaded()->model.is_special(token); }

  // (n_tokens, vocab_size). `progress(done, total)` may be None.
  py::array_t<float> logits(const std::vector<int32_t>& tokens, const py::object& progress) const {
    const auto loaded = this->loaded();
    const c::Model& model = loaded->model;
    const auto vocab_size = static_cast<py::ssize_t>(model.info().vocab_size);
    py::array_t<float> logits({static_cast<py::ssize_t>(tokens.size()), vocab_size});
    float* to = logits.mutable_data();
    const auto size = static_cast<size_t>(logits.size());
    Call call;
    try {
      const py::gil_scoped_release release;
      c::detail::call(pensee_model_logits, model.get(), tokens.data(), tokens.size(), to, size,
                      &Call::on_prefill, const_cast<py::object*>(&progress));
    } catch (const c::Error&) {
      call.rethrow();
      throw;
    }
    return logits;
  }

 private:
  explicit Model(std::shared_ptr<const LoadedModel> loaded) : loaded_(std::move(loaded)) {}

  template <class Load>
  static Model load_with(int32_t n_threads, const py::object& progress, const py::object& log,
                         std::shared_ptr<const std::deque<View>> views, Load&& load) {
    c::LoadOptions options;
    options.n_threads = n_threads;
    options.progress = [](void* user_data, double fraction) {
      const auto& function = *static_cast<const py::object*>(user_data);
      return Call::callback(nullptr, [&] {
        if (!function.is_none()) function(fraction);
      });
    };
    options.progress_user_data = const_cast<py::object*>(&progress);
    options.log = [](void* user_data, int32_t level, const char* message) {
      const auto& function = *static_cast<const py::object*>(user_data);
      Call::callback(nullptr, [&] {
        if (!function.is_none()) function(level, text_of(message));
      });
    };
    options.log_user_data = const_cast<py::object*>(&log);

    Call call;
    std::shared_ptr<LoadedModel> loaded;
    try {
      const py::gil_scoped_release release;
      loaded = std::make_shared<LoadedModel>(load(options));
    } catch (const c::Error&) {
      call.rethrow();
      throw;
    }
    loaded->views = std::move(views);
    call.rethrow();
    return Model(std::move(loaded));
  }

  std::shared_ptr<const LoadedModel> loaded_;
};

}  // namespace pensee::python
