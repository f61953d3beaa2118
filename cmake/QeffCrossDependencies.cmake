# Dependencies of a cross build: header-only libraries of the build machine (they are the same text
# for every architecture), copied behind one include folder so that /usr/include itself is never on
# the path, and GoogleTest compiled from Debian's sources in /usr/src/googletest.

set(QEFF_CROSS_INCLUDE ${PROJECT_BINARY_DIR}/cross-include)
file(MAKE_DIRECTORY ${QEFF_CROSS_INCLUDE})

# qeff_cross_headers(<target> <name in the include folder> <path on the build machine> [<definition>])
function(qeff_cross_headers target name path)
  if(NOT EXISTS ${path})
    message(FATAL_ERROR "qeff: the cross build needs ${path} (see docs or .ci/setup.sh for the packages)")
  endif()
  file(CREATE_LINK ${path} ${QEFF_CROSS_INCLUDE}/${name} SYMBOLIC)
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} SYSTEM INTERFACE ${QEFF_CROSS_INCLUDE})
  target_compile_definitions(${target} INTERFACE ${ARGN})
endfunction()

qeff_cross_headers(Eigen3::Eigen Eigen /usr/include/eigen3/Eigen)
qeff_cross_headers(fmt::fmt-header-only fmt /usr/include/fmt FMT_HEADER_ONLY=1)
qeff_cross_headers(nlohmann_json::nlohmann_json nlohmann /usr/include/nlohmann)
qeff_cross_headers(CLI11::CLI11 CLI /usr/include/CLI)
file(CREATE_LINK /usr/include/xxhash.h ${QEFF_CROSS_INCLUDE}/xxhash.h SYMBOLIC)
set(QEFF_xxhash_INCLUDE_DIR ${QEFF_CROSS_INCLUDE} CACHE PATH "" FORCE)

if(QEFF_DEV)
  add_subdirectory(/usr/src/googletest/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL SYSTEM)
endif()
