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
build/cpp_app/cpp_app quickstart-output/minilm-int8.qeff | tee build/cpp_app/similarities.txt
"$venv/bin/python" - quickstart-output/results.json build/cpp_app/similarities.txt <<'END'
import json, sys
python = [float(line.split()[0]) for line in json.load(open(sys.argv[1]))["similarities"]]
cpp = [float(line.split()[0]) for line in open(sys.argv[2])]
apart = max(abs(a - b) for a, b in zip(python, cpp, strict=True))
print(f"Python and C++ differ by {apart:.1e} at most")
sys.exit(apart > 1e-4)
END
echo "the quickstart took $((SECONDS - started)) s"
