// clang++ -fsanitize=fuzzer,address,undefined; the same target runs without libFuzzer in
// io/gguf_fuzz_test.cpp.
#include "fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)qeff::fuzz::model_file({reinterpret_cast<const char*>(data), size});
  return 0;
}
