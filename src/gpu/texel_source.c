/*
 * Reads by texel fetches in place of loads from storage blocks, as a change of a kernel's source: a line
 *     layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
 * becomes
 *     layout(binding = 0) uniform highp samplerBuffer x_vec4;
 *     #define TEXEL_x(i) texelFetch(x_vec4, int(i))
 * and x[i] becomes TEXEL_x(i), so that the kernel's own conditions choose among several declarations of x; those that are written, or of other types,
 * have TEXEL_x(i) mean x[i]. Of an array that is declared as "own buffer" (`own` being defined as nothing) an invocation reads nothing but what no
 * invocation wrote yet: it stays a block for x[i] = ..., and is a texture beside it for all else. Inside a definition, where no line can be added, x[i] becomes the fetch itself, and x must mean one thing alone. Both ways read
 * the same memory; a storage load is a loop over the lanes of a vector on llvmpipe, a texel fetch is not. Nothing is parsed but tokens and
 * brackets: where such a name stands in front of a bracket it must be that array.
 */
#include "gpu/internal.h"
#include "gpu/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The element types that textures have, and what of a fetched texel is the element. */
typedef struct element {
    const char *type, *sampler, *part;
    GLenum format;
} element;

static const element elements[] = {
    {"float", "samplerBuffer", ".x", GL_R32F},
    {"vec2", "samplerBuffer", ".xy", GL_RG32F},
    {"vec4", "samplerBuffer", "", GL_RGBA32F},
    {"int", "isamplerBuffer", ".x", GL_R32I},
    {"ivec2", "isamplerBuffer", ".xy", GL_RG32I},
    {"ivec4", "isamplerBuffer", "", GL_RGBA32I},
    {"uint", "usamplerBuffer", ".x", GL_R32UI},
    {"uvec2", "usamplerBuffer", ".xy", GL_RG32UI},
    {"uvec4", "usamplerBuffer", "", GL_RGBA32UI},
    /* Arrays of halves (half_source.c), which fetches make floats of. */
    {"half2", "samplerBuffer", ".xy", GL_RG16F_EXT},
    {"half4", "samplerBuffer", "", GL_RGBA16F_EXT},
};

/* Whether a declaration of what is read alone, or our own, begins with the token. */
static bool read_declaration(esker__token t, esker__block_declaration *out)
{
    return esker__block_declaration_read(t, out) && (out->is_readonly || out->is_own) &&
           out->array.n < sizeof((esker__texel_block *)0)->name;
}

static const element *find_element(esker__token type)
{
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++)
        if (esker__token_is(type, elements[i].type)) return &elements[i];
    return NULL;
}

static const element *element_of(GLenum format)
{
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++)
        if (elements[i].format == format) return &elements[i];
    return NULL;
}

/* "uvec2 x_half[]" has four halves in each of its elements, "uint x_half[]" two. */
static const element *element_of_array(esker__token type, esker__token name)
{
    static const char end[] = "_half";
    bool halves = name.n > strlen(end) && !memcmp(name.chars + name.n - strlen(end), end, strlen(end));
    if (halves && esker__token_is(type, "uvec2")) return element_of(GL_RGBA16F_EXT);
    if (halves && esker__token_is(type, "uint")) return element_of(GL_RG16F_EXT);
    return find_element(type);
}

/* What a name of an array is to us; the first block of that name stands for all. */
static esker__texel_block *find_block(esker__texel_blocks *blocks, esker__token name)
{
    for (int i = 0; i < blocks->n; i++)
        if (esker__token_is(name, blocks->blocks[i].name)) return &blocks->blocks[i];
    return NULL;
}

static esker__texel_block *find_form(esker__texel_blocks *blocks, esker__token name, GLenum format)
{
    for (int i = 0; i < blocks->n; i++)
        if (esker__token_is(name, blocks->blocks[i].name) && blocks->blocks[i].format == format) return &blocks->blocks[i];
    return NULL;
}

/* Whether nothing but a comment follows on this line. */
static bool ends_line(const char *at)
{
    const char *end = at + strcspn(at, "\n");
    return esker__token_next(at).chars >= end;
}

/* NAME[] */
static bool declares_array(esker__token t)
{
    t = esker__token_behind(t);
    return esker__token_take(&t, "[") && esker__token_is(t, "]");
}

/* The names of arrays that can be read so, in all forms that they have. */
static void collect(const char *source, esker__texel_blocks *out)
{
    out->n = 0;
    for (esker__token t = esker__token_next(source); t.n; t = esker__token_behind(t)) {
        esker__block_declaration d;
        if (!esker__token_is(t, "layout") || !read_declaration(t, &d) || !element_of_array(d.type, d.array)) continue;
        bool direct = esker__is_in_definition(source, t.chars) || !ends_line(d.end);
        GLenum format = element_of_array(d.type, d.array)->format;
        if (direct && d.is_own) continue;
        if (find_form(out, d.array, format) || out->n == ESKER__MAX_TEXEL_BLOCKS) continue;
        esker__texel_block *block = &out->blocks[out->n++];
        *block = (esker__texel_block){.format = format, .direct = direct, .own = d.is_own};
        snprintf(block->name, sizeof block->name, "%.*s", (int)d.array.n, d.array.chars);
        snprintf(block->sampler, sizeof block->sampler, direct ? "%s" : "%s_%s", block->name,
                 element_of_array(d.type, d.array)->type);
    }
}

/* The number of the line that `at` is on, as "#line" says. */
static int line_of(const char *source, const char *at)
{
    int line = 1;
    for (const char *c = source; c < at; c += strcspn(c, "\n") + 1) {
        const char *next = c + strcspn(c, "\n") + 1;
        if (next > at) break;
        line = strncmp(c, "#line ", 6) ? line + 1 : atoi(c + 6);
    }
    return line;
}

#define MAX_DEPTH 32

void esker__texel_source(const char *source, esker__text *out, esker__texel_blocks *blocks)
{
    const char *close[MAX_DEPTH]; /* of each bracket that is open: what closes it in place of "]", or NULL */
    int depth = 0;
    char before = 0;
    const char *copied = source + (strncmp(source, "#version", 8) ? 0 : strcspn(source, "\n"));
    collect(source, blocks);
    esker__text_add_bytes(out, source, (size_t)(copied - source));
    if (blocks->n) esker__text_add(out, "\n#extension GL_EXT_texture_buffer : require");
    for (esker__token t = esker__token_next(copied); t.n; t = esker__token_behind(t)) {
        esker__block_declaration d;
        const esker__texel_block *block = before != '.' ? find_block(blocks, t) : NULL;
        before = t.chars[0];
        const element *e = esker__token_is(t, "layout") && read_declaration(t, &d) ? element_of_array(d.type, d.array)
                                                                                   : NULL;
        if (e && (block = find_form(blocks, d.array, e->format))) {
            esker__text_add_bytes(out, copied, (size_t)((d.is_own ? d.end : t.chars) - copied));
            esker__text_add(out, "%slayout(binding = %.*s) uniform highp %s %s;", d.is_own ? "\n" : "", (int)d.binding.n,
                            d.binding.chars, e->sampler, block->sampler);
            if (!block->direct)
                esker__text_add(out, "\n#define TEXEL_%s(i) texelFetch(%s, int(i))%s\n#line %d", block->name,
                                block->sampler, e->part, line_of(source, d.end) + 1);
            copied = d.end;
            t = (esker__token){copied - 1, 1};
        } else if (block && declares_array(t) && !block->direct) {
            const char *end = t.chars + strcspn(t.chars, "\n");
            esker__text_add_bytes(out, copied, (size_t)(end - copied));
            esker__text_add(out, "\n#define TEXEL_%s(i) %s[i]\n#line %d", block->name, block->name,
                            line_of(source, t.chars) + 1);
            copied = end;
            t = (esker__token){end - 1, 1};
        } else if (block && esker__token_is(esker__token_behind(t), "[") && depth < MAX_DEPTH &&
                   !esker__is_assigned(esker__token_closing(esker__token_behind(t)))) {
            esker__text_add_bytes(out, copied, (size_t)(t.chars - copied));
            esker__text_add(out, block->direct ? "texelFetch(%s, int(" : "TEXEL_%s(", block->name);
            close[depth++] = block->direct ? element_of(block->format)->part : ")";
            t = esker__token_behind(t);
            copied = t.chars + 1;
        } else if (esker__token_is(t, "[") && depth < MAX_DEPTH) {
            close[depth++] = NULL;
        } else if (esker__token_is(t, "]") && depth > 0 && close[--depth]) {
            esker__text_add_bytes(out, copied, (size_t)(t.chars - copied));
            esker__text_add(out, close[depth][0] == ')' ? "%s" : "))%s", close[depth]);
            copied = t.chars + 1;
        }
    }
    esker__text_add(out, "%s", copied);
}
