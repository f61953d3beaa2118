// clang++ -fsanitize=fuzzer,address,undefined; the same target runs without libFuzzer in
// text/bpe_test.cpp.
#include "fuzz/tokenizer_json_target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)qeff::fuzz::tokenizer_json({reinterpret_cast<const char*>(data), size});
  return 0;
}
