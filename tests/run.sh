#!/usr/bin/env bash
# Sets everything up and passes all tests: tests/run.sh [--quick]
#
# --quick: release build and Python only; without it also sanitizers, 64-bit Arm under qemu, style
# and types, and a wheel in a clean environment. Last line: N passed, N failed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/setup.sh"

quick=false
for argument in "$@"; do
  case $argument in
    --quick) quick=true ;;
    *) echo "usage: tests/run.sh [--quick]" >&2; exit 2 ;;
  esac
done

results=$root/build/results
rm -rf "$results"
mkdir -p "$results"

# check NAME COMMAND...: one check that passes or fails as a whole.
check() {
  local name=$1
  shift
  say "$name"
  if "$@"; then echo "1 0" > "$results/$name.count"; else echo "0 1" > "$results/$name.count"; fi
}

# suite NAME COMMAND...: a runner that writes $results/NAME.xml (JUnit).
suite() {
  local name=$1
  shift
  say "$name"
  "$@" || echo "$?" > "$results/$name.failed"
}

# ctest_suite NAME BUILD [OPTION...]
ctest_suite() {
  local name=$1 tree=$2
  shift 2
  suite "$name" "$ctest" --test-dir "$tree" --output-on-failure --no-tests=error -j2 --progress \
    --output-junit "$results/$name.xml" "$@"
}

build_preset() {
  use_ccache
  "$cmake" --preset "$1" > "build/configure-$1.log" || { cat "build/configure-$1.log"; return 1; }
  "$cmake" --build "build/$1" "${@:2}"
}

wheel_works() {
  PATH=$(dirname "$cmake"):$PATH "$venv/bin/pip" wheel -q --no-deps --no-build-isolation . -w build/wheel \
    --config-settings build-dir=build/release --config-settings cmake.define.QEFF_DEV=ON &&
    "$venv/bin/python" -m venv --clear build/wheel-venv &&
    build/wheel-venv/bin/pip install -q --disable-pip-version-check build/wheel/qeff-*.whl &&
    (cd build/wheel-venv && bin/python -c 'import qeff; print(qeff.cpu_info())' && bin/qeff --help > /dev/null)
}

say "set-up"
started=$SECONDS
setup_system $native_packages
$quick || setup_system $cross_packages
setup_python
echo "set-up took $((SECONDS - started)) s"

if ! { setup_build && setup_package; }; then
  echo "0 passed, 1 failed"
  exit 1
fi
ctest_suite release build/release
suite pytest "$venv/bin/python" -m pytest -q --junitxml="$results/pytest.xml"

if ! $quick; then
  check ruff "$venv/bin/ruff" check python tests examples
  check mypy "$venv/bin/mypy"
  check wheel wheel_works

  if build_preset asan-ubsan; then
    ctest_suite asan-ubsan build/asan-ubsan
  else
    echo 1 > "$results/asan-ubsan.failed"
  fi

  if setup_aarch64_root && build_preset aarch64 --target embed_ids qeff_{core,math,quant,format,kernels}_tests; then
    # The emulator, not the program, aborts when a forked child starts threads.
    ctest_suite aarch64 build/aarch64 -L '^(core|math|quant|format|kernels)$' -E 'Fork'
    arm_program=build/aarch64/tests/embed_ids
  else
    echo 1 > "$results/aarch64.failed"
  fi
fi
check isa-levels "$venv/bin/python" tests/isa_levels.py build/release/tests/embed_ids ${arm_program:-}

say "all together, after $((SECONDS / 60)) min $((SECONDS % 60)) s"
"$venv/bin/python" .ci/count.py "$results"
