# What the cross files share: Debian's cross compiler for ESKER_CROSS_TRIPLET, and libraries of that architecture beside our own
# (multiarch), which pkg-config finds in the triplet's folder.
set(CMAKE_C_COMPILER ${ESKER_CROSS_TRIPLET}-gcc)
set(ESKER_PKG_CONFIG_LIBDIR "/usr/lib/${ESKER_CROSS_TRIPLET}/pkgconfig:/usr/share/pkgconfig"
    CACHE STRING "Where pkg-config looks, and nowhere else")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ESKER_PKG_CONFIG_LIBDIR)
set(ENV{PKG_CONFIG_PATH} "")
set(ENV{PKG_CONFIG_LIBDIR} "${ESKER_PKG_CONFIG_LIBDIR}")
if(CMAKE_SYSROOT)
  set(ENV{PKG_CONFIG_SYSROOT_DIR} "${CMAKE_SYSROOT}")
endif()
set(CMAKE_LIBRARY_ARCHITECTURE ${ESKER_CROSS_TRIPLET})
set(CMAKE_FIND_ROOT_PATH "/usr/${ESKER_CROSS_TRIPLET}" "/usr/lib/${ESKER_CROSS_TRIPLET}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
