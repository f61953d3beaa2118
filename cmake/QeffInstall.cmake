# Install tree and package: find_package(qeff CONFIG) gives qeff::headers and qeff::qeff.
include(CMakePackageConfigHelpers)

set(QEFF_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/qeff)
install(TARGETS qeff_headers qeff EXPORT qeffTargets COMPONENT dev FILE_SET HEADERS COMPONENT dev)
install(EXPORT qeffTargets NAMESPACE qeff:: DESTINATION ${QEFF_CMAKE_DIR} COMPONENT dev)

set(QEFF_NEEDS_UTF8PROC ${utf8proc_FOUND})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/qeffConfig.cmake.in ${PROJECT_BINARY_DIR}/qeffConfig.cmake
                              INSTALL_DESTINATION ${QEFF_CMAKE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/qeffConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/qeffConfig.cmake ${PROJECT_BINARY_DIR}/qeffConfigVersion.cmake
              ${PROJECT_SOURCE_DIR}/cmake/Findutf8proc.cmake
        DESTINATION ${QEFF_CMAKE_DIR} COMPONENT dev)
