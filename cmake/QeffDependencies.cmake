# Third-party libraries: what the system has first, a pinned release from its home second.
# All of them are private to src/, tests/ and benchmarks/; public headers need none.
include(FetchContent)

# qeff_dependency(<package> <target> <git repository> <tag>)
# find_package(<package>), or a download that provides <target> too.
function(qeff_dependency package target repository tag)
  find_package(${package} QUIET)
  if(TARGET ${target})
    return()
  endif()
  message(STATUS "qeff: ${package} not found, fetching ${tag}")
  FetchContent_Declare(${package} GIT_REPOSITORY ${repository} GIT_TAG ${tag} GIT_SHALLOW ON SYSTEM)
  FetchContent_MakeAvailable(${package})
endfunction()

# qeff_header_dependency(<name> <header> <git repository> <tag> [<folder of the header>])
# Provides the interface target qeff_<name> for a library that is one folder of headers.
function(qeff_header_dependency name header repository tag)
  find_path(QEFF_${name}_INCLUDE_DIR ${header})
  mark_as_advanced(QEFF_${name}_INCLUDE_DIR)
  set(folder ${QEFF_${name}_INCLUDE_DIR})
  if(NOT folder)
    message(STATUS "qeff: ${header} not found, fetching ${tag}")
    FetchContent_Declare(${name} GIT_REPOSITORY ${repository} GIT_TAG ${tag} GIT_SHALLOW ON SOURCE_SUBDIR none)
    FetchContent_MakeAvailable(${name})
    set(folder ${${name}_SOURCE_DIR}/${ARGN})
  endif()
  add_library(qeff_${name} INTERFACE)
  target_include_directories(qeff_${name} SYSTEM INTERFACE ${folder})
endfunction()

set(JSON_BuildTests OFF)
set(FMT_INSTALL OFF)
set(EIGEN_BUILD_TESTING OFF)
set(BENCHMARK_ENABLE_TESTING OFF)
set(INSTALL_GTEST OFF)

if(CMAKE_CROSSCOMPILING)
  # Config packages of the build machine are header-only here; see cmake/aarch64-linux-gnu.cmake.
  include(QeffCrossDependencies)
else()
  qeff_dependency(Eigen3 Eigen3::Eigen https://gitlab.com/libeigen/eigen.git 3.4.0)
  qeff_dependency(fmt fmt::fmt-header-only https://github.com/fmtlib/fmt.git 9.1.0)
  qeff_dependency(nlohmann_json nlohmann_json::nlohmann_json https://github.com/nlohmann/json.git v3.11.2)
  if(QEFF_DEV)
    qeff_dependency(GTest GTest::gtest_main https://github.com/google/googletest.git release-1.12.1)
    qeff_dependency(benchmark benchmark::benchmark_main https://github.com/google/benchmark.git v1.7.1)
    qeff_dependency(CLI11 CLI11::CLI11 https://github.com/CLIUtils/CLI11.git v2.3.2)
  endif()
endif()
qeff_header_dependency(xxhash xxhash.h https://github.com/Cyan4973/xxHash.git v0.8.1)
find_package(Threads REQUIRED)

# utf8proc is the one library that is linked. If it must be fetched, its single source file is
# compiled into qeff instead (src/CMakeLists.txt), so that installed consumers need not find it.
find_package(utf8proc QUIET MODULE)
if(NOT utf8proc_FOUND)
  message(STATUS "qeff: utf8proc not found, fetching v2.8.0")
  FetchContent_Declare(utf8proc GIT_REPOSITORY https://github.com/JuliaStrings/utf8proc.git
                       GIT_TAG v2.8.0 GIT_SHALLOW ON SOURCE_SUBDIR none)
  FetchContent_MakeAvailable(utf8proc)
endif()
