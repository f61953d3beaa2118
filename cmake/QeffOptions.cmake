# Compiler options that every target of the project shares: the target qeff_options.

add_library(qeff_options INTERFACE)
target_compile_features(qeff_options INTERFACE cxx_std_20)

# Float results are part of the contract: no contraction to FMA behind our back, no fast-math.
target_compile_options(qeff_options INTERFACE -ffp-contract=off)

if(QEFF_DEV)
  target_compile_options(qeff_options INTERFACE -Wall -Wextra -Wconversion -Wshadow -Werror
    -Wno-restrict)  # GCC 12 sees overlaps in std::string that are none (its bug 105651)
endif()

if(QEFF_SANITIZE)
  target_compile_options(qeff_options INTERFACE -fsanitize=${QEFF_SANITIZE} -fno-sanitize-recover=all
                                                -fno-omit-frame-pointer)
  target_link_options(qeff_options INTERFACE -fsanitize=${QEFF_SANITIZE})
endif()

# Objects go into static libraries and into the Python module alike.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
