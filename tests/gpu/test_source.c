/* Reading the source of kernels: integer expressions, what conditions leave, and which blocks can hold halves. No device. */
#include "support/test.h"

#include <string.h>

#include "gpu/gpu.h"
#include "gpu/internal.h"
#include "gpu/source.h"

static const struct {
    const char *text;
    int64_t value;
} expressions[] = {
    {"1 + 2 * 3", 7},      {"(1 + 2) * 3", 9},
    {"8 >> 1 << 2", 16},   {"1 << 3 == 8", 1},
    {"!0 && ~0 == -1", 1}, {"7 & 3 | 8 ^ 12", 7},
    {"10 % 4 - 3 / 2", 1}, {"0x10u", 16},
    {"TWO * SUM", 7}, /* as text: 2 * 3 + 1 */
    {"TWO * (SUM)", 8},    {"defined TWO && defined(SUM) && !defined(NOTHING)", 1},
    {"NOTHING", 0},        {"2 <= 1 || 3 >= 3", 1},
};

static const char *const bad_expressions[] = {"", "1 +", "(1", "1 / 0", "1 << 64", "1.5", "2 2", "LOOP", "f(1)", "\"a\""};

static void expressions_are_evaluated(void **state)
{
    (void)state;
    esker__text out = {0};
    esker__macros macros = {0};
    int64_t value;
    const char *source = "#define TWO 2 // two\n#define SUM 3 + 1\n#define LOOP LOOP + 1\n#define f(x) x\n";
    assert_ok(esker__active_source("test", source, &out, &macros));
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++) {
        const char *text = expressions[i].text;
        if (!esker__macros_evaluate(&macros, text, strlen(text), &value) || value != expressions[i].value)
            fail_msg("\"%s\" is %lld, wanted %lld", text, (long long)value, (long long)expressions[i].value);
    }
    for (size_t i = 0; i < sizeof bad_expressions / sizeof *bad_expressions; i++)
        if (esker__macros_evaluate(&macros, bad_expressions[i], strlen(bad_expressions[i]), &value))
            fail_msg("\"%s\" has a value, %lld", bad_expressions[i], (long long)value);
    esker__text_finish(&out);
    esker__macros_finish(&macros);
}

/* `source` becomes `want`, or fails and says `want`. */
static const struct {
    const char *source, *want;
    bool fails;
} sources[] = {
    {"#define A 1\n#if A\nx\n#else\ny\n#endif\nz\n", "#define A 1\n\nx\n\n\n\nz\n", false},
    {"#ifndef A\n#define A 3\n#endif\n#if A == 2\nx\n#elif A == 3\ny\n#elif A == 3\nz\n#endif\n",
     "\n#define A 3\n\n\n\n\ny\n\n\n\n", false},
    {"#if 0\n#if NOT AN EXPRESSION\nx\n#else\ny\n#endif\n#else\nz\n#endif", "\n\n\n\n\n\n\nz\n", false},
    {"#define LONG a \\\n    b\n#undef LONG\n#ifdef LONG\nx\n#endif\n", "#define LONG a \\\n    b\n#undef LONG\n\n\n\n",
     false},
    {"// #if 0\n/* #endif */ x\n", "// #if 0\n/* #endif */ x\n", false},
    {"#if 1 // one\nx\n#endif // 1\n", "\nx\n\n", false},
    {"#if A B\n#endif\n", "no integer expression: \"#if A B\"", true},
    {"#if 1\n", "a condition without an end", true},
    {"#endif\n", "no condition is open", true},
};

static void conditions_are_decided(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        esker__text out = {0};
        esker__macros macros = {0};
        esker_status st = esker__active_source("test", sources[i].source, &out, &macros);
        if (sources[i].fails) assert_fails(st, ESKER_ERR_COMPILE, sources[i].want);
        if (!sources[i].fails) {
            assert_ok(st);
            assert_string_equal(out.chars, sources[i].want);
        }
        esker__text_finish(&out);
        esker__macros_finish(&macros);
    }
}

/* What is changed, and that the rest is not. */
static const struct {
    const char *source, *want; /* NULL: the block cannot hold halves */
} blocks[] = {
    {"layout(std430, binding = 1) readonly buffer X { vec4 x[]; };\nvoid f() { vec4 a = x[i + x[2].w] * 2.0; }",
     "readonly buffer X { uvec2 x_half[]; };\nvoid f() { vec4 a = halves_load4(x_half[i + halves_load4(x_half[2]).w]) * "
     "2.0; }"},
    {"layout(std430, binding = 1) readonly buffer X { float x[]; };\n#define AT(e) x[e]\n",
     "readonly buffer X { uint x_half[]; };\n#define AT(e) halves_load1(x_half[int(e) >> 1], int(e))\n"},
    {"#define TYPE vec2\nlayout(std430, binding = 0 + 1) writeonly buffer X { TYPE x[]; };\nvoid f() { if (a) x[i] = "
     "vec2(b, c); }",
     "writeonly buffer X { uint x_half[]; };\nvoid f() { if (a) x_half[i] = packHalf2x16( vec2(b, c)); }"},
    {"layout(std430, binding = 1) writeonly buffer X { vec4 x[]; };\n#define COMPONENT(x) a.x\nvoid f() { x[0] = v; }",
     "writeonly buffer X { uvec2 x_half[]; };\n#define COMPONENT(x) a.x\nvoid f() { x_half[0] = halves_store4( v); }"},
    {"layout(std430, binding = 1) writeonly buffer X { float x[]; };\nvoid f() { if (a) x[i + 1u] = b[x.y]; }",
     "void f() { if (a) x_put(uint(i + 1u),  b[x.y]); }"},
    {"layout(std430, binding = 1) writeonly buffer X { float x[]; };\nvoid f() { x[0] = 1.0; }",
     "layout(std430, binding = 1) buffer X { uint x_half[]; }; void x_word("},
    {"layout(std430, binding = 1) writeonly buffer X { float x[]; };\nvoid f() { halves_put4(x, at, 4u, v); }",
     "void f() { x_put4( at, 4u, v); }"},
    {"layout(std430, binding = 1) writeonly buffer X { float x[]; };\n#define TWO(at) halves_put2(x, at, v); x[at] = "
     "1.0;\n",
     "#define TWO(at) x_put2( at, v); x_put(uint(at),  1.0);"},
    {"#define BLOCKS layout(std430, binding = 1) readonly buffer X { float x[]; };\nprecision highp "
     "float;\nBLOCKS\n#define F(e) "
     "a = x[e];\n",
     "#define F(e) a = halves_load1(x_half[int(e) >> 1], int(e));"},
    {"#define A(e) e\n#ifndef A\n#define B\n#else\nlayout(std430, binding = 1) readonly buffer X { float x[]; };\n#endif\n",
     "{ uint x_half[]; };"},
    {"layout(std430, binding = 1) writeonly buffer X { float x[]; };\nvoid f() { x[0]++; }", NULL},
    {"layout(std430, binding = 1) readonly buffer X { float x[]; };\nvoid f() { halves_put4(x, at, 4u, v); }", NULL},
    {"layout(std430, binding = 1) writeonly buffer X { vec4 x[]; };\nvoid f() { x[0].y = 1.0; }", NULL},
    {"layout(std430, binding = 1) writeonly buffer X { vec4 x[]; };\nvoid f() { x[0] += v; }", NULL},
    {"layout(std430, binding = 1) coherent buffer X { vec4 x[]; };\nvoid f() { x[0] = v; }", NULL},
    {"layout(std430, binding = 1) readonly buffer X { uint x[]; };\nvoid f() { a = x[0]; }", NULL},
    {"layout(std430, binding = 1) writeonly buffer X { vec4 xs[]; };\n#define STORE(a) a[0] = v\nvoid f() { STORE(xs); }",
     NULL},
};

static void blocks_hold_halves(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        esker__text out = {0};
        esker_status st = esker__half_source("test", blocks[i].source, 2, &out);
        if (!blocks[i].want) assert_fails(st, ESKER_ERR_INTERNAL, "0x2");
        if (blocks[i].want) {
            assert_ok(st);
            if (!strstr(out.chars, blocks[i].want)) fail_msg("\"%s\" has no \"%s\"", out.chars, blocks[i].want);
        }
        esker__text_finish(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_are_evaluated),
        cmocka_unit_test(conditions_are_decided),
        cmocka_unit_test(blocks_hold_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
