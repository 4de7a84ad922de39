/*
 * Storage blocks of halves, as a change of a kernel's source: with FLOAT16, a mask of bindings, among its definitions,
 *     layout(std430, binding = 0) readonly buffer X { vec4 x[]; };      becomes    ... { uvec2 x_half[]; };
 * x[i] becomes halves_load4(x_half[i]), and of a block that is only written y[i] = v; becomes y_half[i] = halves_store4(v). So for vec2, in a word. Single
 * floats are read, two from a word, and written by y_put(i, v), which leaves the other half of the word to whoever writes it at the same time: two atomic operations. A kernel
 * that has neighbours says halves_put4(y, at, n, v), the first n of v, or halves_put2(y, at, v), where `at` is even, under a condition on FLOAT16, and whole words are stored as such.
 * A condition on a bit of FLOAT16 may change what is done with that block, and no other.
 *
 * The kernel computes in float32 as before. Conditions are decided here, so that a name means one array: what the driver gets is what they leave.
 * Nothing else is parsed but tokens and brackets: where such a name stands in front of a bracket it must be that array.
 */
#include "gpu/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "gpu/internal.h"

#define MAX_BLOCKS 32
#define PUT2       "halves_put2" /* two neighbours, the first of which is even */
#define PUT4       "halves_put4" /* the first n of four */

typedef struct block {
    esker__block_declaration declared;
    int binding, width; /* width: floats of an element; 0: others than floats */
    bool able;
} block;

typedef struct blocks {
    block list[MAX_BLOCKS];
    int n;
} blocks;

static block *find_block(blocks *all, esker__token name)
{
    for (int i = 0; i < all->n; i++) {
        esker__token array = all->list[i].declared.array;
        if (name.n == array.n && !memcmp(name.chars, array.chars, name.n)) return &all->list[i];
    }
    return NULL;
}

/* Where what is assigned behind the token "=" ends. */
static const char *end_of_value(esker__token equals)
{
    int depth = 0;
    for (esker__token t = esker__token_behind(equals); t.n; t = esker__token_behind(t)) {
        if (depth == 0 && (esker__token_is(t, ";") || esker__token_is(t, ")") || esker__token_is(t, ","))) return t.chars;
        depth += esker__token_is(t, "(") + esker__token_is(t, "[") - esker__token_is(t, ")") - esker__token_is(t, "]");
    }
    return NULL;
}

static int width_of(const esker__macros *macros, esker__token type)
{
    char word[40];
    esker__macros_word(macros, type, word);
    return !strcmp(word, "vec4") ? 4 : !strcmp(word, "vec2") ? 2 : !strcmp(word, "float");
}

/* Adds the block that begins with the token, if one does. */
static esker_status add_block(esker__token t, const esker__macros *macros, blocks *out)
{
    block b;
    int64_t number;
    if (!esker__token_is(t, "layout") || !esker__block_declaration_read(t, &b.declared) ||
        !esker__macros_evaluate(macros, b.declared.binding.chars, b.declared.binding.n, &number) || number < 0 ||
        number >= ESKER__MAX_STORAGE)
        return ESKER_OK;
    if (out->n == MAX_BLOCKS) return esker__fail(ESKER_ERR_INTERNAL, "a kernel with more than %d blocks", MAX_BLOCKS);
    b.binding = (int)number;
    b.width = width_of(macros, b.declared.type);
    b.able = b.width && (b.declared.is_writeonly || b.declared.is_readonly);
    for (int i = 0; i < out->n; i++) { /* two arrays with one number, or name */
        block *other = &out->list[i];
        if (other->binding == b.binding || find_block(out, b.declared.array) == other) other->able = b.able = false;
    }
    out->list[out->n++] = b;
    return ESKER_OK;
}

/* Elements of it are written one by one. */
static bool is_put(const block *b)
{
    return b->declared.is_writeonly && b->width == 1;
}

static bool is_put_call(esker__token t)
{
    return esker__token_is(t, PUT2) || esker__token_is(t, PUT4);
}

/* Whether what is done with the array at the token is only what a block of halves can do; `called`: it is the argument of PUT2 or PUT4. */
static bool is_plain_use(const block *b, esker__token t, bool called)
{
    esker__token open = esker__token_behind(t);
    if (called) return is_put(b) && esker__token_is(open, ",");
    if (!esker__token_is(open, "["))
        return t.n == 1 && strchr("xyzw", t.chars[0]); /* a component, as the argument of a macro */
    esker__token close = esker__token_closing(open);
    /* Not y[i].x = v, nor y[i] += v. */
    if (!close.n || esker__is_assigned(close) != b->declared.is_writeonly) return false;
    return !b->declared.is_writeonly || end_of_value(esker__token_behind(close));
}

/* The blocks, each of which can hold halves if all that is done with its array is to read, or all is to write. */
static esker_status collect(const char *source, const esker__macros *macros, blocks *out)
{
    esker_status st = ESKER_OK;
    esker__token before = {source, 0}, first = before; /* the last two */
    out->n = 0;
    for (esker__token t = esker__token_next(source); t.n && st == ESKER_OK; t = esker__token_behind(t))
        st = add_block(t, macros, out);
    for (esker__token t = esker__token_next(source); t.n; first = before, before = t, t = esker__token_behind(t)) {
        block *b = !esker__token_is(before, ".") ? find_block(out, t) : NULL;
        bool called = is_put_call(first) && esker__token_is(before, "(");
        if (b && !(t.chars >= b->declared.begin && t.chars < b->declared.end))
            b->able = b->able && is_plain_use(b, t, called);
    }
    return st;
}

static esker_status prepare(const char *name, const char *source, esker__text *active, esker__macros *macros, blocks *out)
{
    esker_status st = esker__active_source(name, source, active, macros);
    if (st == ESKER_OK) st = collect(active->chars, macros, out);
    return st;
}

esker_status esker__kernel_halves(const char *name, const char *defines, uint32_t *out_read, uint32_t *out_written)
{
    esker__text source = {0}, active = {0}, all_halves = {0};
    esker__macros macros = {0};
    blocks all = {.n = 0};
    *out_read = *out_written = 0;
    if (esker__is_registered_name(name)) return ESKER_OK;
    esker__text_add(&all_halves, "FLOAT16 %u\n%s", ~0u, defines);
    esker_status st = all_halves.failed ? esker__fail_memory(strlen(defines), name)
                                        : esker__kernel_as_written(name, all_halves.chars, &source);
    if (st == ESKER_OK) st = prepare(name, source.chars, &active, &macros, &all);
    for (int i = 0; st == ESKER_OK && i < all.n; i++) {
        const block *b = &all.list[i];
        if (b->able) *(b->declared.is_writeonly ? out_written : out_read) |= 1u << b->binding;
    }
    esker__text_finish(&all_halves);
    esker__text_finish(&source);
    esker__text_finish(&active);
    esker__macros_finish(&macros);
    return st;
}

/* Texel fetches give floats (src/gpu/texel_source.c). */
static const char functions[] =
    "highp vec4 halves_load4(highp uvec2 v) { return vec4(unpackHalf2x16(v.x), unpackHalf2x16(v.y)); } "
    "highp vec4 halves_load4(highp vec4 v) { return v; } "
    "highp vec2 halves_load2(highp uint v) { return unpackHalf2x16(v); } "
    "highp vec2 halves_load2(highp vec2 v) { return v; } "
    "highp float halves_load1(highp vec2 v, int i) { return (i & 1) == 0 ? v.x : v.y; } "
    "highp float halves_load1(highp uint v, int i) { return halves_load1(unpackHalf2x16(v), i); } "
    "highp uvec2 halves_store4(highp vec4 v) { return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw)); } ";

/* Of a block whose elements are written one by one: $ is its array. Of a word that is not ours alone the bits of `mask` are. */
static const char put_functions[] =
    " void $_word(highp uint i, highp uint mask, highp uint bits) { "
    "if (mask == 0xffffffffu) $_half[i] = bits; "
    "else if (mask != 0u) { atomicAnd($_half[i], ~mask); atomicOr($_half[i], bits & mask); } } "
    "void $_put(highp uint i, highp float v) { highp uint up = (i & 1u) << 4u, bits = packHalf2x16(vec2(v, 0.0)) << up; "
    "atomicAnd($_half[i >> 1u], 0xffff0000u >> up); atomicOr($_half[i >> 1u], bits); } "
    "void $_put2(highp uint i, highp vec2 v) { $_half[i >> 1u] = packHalf2x16(v); } "
    "void $_put4(highp uint i, highp uint n, highp vec4 v) { "
    "highp uint a = packHalf2x16(v.xy), b = packHalf2x16(v.zw), at = i >> 1u; "
    "highp uint of_a = n > 1u ? 0xffffffffu : n > 0u ? 0xffffu : 0u, of_b = n > 3u ? 0xffffffffu : n > 2u ? 0xffffu : 0u; "
    "bool odd = (i & 1u) != 0u; "
    "$_word(at, odd ? of_a << 16u : of_a, odd ? a << 16u : a); "
    "$_word(at + 1u, odd ? of_a >> 16u | of_b << 16u : of_b, odd ? a >> 16u | b << 16u : b); "
    "if (odd) $_word(at + 2u, of_b >> 16u, b >> 16u); }";

typedef struct change {
    blocks *all;
    uint32_t mask;
    esker__text *out;
} change;

static bool is_changed(const change *c, const block *b)
{
    return b && (c->mask >> b->binding & 1);
}

static void add_put_functions(change *c, esker__token array)
{
    for (const char *at = put_functions; *at;) {
        size_t n = strcspn(at, "$");
        esker__text_add_bytes(c->out, at, n);
        at += n;
        if (*at) esker__text_add(c->out, "%.*s", (int)array.n, array.chars), at++;
    }
}

/* A declaration: what is behind it is next. */
static const char *add_declaration(change *c, const block *b)
{
    const esker__block_declaration *d = &b->declared;
    const char *copied = d->begin, *behind = d->array.chars + d->array.n;
    for (esker__token t = esker__token_next(copied); is_put(b) && t.chars < d->type.chars; t = esker__token_behind(t)) {
        if (!esker__token_is(t, "writeonly")) continue; /* what is written by atomic operations is read, too */
        esker__text_add_bytes(c->out, copied, (size_t)(t.chars - copied));
        copied = esker__token_behind(t).chars;
    }
    esker__text_add_bytes(c->out, copied, (size_t)(d->type.chars - copied));
    esker__text_add(c->out, "%s %.*s_half", b->width == 4 ? "uvec2" : "uint", (int)d->array.n, d->array.chars);
    esker__text_add_bytes(c->out, behind, (size_t)(d->end - behind));
    if (is_put(b)) add_put_functions(c, d->array);
    return d->end;
}

static void add_until(change *c, const char *from, const char *to);

/* An access: what is behind it is next. */
static const char *add_access(change *c, const block *b, esker__token t)
{
    esker__token open = esker__token_behind(t), close = esker__token_closing(open), equals = esker__token_behind(close);
    if (b->declared.is_writeonly) {
        const char *end = end_of_value(equals);
        esker__text_add(c->out, "%.*s%s", (int)t.n, t.chars, b->width == 1 ? "_put(uint(" : "_half[");
        add_until(c, open.chars + 1, close.chars);
        esker__text_add(c->out, b->width == 4 ? "] = halves_store4(" : b->width == 2 ? "] = packHalf2x16(" : "), ");
        add_until(c, equals.chars + 1, end);
        esker__text_add(c->out, ")");
        return end;
    }
    static const char *const begins[] = {"", "halves_load1(%.*s_half[int(", "halves_load2(%.*s_half[", "",
                                         "halves_load4(%.*s_half["};
    esker__text_add(c->out, begins[b->width], (int)t.n, t.chars);
    add_until(c, open.chars + 1, close.chars);
    esker__text_add(c->out, b->width == 1 ? ") >> 1], int(" : "])");
    if (b->width == 1) {
        add_until(c, open.chars + 1, close.chars);
        esker__text_add(c->out, "))");
    }
    return close.chars + 1;
}

/* What becomes of the token, if it changes: what is behind that is next, else NULL. */
static const char *add_changed(change *c, esker__token t)
{
    for (int i = 0; i < c->all->n; i++)
        if (t.chars == c->all->list[i].declared.begin && is_changed(c, &c->all->list[i]))
            return add_declaration(c, &c->all->list[i]);
    if (is_put_call(t)) {
        esker__token array = esker__token_behind(esker__token_behind(t)), comma = esker__token_behind(array);
        if (!is_changed(c, find_block(c->all, array))) return NULL;
        esker__text_add(c->out, "%.*s_put%c(", (int)array.n, array.chars, t.chars[t.n - 1]);
        return comma.chars + 1;
    }
    block *b = find_block(c->all, t);
    return is_changed(c, b) && esker__token_is(esker__token_behind(t), "[") ? add_access(c, b, t) : NULL;
}

static void add_until(change *c, const char *from, const char *to)
{
    const char *copied = from;
    char before = 0;
    for (esker__token t = esker__token_next(from); t.n && t.chars < to; t = esker__token_behind(t)) {
        esker__text_add_bytes(c->out, copied, (size_t)(t.chars - copied));
        copied = t.chars;
        const char *behind = before != '.' ? add_changed(c, t) : NULL;
        before = t.chars[0];
        if (!behind) continue;
        copied = behind;
        t = (esker__token){behind - 1, 1};
        before = t.chars[0];
    }
    esker__text_add_bytes(c->out, copied, (size_t)(to - copied));
}

/* The first token that is part of no line for the preprocessor. */
static const char *first_statement(const char *source)
{
    esker__token t = esker__token_next(source);
    while (t.n && esker__is_in_directive(source, t.chars)) t = esker__token_behind(t);
    return t.chars;
}

esker_status esker__half_source(const char *name, const char *source, uint32_t mask, esker__text *out)
{
    esker__text active = {0};
    esker__macros macros = {0};
    blocks all = {.n = 0};
    esker_status st = prepare(name, source, &active, &macros, &all);
    uint32_t able = 0;
    for (int i = 0; st == ESKER_OK && i < all.n; i++)
        if (all.list[i].able) able |= 1u << all.list[i].binding;
    if (st == ESKER_OK && (mask & ~able))
        st = esker__fail(ESKER_ERR_INTERNAL, "%s: FLOAT16 0x%x, blocks 0x%x can hold halves", name, mask, able);
    if (st == ESKER_OK) {
        change c = {.all = &all, .mask = mask, .out = out};
        const char *first = first_statement(active.chars);
        add_until(&c, active.chars, first);
        esker__text_add(out, "%s", functions);
        add_until(&c, first, active.chars + active.n_chars);
        if (out->failed) st = esker__fail_memory(active.n_chars, name);
    }
    esker__text_finish(&active);
    esker__macros_finish(&macros);
    return st;
}

bool esker__wants_halves(const char *defines, uint32_t *out_mask)
{
    static const char name[] = "FLOAT16 ";
    const char *at = defines ? strstr(defines, name) : NULL;
    while (at && at > defines && at[-1] != '\n') at = strstr(at + 1, name);
    if (at) *out_mask = (uint32_t)strtoul(at + strlen(name), NULL, 10);
    return at != NULL;
}
