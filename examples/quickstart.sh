#!/usr/bin/env bash
# From a fresh clone to the answer: sets everything up, quantizes the real all-MiniLM-L6-v2 in several
# ways, prints the table of sizes, speeds and accuracies, and runs the C++ example on an artifact.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/setup.sh"

started=$SECONDS
setup_system $native_packages
setup_python
setup_build qeff _core
setup_package
echo "set-up took $((SECONDS - started)) s"

say "examples/quickstart.py"
"$venv/bin/python" examples/quickstart.py

say "examples/cpp_app: the same artifact from C++"
setup_prefix
"$cmake" -S examples/cpp_app -B build/cpp_app -G Ninja -DCMAKE_PREFIX_PATH="$root/build/prefix" > build/configure-cpp_app.log ||
  { cat build/configure-cpp_app.log; exit 1; }
"$cmake" --build build/cpp_app
artifact=$(ls -t quickstart-output/*int8*.qeff | head -n 1)
build/cpp_app/cpp_app "$artifact"
echo "the quickstart took $((SECONDS - started)) s"
