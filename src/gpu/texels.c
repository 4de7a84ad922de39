/* Buffer textures: one for each range and format that kernels read by texel fetches, kept while it is in use. */
#include "gpu/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/memory.h"

/* How many there may be before those are given up that nobody used for a while; at least, and for each that a list of launches needs. */
#define LEAST_KEPT    4096
#define KEPT_FOR_EACH 16

typedef struct texel {
    GLuint name, buffer; /* name 0: an empty slot */
    GLenum format;
    uint64_t offset, n_bytes;
    uint64_t used; /* when, in look-ups */
} texel;

struct esker__texels {
    texel *slots; /* open addressing; a power of two of slots, at most half full */
    size_t n_slots, n, most;
    uint64_t now;
    GLuint bound[ESKER__MAX_STORAGE];
};

esker_status esker__texels_wanted(const esker_device *dev, bool *out)
{
    const char *wanted = getenv("ESKER_TEXELS");
    *out = esker__device_family(dev) == ESKER__FAMILY_LLVMPIPE;
    if (!wanted || !wanted[0]) return ESKER_OK;
    *out = !strcmp(wanted, "1");
    if (*out || !strcmp(wanted, "0")) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "ESKER_TEXELS is \"%s\"; it can be 1 (kernels read by texel fetches) or 0",
                       wanted);
}

esker_status esker__texels_create(esker_device *dev)
{
    GLint most = 0, align = 0;
    glGetIntegerv(GL_MAX_TEXTURE_BUFFER_SIZE_EXT, &most);
    glGetIntegerv(GL_TEXTURE_BUFFER_OFFSET_ALIGNMENT_EXT, &align);
    /* Whatever a kernel can read as a storage block must be within reach, or it would take two kernels. */
    if (most <= 0 || align <= 0 || (uint64_t)most < dev->info.limits.storage_block_bytes / 4) return ESKER_OK;
    if ((uint32_t)align > dev->info.limits.storage_align) dev->info.limits.storage_align = (uint32_t)align;
    dev->texels = esker__calloc(1, sizeof *dev->texels);
    if (!dev->texels) return esker__fail_memory(sizeof *dev->texels, "a device");
    dev->texels->most = LEAST_KEPT;
    return ESKER_OK;
}

static size_t slot_of(const struct esker__texels *t, const texel *key)
{
    uint64_t words[] = {key->buffer, key->format, key->offset, key->n_bytes};
    return (size_t)esker__hash_words(ESKER__HASH_START, words, 4) & (t->n_slots - 1);
}

static texel *find(const struct esker__texels *t, const texel *key)
{
    for (size_t at = slot_of(t, key);; at = (at + 1) & (t->n_slots - 1)) {
        texel *found = &t->slots[at];
        if (!found->name || (found->buffer == key->buffer && found->offset == key->offset && found->format == key->format &&
                             found->n_bytes == key->n_bytes))
            return found;
    }
}

static void delete_texture(struct esker__texels *t, GLuint name)
{
    for (int i = 0; i < ESKER__MAX_STORAGE; i++)
        if (t->bound[i] == name) t->bound[i] = 0;
    glDeleteTextures(1, &name);
}

/* Move what stays to `n_slots` others; goes: of buffer `gone`, and what was last used before `since`. */
static bool rebuild(struct esker__texels *t, size_t n_slots, GLuint gone, uint64_t since)
{
    struct esker__texels old = *t;
    texel *slots = esker__calloc(n_slots, sizeof *slots);
    if (!slots) return false;
    t->slots = slots;
    t->n_slots = n_slots;
    t->n = 0;
    for (size_t i = 0; i < old.n_slots; i++) {
        const texel *it = &old.slots[i];
        if (!it->name) continue;
        if (it->buffer == gone || it->used < since) {
            delete_texture(t, it->name);
        } else {
            *find(t, it) = *it;
            t->n++;
        }
    }
    esker__free(old.slots);
    return true;
}

static esker_status make_room(struct esker__texels *t)
{
    /* At least half of them were not among the last look-ups of that number. */
    if (t->n >= t->most && !rebuild(t, t->n_slots, 0, t->now - t->most / 2))
        return esker__fail_memory(t->n_slots * sizeof *t->slots, "buffer textures");
    size_t n_slots = t->n_slots ? 2 * t->n_slots : 64;
    if (2 * (t->n + 1) > t->n_slots && !rebuild(t, n_slots, 0, 0))
        return esker__fail_memory(n_slots * sizeof *t->slots, "buffer textures");
    return ESKER_OK;
}

/* A block of vectors ends with a whole one where the buffer does: ranges are as long as what is in them. */
static uint64_t whole_texels(const esker__range *range, GLenum format)
{
    bool scalar = format == GL_R32F || format == GL_R32I || format == GL_R32UI || format == GL_RG16F_EXT;
    bool two = format == GL_RG32F || format == GL_RG32I || format == GL_RG32UI || format == GL_RGBA16F_EXT;
    uint64_t n_bytes = esker__round_up(range->n_bytes, scalar ? 4 : two ? 8 : 16);
    return range->offset + n_bytes <= range->buffer->n_bytes ? n_bytes : range->n_bytes;
}

void esker__texels_expect(esker_device *dev, size_t n)
{
    if (dev->texels && KEPT_FOR_EACH * n > dev->texels->most) dev->texels->most = KEPT_FOR_EACH * n;
}

esker_status esker__texels_get(esker_device *dev, int unit, const esker__range *range, GLenum format, bool bind,
                               GLuint *out_name)
{
    struct esker__texels *t = dev->texels;
    texel key = {
        .buffer = range->buffer->name, .format = format, .offset = range->offset, .n_bytes = whole_texels(range, format)};
    texel *found = t->n_slots ? find(t, &key) : NULL;
    t->now++;
    if (!found || !found->name) {
        esker_status st = make_room(t);
        if (st != ESKER_OK) return st;
        found = find(t, &key);
        *found = key;
        glGenTextures(1, &found->name);
        esker__count_object(dev, found->name);
        t->n++;
        glActiveTexture(GL_TEXTURE0 + (GLenum)unit);
        glBindTexture(GL_TEXTURE_BUFFER_EXT, found->name);
        t->bound[unit] = found->name;
        dev->gl.tex_buffer_range(GL_TEXTURE_BUFFER_EXT, format, key.buffer, (GLintptr)key.offset, (GLsizeiptr)key.n_bytes);
    } else if (bind && t->bound[unit] != found->name) {
        glActiveTexture(GL_TEXTURE0 + (GLenum)unit);
        glBindTexture(GL_TEXTURE_BUFFER_EXT, found->name);
        t->bound[unit] = found->name;
    }
    found->used = t->now;
    *out_name = found->name;
    return ESKER_OK;
}

void esker__texels_forget(esker_device *dev, const esker__buffer *buffer)
{
    struct esker__texels *t = dev->texels;
    bool any = false;
    for (size_t i = 0; t && i < t->n_slots; i++) any |= t->slots[i].name && t->slots[i].buffer == buffer->name;
    if (!any || rebuild(t, t->n_slots, buffer->name, 0)) return;
    /* No memory to sort out the others: they are made again. */
    for (size_t i = 0; i < t->n_slots; i++)
        if (t->slots[i].name) delete_texture(t, t->slots[i].name);
    memset(t->slots, 0, t->n_slots * sizeof *t->slots);
    t->n = 0;
}

void esker__texels_destroy(esker_device *dev, bool current)
{
    struct esker__texels *t = dev->texels;
    for (size_t i = 0; t && current && i < t->n_slots; i++)
        if (t->slots[i].name) glDeleteTextures(1, &t->slots[i].name);
    if (t) esker__free(t->slots);
    esker__free(t);
    dev->texels = NULL;
}
