# What `cmake --install` puts where: the library, its headers, the command, the example models, and what lets others find it:
# a CMake package (find_package(esker), target esker::esker) and esker.pc for pkg-config.
include(CMakePackageConfigHelpers)

set(ESKER_PACKAGE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/esker")

install(TARGETS esker EXPORT esker-targets
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/esker" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/demo/models" DESTINATION "${CMAKE_INSTALL_DATADIR}/esker"
        FILES_MATCHING PATTERN "*.json")

if(TARGET esker_cli)
  # The command finds the library beside itself wherever the prefix is moved to. Packagers: CMAKE_SKIP_INSTALL_RPATH.
  file(RELATIVE_PATH library_dir "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBDIR}")
  set_target_properties(esker_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${library_dir}")
  install(TARGETS esker_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()

install(EXPORT esker-targets NAMESPACE esker:: DESTINATION "${ESKER_PACKAGE_DIR}")
set(ESKER_STATIC "")
if(NOT BUILD_SHARED_LIBS)
  set(ESKER_STATIC "${ESKER_LINK_MODULES}")
endif()
configure_package_config_file("${PROJECT_SOURCE_DIR}/toolchain/esker-config.cmake.in"
                              "${PROJECT_BINARY_DIR}/esker-config.cmake" INSTALL_DESTINATION "${ESKER_PACKAGE_DIR}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/esker-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/esker-config.cmake" "${PROJECT_BINARY_DIR}/esker-config-version.cmake"
        DESTINATION "${ESKER_PACKAGE_DIR}")

# esker.pc describes the library that is installed beside it. A shared one carries its own needs, and its headers have none; a
# static one names them where every link sees them, so that plain `pkg-config --libs esker` is right for both.
set(ESKER_PC_REQUIRES "")
set(ESKER_PC_LIBS "")
if(NOT BUILD_SHARED_LIBS)
  list(JOIN ESKER_LINK_MODULES " " ESKER_PC_REQUIRES)
  set(ESKER_PC_LIBS " -lm -pthread")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(ESKER_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
else()
  file(RELATIVE_PATH up "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
  string(REGEX REPLACE "/$" "" up "${up}")
  set(ESKER_PC_PREFIX "\${pcfiledir}/${up}")
endif()
foreach(dir LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
    set(ESKER_PC_${dir} "${CMAKE_INSTALL_${dir}}")
  else()
    set(ESKER_PC_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
  endif()
endforeach()
configure_file("${PROJECT_SOURCE_DIR}/toolchain/esker.pc.in" "${PROJECT_BINARY_DIR}/esker.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/esker.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
