// qeff-run: language models without Python. Results go to stdout, everything else to stderr.
//
// Exit codes: 0 ok, 1 failure, 2 usage, 3 bad input, 4 input/output, 5 memory, 130 interrupted.
#include <fmt/format.h>

#include <cstdio>
#include <new>
#include <string>

#include "commands.hpp"
#include "interrupt.hpp"
#include "qeff/core/error.hpp"
#include "qeff/version.hpp"

namespace {

int fail(int code, const char* what) {
  fmt::print(stderr, "qeff-run: error: {}\n", what);
  return code;
}

int run(int argc, char** argv) {
  CLI::App app("Run causal language models on this CPU.", "qeff-run");
  app.set_version_flag("--version", std::string(qeff::version));
  app.require_subcommand(1);
  qeff::cli::add_generate(app);
  qeff::cli::add_chat(app);
  qeff::cli::add_perplexity(app);
  qeff::cli::add_bench(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  qeff::cli::catch_interrupts();
  try {
    return run(argc, argv);
  } catch (const qeff::cli::Interrupted& error) {
    return fail(130, error.what());
  } catch (const qeff::IoError& error) {
    return fail(4, error.what());
  } catch (const qeff::Error& error) {
    return fail(3, error.what());
  } catch (const std::bad_alloc&) {
    return fail(5, "out of memory");
  } catch (const std::exception& error) {
    return fail(1, error.what());
  }
}
