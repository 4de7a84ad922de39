# Writes ${OUT}: every ROOT/*.json as bytes, and the table bench_sources (src/cli/bench.h), sorted by name.
file(GLOB files RELATIVE "${ROOT}" "${ROOT}/*.json")
list(SORT files)
set(arrays "")
set(table "")
set(count 0)
foreach(file IN LISTS files)
  file(READ "${ROOT}/${file}" hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "\\.json$" "" name "${file}")
  file(SIZE "${ROOT}/${file}" size)
  string(APPEND arrays "static const unsigned char text_${count}[] = {${bytes}0};\n")
  string(APPEND table "    {\"${name}\", (const char *)text_${count}, ${size}},\n")
  math(EXPR count "${count} + 1")
endforeach()
file(WRITE "${OUT}.new" "/* Made from tests/bench/models/ by toolchain/embed_models.cmake. */
#include \"bench.h\"
${arrays}const bench_source bench_sources[] = {
${table}};
const int bench_n_sources = ${count};
")
file(RENAME "${OUT}.new" "${OUT}")
