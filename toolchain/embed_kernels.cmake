# Writes ${OUT}: every ROOT/**/*.comp, and every piece of such, ROOT/**/*.glsl, as bytes, and the table esker__kernel_sources (src/gpu/gpu.h), sorted by name.
file(GLOB_RECURSE files RELATIVE "${ROOT}" "${ROOT}/*.comp" "${ROOT}/*.glsl")
list(SORT files)
set(arrays "")
set(table "")
set(count 0)
foreach(file IN LISTS files)
  file(READ "${ROOT}/${file}" hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "\\.comp$" "" name "${file}")
  file(SIZE "${ROOT}/${file}" size)
  string(APPEND arrays "static const unsigned char text_${count}[] = {${bytes}0};\n")
  string(APPEND table "    {\"${name}\", text_${count}, ${size}},\n")
  math(EXPR count "${count} + 1")
endforeach()
if(count EQUAL 0)
  set(table "    {0, 0, 0},\n")
endif()
file(WRITE "${OUT}.new" "/* Made from glsl/ by toolchain/embed_kernels.cmake. */
#include \"gpu/gpu.h\"
${arrays}const esker__kernel_source esker__kernel_sources[] = {
${table}};
const int esker__n_kernel_sources = ${count};
")
file(RENAME "${OUT}.new" "${OUT}")
