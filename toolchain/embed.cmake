# Writes ${OUT}, a table of files of ROOT as bytes, sorted by name, for KIND
#   kernels   every ROOT/**/*.comp, and every piece of such, ROOT/**/*.glsl: esker__kernel_sources (src/gpu/gpu.h); pieces keep their ending
#   models    every ROOT/*.json: bench_sources (src/cli/bench.h)
if(KIND STREQUAL "kernels")
  file(GLOB_RECURSE files RELATIVE "${ROOT}" "${ROOT}/*.comp" "${ROOT}/*.glsl")
  set(header "gpu/gpu.h")
  set(type "esker__kernel_source")
  set(cast "")
  set(n "esker__n_kernel_sources")
else()
  file(GLOB files RELATIVE "${ROOT}" "${ROOT}/*.json")
  set(header "bench.h")
  set(type "bench_source")
  set(cast "(const char *)")
  set(n "bench_n_sources")
endif()
list(SORT files)
set(arrays "")
set(table "")
set(count 0)
foreach(file IN LISTS files)
  file(READ "${ROOT}/${file}" hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "\\.(comp|json)$" "" name "${file}")
  file(SIZE "${ROOT}/${file}" size)
  string(APPEND arrays "static const unsigned char text_${count}[] = {${bytes}0};\n")
  string(APPEND table "    {\"${name}\", ${cast}text_${count}, ${size}},\n")
  math(EXPR count "${count} + 1")
endforeach()
if(count EQUAL 0)
  set(table "    {0, 0, 0},\n")
endif()
file(WRITE "${OUT}.new" "/* Made from the ${KIND} by toolchain/embed.cmake. */
#include \"${header}\"
${arrays}const ${type} ${type}s[] = {
${table}};
const int ${n} = ${count};
")
file(RENAME "${OUT}.new" "${OUT}")
