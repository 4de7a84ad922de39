/*
 * Storage blocks of halves, as a change of a kernel's source: with FLOAT16, a mask of bindings, among its definitions,
 *     layout(std430, binding = 0) readonly buffer X { vec4 x[]; };      becomes    ... { uvec2 x_half[]; };
 * x[i] becomes halves_load4(x_half[i]), and of a block that is only written y[i] = v; becomes y_half[i] = halves_store4(v);. So for vec2, in a word; single
 * floats can be read, two from a word, not written. The kernel computes in float32 as before. Conditions are decided here, so that a name means one array: what
 * the driver gets is what they leave. Nothing else is parsed but tokens and brackets: where such a name stands in front of a bracket it must be that array.
 */
#include "gpu/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "gpu/internal.h"

#define MAX_BLOCKS 32

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

/* Adds the block that begins with the token, if one does. Declarations inside of definitions are left as they are. */
static esker_status add_block(const char *source, esker__token t, const esker__macros *macros, blocks *out)
{
    block b;
    int64_t number;
    if (!esker__token_is(t, "layout") || !esker__block_declaration_read(t, &b.declared) ||
        esker__is_in_definition(source, t.chars) ||
        !esker__macros_evaluate(macros, b.declared.binding.chars, b.declared.binding.n, &number) || number < 0 ||
        number >= ESKER__MAX_STORAGE)
        return ESKER_OK;
    if (out->n == MAX_BLOCKS) return esker__fail(ESKER_ERR_INTERNAL, "a kernel with more than %d blocks", MAX_BLOCKS);
    b.binding = (int)number;
    b.width = width_of(macros, b.declared.type);
    b.able = b.declared.is_writeonly ? b.width > 1 : b.declared.is_readonly && b.width;
    for (int i = 0; i < out->n; i++) { /* two arrays with one number, or name */
        block *other = &out->list[i];
        if (other->binding == b.binding || find_block(out, b.declared.array) == other) other->able = b.able = false;
    }
    out->list[out->n++] = b;
    return ESKER_OK;
}

/* Whether what is done with the array at the token is only what a block of halves can do. */
static bool is_plain_use(const block *b, esker__token t)
{
    esker__token open = esker__token_behind(t);
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
    char before = 0;
    out->n = 0;
    for (esker__token t = esker__token_next(source); t.n && st == ESKER_OK; t = esker__token_behind(t))
        st = add_block(source, t, macros, out);
    for (esker__token t = esker__token_next(source); t.n; before = t.chars[0], t = esker__token_behind(t)) {
        block *b = before != '.' ? find_block(out, t) : NULL;
        if (b && !(t.chars >= b->declared.begin && t.chars < b->declared.end)) b->able = b->able && is_plain_use(b, t);
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
    esker__text source = {0}, active = {0};
    esker__macros macros = {0};
    blocks all = {.n = 0};
    *out_read = *out_written = 0;
    if (esker__is_registered_name(name)) return ESKER_OK;
    esker_status st = esker__kernel_text(name, defines, &source);
    if (st == ESKER_OK) st = prepare(name, source.chars, &active, &macros, &all);
    for (int i = 0; st == ESKER_OK && i < all.n; i++) {
        const block *b = &all.list[i];
        if (b->able) *(b->declared.is_writeonly ? out_written : out_read) |= 1u << b->binding;
    }
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

typedef struct change {
    blocks *all;
    uint32_t mask;
    bool begun; /* the functions are there */
    esker__text *out;
} change;

/* What stands at `t` in the declaration of a block; NULL: nothing that changes. */
static const char *declared(const change *c, const block *b, esker__token t)
{
    if (t.chars == b->declared.begin) return c->begun ? "layout" : functions;
    if (t.chars == b->declared.type.chars) return b->width == 4 ? "uvec2" : "uint";
    return t.chars == b->declared.array.chars ? "" : NULL;
}

static void add_until(change *c, const char *from, const char *to);

/* An access: what is behind it is next. */
static const char *add_access(change *c, const block *b, esker__token t)
{
    esker__token open = esker__token_behind(t), close = esker__token_closing(open), equals = esker__token_behind(close);
    if (b->declared.is_writeonly) {
        const char *end = end_of_value(equals);
        esker__text_add(c->out, "%.*s_half[", (int)t.n, t.chars);
        add_until(c, open.chars + 1, close.chars);
        esker__text_add(c->out, b->width == 4 ? "] = halves_store4(" : "] = packHalf2x16(");
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

static void add_until(change *c, const char *from, const char *to)
{
    const char *copied = from;
    char before = 0;
    for (esker__token t = esker__token_next(from); t.n && t.chars < to; before = t.chars[0], t = esker__token_behind(t)) {
        const char *text = NULL;
        for (int i = 0; i < c->all->n && !text; i++)
            if (c->mask >> c->all->list[i].binding & 1) text = declared(c, &c->all->list[i], t);
        block *b = before != '.' ? find_block(c->all, t) : NULL;
        bool access = !text && b && (c->mask >> b->binding & 1) && esker__token_is(esker__token_behind(t), "[");
        if (!text && !access) continue;
        esker__text_add_bytes(c->out, copied, (size_t)(t.chars - copied));
        if (access) {
            copied = add_access(c, b, t);
            t = (esker__token){copied - 1, 1};
            continue;
        }
        if (text == functions) esker__text_add(c->out, "%slayout", text), c->begun = true;
        if (text != functions) esker__text_add(c->out, "%s", text);
        if (!text[0]) esker__text_add(c->out, "%.*s_half", (int)t.n, t.chars);
        copied = t.chars + t.n;
    }
    esker__text_add_bytes(c->out, copied, (size_t)(to - copied));
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
        add_until(&c, active.chars, active.chars + active.n_chars);
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
