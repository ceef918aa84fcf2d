// Runs a fuzz target without libFuzzer, which not every compiler has:
//
//   fuzz_x [--seconds N] [--seed N] [--runs N] [--keep FOLDER] [FILE or FOLDER]...
//
// First every input given, then ones made of them, until the seconds or the runs are over (neither:
// none are made). The same seed and program make the same inputs, as long as time allows. With
// --keep, inputs that reached new code are left in FOLDER. Before each run the input is written to
// fuzz_x.input, which stays if the process ends there: give it as FILE to see that again.
//
// Where the target is compiled with -fsanitize-coverage=trace-pc, inputs that reach new code join
// those that others are made of.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "fuzz.hpp"
#include "mutator.hpp"

#if defined(__SANITIZE_ADDRESS__)
// Of <sanitizer/allocator_interface.h>, which GCC 12 does not install.
extern "C" int __sanitizer_install_malloc_and_free_hooks(
    void (*malloc_hook)(const volatile void* block, size_t size),
    void (*free_hook)(const volatile void* block));
#endif

namespace {

namespace fs = std::filesystem;
using pensee::fuzz::Bytes;

// --- Code reached -------------------------------------------------------------------------------

std::vector<bool>* reached = nullptr;  // by jumps, hashed; null while none shall be noted
bool reached_new = false;
uintptr_t last_place = 0;
constexpr size_t kPlaces = size_t{1} << 18;

// --- Memory -------------------------------------------------------------------------------------

#if defined(__SANITIZE_ADDRESS__)
// No input may make the target allocate much more than its size.
constexpr size_t kMemoryAlways = size_t{64} << 20;
constexpr size_t kMemoryPerByte = 64;
size_t allocation_limit = SIZE_MAX;

void check_allocation(const volatile void* /*block*/, size_t size) {
  if (size <= allocation_limit) return;
  const size_t limit = std::exchange(allocation_limit, SIZE_MAX);
  std::fprintf(stderr, "allocated %zu bytes; the limit is %zu\n", size, limit);
  std::abort();
}
#endif

// --- Inputs -------------------------------------------------------------------------------------

struct Options {
  double seconds = 0;
  uint64_t runs = 0;
  uint64_t seed = 1;
  std::string keep;
  std::vector<std::string> paths;
};

[[noreturn]] void usage(const char* what) {
  std::fprintf(stderr, "%s\nusage: see the top of driver.cpp\n", what);
  std::exit(2);
}

Options read_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (!name.starts_with("--")) {
      options.paths.push_back(name);
      continue;
    }
    if (++i == argc) usage(("no value for " + name).c_str());
    if (name == "--seconds") {
      options.seconds = std::atof(argv[i]);
    } else if (name == "--runs") {
      options.runs = std::strtoull(argv[i], nullptr, 10);
    } else if (name == "--seed") {
      options.seed = std::strtoull(argv[i], nullptr, 10);
    } else if (name == "--keep") {
      options.keep = argv[i];
    } else {
      usage(("unknown option " + name).c_str());
    }
  }
  return options;
}

Bytes read_input(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) usage(("cannot open " + path.string()).c_str());
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

// In a fixed order, whatever the file system's is.
std::vector<Bytes> read_inputs(const std::vector<std::string>& paths) {
  std::vector<fs::path> files;
  for (const std::string& path : paths) {
    if (!fs::is_directory(path)) {
      files.emplace_back(path);
      continue;
    }
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<Bytes> inputs;
  for (const fs::path& file : files) inputs.push_back(read_input(file));
  return inputs;
}

// --- Runs ---------------------------------------------------------------------------------------

class Runner {
 public:
  explicit Runner(std::string name)
      : path_(std::move(name)), fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (fd_ < 0) usage(("cannot write " + path_).c_str());
  }
  ~Runner() {
    ::close(fd_);
    fs::remove(path_);
  }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // Whether the input reached new code.
  bool run(const Bytes& input) {
    constexpr unsigned kPatience = 100;  // seconds; a machine may be busy and sanitizers are slow
    if (::ftruncate(fd_, 0) != 0 ||
        ::pwrite(fd_, input.data(), input.size(), 0) != static_cast<ssize_t>(input.size())) {
      usage(("cannot write " + path_).c_str());
    }
    // A copy of just the size, so that the address sanitizer sees reads beyond it.
    const Bytes copy(input);
    ::alarm(kPatience);
    reached_new = false;
    last_place = 0;
    reached = &places_;
#if defined(__SANITIZE_ADDRESS__)
    allocation_limit = kMemoryAlways + kMemoryPerByte * input.size();
#endif
    LLVMFuzzerTestOneInput(copy.data(), copy.size());
#if defined(__SANITIZE_ADDRESS__)
    allocation_limit = SIZE_MAX;
#endif
    reached = nullptr;
    ::alarm(0);
    ++runs_;
    return reached_new;
  }

  [[nodiscard]] uint64_t runs() const {
    return runs_;
  }
  [[nodiscard]] size_t places() const {
    return static_cast<size_t>(std::count(places_.begin(), places_.end(), true));
  }

 private:
  std::string path_;
  int fd_;
  std::vector<bool> places_ = std::vector<bool>(kPlaces);
  uint64_t runs_ = 0;
};

void keep(const std::string& folder, uint64_t number, const Bytes& input) {
  if (folder.empty()) return;
  fs::create_directories(folder);
  std::ofstream file(fs::path(folder) / std::to_string(number), std::ios::binary);
  file.write(reinterpret_cast<const char*>(input.data()),
             static_cast<std::streamsize>(input.size()));
}

}  // namespace

// Called at every jump of code compiled for it.
extern "C" void __sanitizer_cov_trace_pc() {
  if (reached == nullptr) return;
  // Relative, so that where the program lies in memory changes nothing.
  const auto place = reinterpret_cast<uintptr_t>(__builtin_return_address(0)) -
                     reinterpret_cast<uintptr_t>(&LLVMFuzzerTestOneInput);
  const size_t jump = (place ^ (last_place >> 1)) * 0x9E3779B97F4A7C15U >> 46;
  last_place = place;
  static_assert(kPlaces == size_t{1} << (64 - 46));
  if ((*reached)[jump]) return;
  (*reached)[jump] = true;
  reached_new = true;
}

int main(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  std::vector<Bytes> inputs = read_inputs(options.paths);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_install_malloc_and_free_hooks(check_allocation, [](const volatile void*) {});
#endif
  Runner runner(fs::path{argv[0]}.filename().string() + ".input");
  for (const Bytes& input : inputs) runner.run(input);
  std::printf("%zu inputs given", inputs.size());

  if (inputs.empty()) inputs.emplace_back();
  size_t largest = 0;
  for (const Bytes& input : inputs) largest = std::max(largest, input.size());
  constexpr size_t kRoom = 4096;
  pensee::fuzz::Mutator mutator(options.seed, pensee::fuzz::words(), 2 * largest + kRoom);
  const auto begin = std::chrono::steady_clock::now();
  const auto is_over = [&] {
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    return time.count() >= options.seconds && runner.runs() >= options.runs;
  };
  while (!is_over()) {
    // Half of the time one of the newest, which have been tried least.
    const size_t newest = std::min<size_t>(inputs.size(), 16);
    const size_t chosen = mutator.below(2) == 0 ? mutator.below(inputs.size())
                                                : inputs.size() - 1 - mutator.below(newest);
    const Bytes& other = inputs[mutator.below(inputs.size())];
    Bytes input = mutator.mutated(inputs[chosen], other);
    if (!runner.run(input)) continue;
    keep(options.keep, runner.runs(), input);
    inputs.push_back(std::move(input));
  }
  std::printf(", %llu runs, seed %llu, %zu inputs in the end, %zu jumps reached\n",
              static_cast<unsigned long long>(runner.runs()),
              static_cast<unsigned long long>(options.seed), inputs.size(), runner.places());
}
