# Install the library into an empty prefix and build and run consumer/ against it, once through find_package() and once through
# pkg-config, after moving the prefix: nothing installed may know where it was built or put.
#   cmake -DMODE=shared|static -DSOURCE=... -DBUILD=... -DWORK=... -DCC=... -DGENERATOR=... -DVERSION=... -P run.cmake
# "shared" installs the build tree at BUILD. "static" first builds the library alone, without optimisation, as a static one.
set(ENV{DESTDIR})
function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${what} failed (${status}): ${ARGN}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${WORK}/first" "${WORK}/moved" "${WORK}/consumer")
file(MAKE_DIRECTORY "${WORK}")
if(MODE STREQUAL "static")
  run("configuring" "${CMAKE_COMMAND}" -S "${SOURCE}" -B "${WORK}/library" -G "${GENERATOR}" "-DCMAKE_C_COMPILER=${CC}"
      -DCMAKE_BUILD_TYPE=Debug -DBUILD_SHARED_LIBS=OFF -DESKER_TOOLS=OFF -DESKER_DEMOS=OFF -DESKER_TESTS=OFF)
  run("building" "${CMAKE_COMMAND}" --build "${WORK}/library")
  set(BUILD "${WORK}/library")
endif()
run("installing" "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${WORK}/first")
file(RENAME "${WORK}/first" "${WORK}/moved")

file(GLOB_RECURSE installed RELATIVE "${WORK}/moved" "${WORK}/moved/*.cmake" "${WORK}/moved/*.pc")
foreach(file IN LISTS installed)
  file(READ "${WORK}/moved/${file}" text)
  foreach(path "${SOURCE}" "${WORK}/first")
    string(FIND "${text}" "${path}" at)
    if(NOT at EQUAL -1)
      message(FATAL_ERROR "installed ${file} names ${path}")
    endif()
  endforeach()
endforeach()

run("find_package" "${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}/consumer" -B "${WORK}/consumer" -G "${GENERATOR}"
    "-DCMAKE_C_COMPILER=${CC}" "-DCMAKE_PREFIX_PATH=${WORK}/moved" "-DWANT_VERSION=${VERSION}")
run("building with CMake" "${CMAKE_COMMAND}" --build "${WORK}/consumer")
run("the CMake consumer" "${WORK}/consumer/consumer")
message(STATUS "find_package, ${MODE}: ${output}")

file(GLOB_RECURSE pc "${WORK}/moved/*/esker.pc")
get_filename_component(pc_dir "${pc}" DIRECTORY)
get_filename_component(lib_dir "${pc_dir}" DIRECTORY)
set(ENV{PKG_CONFIG_PATH} "${pc_dir}:$ENV{PKG_CONFIG_PATH}")
run("pkg-config" pkg-config --modversion esker)
string(STRIP "${output}" version)
if(NOT version STREQUAL VERSION)
  message(FATAL_ERROR "esker.pc says version ${version}, the project is ${VERSION}")
endif()
run("pkg-config" pkg-config --cflags --libs esker)
separate_arguments(flags UNIX_COMMAND "${output}")
run("building with pkg-config" "${CC}" -std=c11 "-DWANT_VERSION=\"${version}\"" "${CMAKE_CURRENT_LIST_DIR}/consumer/main.c"
    ${flags} "-Wl,-rpath,${lib_dir}" -o "${WORK}/consumer/with-pkg-config")
run("the pkg-config consumer" "${WORK}/consumer/with-pkg-config")
message(STATUS "pkg-config, ${MODE}: ${output}")

if(EXISTS "${WORK}/moved/bin/esker")
  run("the installed command" "${WORK}/moved/bin/esker" --version)
  message(STATUS "bin/esker: ${output}")
endif()
