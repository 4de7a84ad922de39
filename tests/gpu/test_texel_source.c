/* Reads from storage blocks made texel fetches: the change of a kernel's text. */
#include "support/test.h"

#include <string.h>

#include "base/memory.h"
#include "gpu/internal.h"

static esker__texel_blocks blocks;

/* What the text becomes; esker__free it. */
static char *change(const char *source)
{
    esker__text out = {0};
    esker__texel_source(source, &out, &blocks);
    assert_false(out.failed);
    return out.chars;
}

static void expect(const char *source, const char *want)
{
    char *got = change(source);
    if (strcmp(got, want) != 0) fail_msg("wanted:\n%s\ngot:\n%s", want, got);
    esker__free(got);
}

static void a_read_block_is_a_texture(void **state)
{
    (void)state;
    expect("#version 310 es\n"
           "#define N 3\n"
           "#line 2\n"
           "layout(std430, binding = N + 1) readonly buffer X { vec4 x[]; }; // what it is\n"
           "layout(std430, binding = 0) writeonly buffer Y { vec4 y[]; };\n"
           "void main() { y[gl_GlobalInvocationID.x] = x[gl_GlobalInvocationID.x]; }\n",
           "#version 310 es\n"
           "#extension GL_EXT_texture_buffer : require\n"
           "#define N 3\n"
           "#line 2\n"
           "layout(binding = N + 1) uniform highp samplerBuffer x_vec4;\n"
           "#define TEXEL_x(i) texelFetch(x_vec4, int(i))\n"
           "#line 3 // what it is\n"
           "layout(std430, binding = 0) writeonly buffer Y { vec4 y[]; };\n"
           "void main() { y[gl_GlobalInvocationID.x] = TEXEL_x(gl_GlobalInvocationID.x); }\n");
    assert_int_equal(blocks.n, 1);
    assert_string_equal(blocks.blocks[0].sampler, "x_vec4");
    assert_int_equal(blocks.blocks[0].format, GL_RGBA32F);
}

static void indices_may_be_reads(void **state)
{
    (void)state;
    char *got = change(
        "#version 310 es\n"
        "layout(std430, binding = 0) readonly buffer I { uint index[]; };\n"
        "layout(std430, binding = 1) readonly buffer W { uvec2 words[]; };\n"
        "uint f(uint i) { uint local[2]; return words[index[i + 1u]][local[i & 1u]] + a.words[i] + index_of[i]; }\n");
    assert_non_null(strstr(got, "return TEXEL_words(TEXEL_index(i + 1u))[local[i & 1u]] + a.words[i] + index_of[i];"));
    assert_non_null(strstr(got, "texelFetch(words_uvec2, int(i)).xy"));
    assert_non_null(strstr(got, "usamplerBuffer index_uint;"));
    esker__free(got);
    assert_int_equal(blocks.n, 2);
}

/* The kernel's own conditions choose; what is written, or of a type that textures do not have, stays. */
static void names_with_several_meanings(void **state)
{
    (void)state;
    char *got = change("#version 310 es\n"
                       "#if WIDE\n"
                       "layout(std430, binding = 0) readonly buffer X { vec4 x[]; };\n"
                       "#elif ODD\n"
                       "layout(std430, binding = 0) readonly buffer X { T x[]; };\n"
                       "#elif PART\n"
                       "layout(std430, binding = 0) buffer X { float x[]; };\n"
                       "#else\n"
                       "layout(std430, binding = 0) readonly buffer X { float x[]; };\n"
                       "#endif\n"
                       "float f(uint i) { return x[i].x; }\n");
    assert_int_equal(blocks.n, 2);
    assert_non_null(strstr(got, "#define TEXEL_x(i) texelFetch(x_vec4, int(i))\n#line 4\n#elif ODD\n"));
    assert_non_null(strstr(got, "{ T x[]; };\n#define TEXEL_x(i) x[i]\n#line 6\n#elif PART\n"));
    assert_non_null(strstr(got, "{ float x[]; };\n#define TEXEL_x(i) x[i]\n#line 8\n#else\n"));
    assert_non_null(strstr(got, "#define TEXEL_x(i) texelFetch(x_float, int(i)).x\n#line 10\n#endif\n"));
    assert_non_null(strstr(got, "return TEXEL_x(i).x;"));
    esker__free(got);
}

/* No line can be added inside a definition. */
static void blocks_in_definitions(void **state)
{
    (void)state;
    expect("#version 310 es\n"
           "#define TAIL layout(std430, binding = 3) readonly buffer Side { float side[]; }; float tail(uint i) { return "
           "side[i]; }\n"
           "TAIL\n",
           "#version 310 es\n"
           "#extension GL_EXT_texture_buffer : require\n"
           "#define TAIL layout(binding = 3) uniform highp samplerBuffer side; float tail(uint i) { return "
           "texelFetch(side, int(i)).x; }\n"
           "TAIL\n");
    assert_string_equal(blocks.blocks[0].sampler, "side");
}

static void an_array_of_ones_own_is_both(void **state)
{
    (void)state;
    expect("#version 310 es\n"
           "#define own\n"
           "layout(std430, binding = 2) own buffer S { vec4 s[]; };\n"
           "void main() { vec4 v = s[n] + s[k[1]]; s[k[1]] = v; if (s[n] == v) s[n] = s[0]; }\n",
           "#version 310 es\n"
           "#extension GL_EXT_texture_buffer : require\n"
           "#define own\n"
           "layout(std430, binding = 2) own buffer S { vec4 s[]; };\n"
           "layout(binding = 2) uniform highp samplerBuffer s_vec4;\n"
           "#define TEXEL_s(i) texelFetch(s_vec4, int(i))\n"
           "#line 4\n"
           "void main() { vec4 v = TEXEL_s(n) + TEXEL_s(k[1]); s[k[1]] = v; if (TEXEL_s(n) == v) s[n] = TEXEL_s(0); }\n");
}

static void what_is_not_read_stays(void **state)
{
    (void)state;
    static const char text[] = "#version 310 es\n"
                               "// layout(std430, binding = 0) readonly buffer X { vec4 x[]; };\n"
                               "layout(std430, binding = 0) buffer X { vec4 x[]; };\n"
                               "layout(std140, binding = 0) uniform Params { uint n; };\n"
                               "void main() { x[n] = x[0]; }\n";
    expect(text, text);
    assert_int_equal(blocks.n, 0);
}

/* Of the kernels in glsl/ none has a read-only block that is left out. */
static void all_kernels(void **state)
{
    (void)state;
    int n_read = 0, n_left = 0;
    for (int i = 0; i < esker__n_kernel_sources; i++) {
        const char *text = (const char *)esker__kernel_sources[i].text;
        char *source = calloc(1, esker__kernel_sources[i].n_bytes + 1), *got;
        memcpy(source, text, esker__kernel_sources[i].n_bytes);
        got = change(source);
        n_read += blocks.n;
        for (const char *at = got; (at = strstr(at, ") readonly buffer")); at++) n_left++;
        esker__free(got);
        free(source);
    }
    assert_in_range(n_read, 150, 1000);
    assert_int_equal(n_left, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_block_is_a_texture),
        cmocka_unit_test(indices_may_be_reads),
        cmocka_unit_test(names_with_several_meanings),
        cmocka_unit_test(blocks_in_definitions),
        cmocka_unit_test(what_is_not_read_stays),
        cmocka_unit_test(an_array_of_ones_own_is_both),
        cmocka_unit_test(all_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
