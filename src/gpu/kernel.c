/* Kernels: their sources, compiling them, what they bind, and the table of those that are ready. */
#include "gpu/internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"

const char *esker__kernel_name(const esker__kernel *kernel)
{
    return kernel->name;
}

/* Drivers end logs with newlines, and some with a zero inside the length they report. */
static void trim(char *text)
{
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1])) text[--n] = 0;
}

static void get_log(GLuint object, bool is_program, char *out, size_t room)
{
    out[0] = 0;
    if (is_program)
        glGetProgramInfoLog(object, (GLsizei)room, NULL, out);
    else
        glGetShaderInfoLog(object, (GLsizei)room, NULL, out);
    out[room - 1] = 0;
    trim(out);
}

/* "with WG 64, TILE 8" for messages. */
static void describe_defines(const char *defines, char *out, size_t room)
{
    int n = snprintf(out, room, "%s%s", defines[0] ? " with " : "", defines);
    if (n >= (int)room) n = (int)room - 1;
    while (n > 0 && isspace((unsigned char)out[n - 1])) out[--n] = 0;
    for (char *c = out; *c; c++)
        if (*c == '\n') *c = ';';
}

/* A kernel whose driver may be compiling it, in threads of its own where it has KHR_parallel_shader_compile: asking for a status waits. */
struct esker__started {
    esker__full_source source;
    esker__texel_blocks texels; /* if the source was changed */
    GLuint shader;              /* 0: the program came from its binary, or nothing was begun */
};

static void start_compile(esker_device *dev, esker__kernel *kernel)
{
    struct esker__started *s = kernel->started;
    const char *text = s->source.text.chars;
    s->shader = esker__count_object(dev, glCreateShader(GL_COMPUTE_SHADER));
    glShaderSource(s->shader, 1, &text, NULL);
    glCompileShader(s->shader);
    kernel->program = esker__count_object(dev, glCreateProgram());
    glProgramParameteri(kernel->program, GL_PROGRAM_BINARY_RETRIEVABLE_HINT, dev->cache_dir[0] ? GL_TRUE : GL_FALSE);
    glAttachShader(kernel->program, s->shader);
    glLinkProgram(kernel->program);
}

/* A failed compile or link raises no GL error: their status must be asked for. */
static esker_status finish_compile(esker_device *dev, const esker__kernel *kernel)
{
    const struct esker__started *s = kernel->started;
    char log[800], with[160];
    GLint ok = GL_FALSE;
    describe_defines(kernel->defines, with, sizeof with);
    glGetShaderiv(s->shader, GL_COMPILE_STATUS, &ok);
    get_log(s->shader, false, log, sizeof log);
    if (!ok) {
        int line = esker__compile_error_line(log);
        if (line > 0) {
            const char *path = esker__full_source_place(&s->source, &line);
            return esker__fail(ESKER_ERR_COMPILE, "%s:%d%s: %s", path, line, with, log[0] ? log : "no log");
        }
        return esker__fail(ESKER_ERR_COMPILE, "%s%s: %s", s->source.paths[0], with,
                           log[0] ? log : "the driver gave no reason");
    }
    if (log[0]) esker__log(ESKER_LOG_DEBUG, "%s%s: %s", s->source.paths[0], with, log);
    glGetProgramiv(kernel->program, GL_LINK_STATUS, &ok);
    glDetachShader(kernel->program, s->shader); /* not before it was linked: that may go on in the driver's threads */
    get_log(kernel->program, true, log, sizeof log);
    if (!ok)
        return esker__fail(ESKER_ERR_COMPILE, "%s%s: linking: %s", s->source.paths[0], with,
                           log[0] ? log : "the driver gave no reason");
    if (log[0]) esker__log(ESKER_LOG_DEBUG, "%s%s: linking: %s", s->source.paths[0], with, log);
    return esker__gl_check(dev, s->source.paths[0]);
}

static esker_status reflect_blocks(const esker__kernel *kernel, const char *path, GLenum interface, const char *kind,
                                   uint32_t max, uint32_t *out_mask, uint32_t *out_bytes)
{
    GLint n = 0, n_active = 0;
    *out_mask = 0;
    glGetProgramInterfaceiv(kernel->program, interface, GL_ACTIVE_RESOURCES, &n);
    for (GLint i = 0; i < n; i++) {
        const GLenum properties[] = {GL_BUFFER_BINDING, GL_BUFFER_DATA_SIZE};
        GLint values[2] = {-1, 0};
        glGetProgramResourceiv(kernel->program, interface, (GLuint)i, 2, properties, 2, NULL, values);
        if (values[0] < 0 || (uint32_t)values[0] >= max) {
            char block[64] = "?";
            glGetProgramResourceName(kernel->program, interface, (GLuint)i, sizeof block, NULL, block);
            return esker__fail(ESKER_ERR_LIMIT, "%s: its %s block \"%s\" has binding %d; this device takes 0 to %u", path,
                               kind, block, values[0], max - 1);
        }
        *out_mask |= 1u << values[0];
        if (out_bytes) out_bytes[values[0]] = values[1] > 0 ? (uint32_t)values[1] : 0;
        n_active++;
    }
    /* Two blocks with one binding are legal and never meant. */
    if (__builtin_popcount(*out_mask) != n_active)
        return esker__fail(ESKER_ERR_COMPILE, "%s: two of its %d %s blocks have the same binding", path, n_active, kind);
    return ESKER_OK;
}

/* Which of the arrays that are read by texel fetches the kernel really reads, and the texture unit of each: the binding that its block had. */
static esker_status reflect_texels(esker__kernel *kernel, const char *path, const esker__texel_blocks *texels, uint32_t max)
{
    kernel->texel_mask = 0;
    for (int i = 0; i < texels->n; i++) {
        GLint at = glGetUniformLocation(kernel->program, texels->blocks[i].sampler), unit = -1;
        if (at < 0) continue;
        glGetUniformiv(kernel->program, at, &unit);
        if (unit < 0 || (uint32_t)unit >= max)
            return esker__fail(ESKER_ERR_LIMIT, "%s: its storage block of \"%s\" has binding %d; this device takes 0 to %u",
                               path, texels->blocks[i].name, unit, max - 1);
        uint32_t bit = 1u << unit;
        if ((kernel->texel_mask | (texels->blocks[i].own ? 0 : kernel->storage_mask)) & bit)
            return esker__fail(ESKER_ERR_COMPILE, "%s: two of its storage blocks have the binding %d", path, unit);
        kernel->texel_mask |= bit;
        kernel->texel_formats[unit] = texels->blocks[i].format;
    }
    return ESKER_OK;
}

/* What the kernel binds and how large its groups are, against what the device takes (which may be capped below the
 * driver's). */
static esker_status reflect(esker_device *dev, const char *path, esker__kernel *kernel)
{
    const esker_limits *limits = &dev->info.limits;
    uint32_t max_storage = limits->storage_blocks < ESKER__MAX_STORAGE ? limits->storage_blocks : ESKER__MAX_STORAGE;
    esker_status st = reflect_blocks(kernel, path, GL_SHADER_STORAGE_BLOCK, "storage", max_storage, &kernel->storage_mask,
                                     NULL);
    if (st == ESKER_OK)
        st = reflect_blocks(kernel, path, GL_UNIFORM_BLOCK, "uniform", ESKER__MAX_UNIFORM, &kernel->uniform_mask,
                            kernel->uniform_bytes);
    if (st == ESKER_OK) st = reflect_texels(kernel, path, &kernel->started->texels, max_storage);
    if (st != ESKER_OK) return st;
    GLint size[3] = {0, 0, 0};
    glGetProgramiv(kernel->program, GL_COMPUTE_WORK_GROUP_SIZE, size);
    uint64_t invocations = 1;
    bool fits = true;
    for (int axis = 0; axis < 3; axis++) {
        invocations *= (uint64_t)size[axis];
        fits &= (uint64_t)size[axis] <= limits->group_size[axis];
    }
    if (!fits || invocations > limits->group_invocations)
        return esker__fail(ESKER_ERR_LIMIT, "%s: groups of %d x %d x %d; this device takes %u x %u x %u and %u in all",
                           path, size[0], size[1], size[2], limits->group_size[0], limits->group_size[1],
                           limits->group_size[2], limits->group_invocations);
    return esker__gl_check(dev, path);
}

static bool load_binary(esker_device *dev, const char *path, const esker__text *text, esker__kernel *kernel)
{
    esker__binary binary;
    if (!esker__cache_load(dev, text->chars, text->n_chars, &binary)) return false;
    GLuint program = esker__count_object(dev, glCreateProgram());
    glProgramBinary(program, binary.format, binary.bytes, (GLsizei)binary.n_bytes);
    GLint ok = GL_FALSE;
    glGetProgramiv(program, GL_LINK_STATUS, &ok);
    while (glGetError() != GL_NO_ERROR && !dev->lost) ok = GL_FALSE; /* an unknown format is an error, not a link failure */
    if (ok) {
        kernel->program = program;
        ok = reflect(dev, path, kernel) == ESKER_OK;
        /* Some drivers forget the bindings of blocks when they load a binary. */
        ok = ok && kernel->storage_mask == binary.storage_mask && kernel->uniform_mask == binary.uniform_mask &&
             kernel->texel_mask == binary.texel_mask;
    }
    if (!ok) {
        esker__log(ESKER_LOG_INFO, "%s: the driver does not take its cached binary; compiling from source", path);
        glDeleteProgram(program);
        kernel->program = 0;
    }
    esker__free(binary.memory);
    return ok;
}

static void keep_binary(esker_device *dev, const char *path, const esker__text *text, const esker__kernel *kernel)
{
    GLint n_bytes = 0;
    if (!dev->cache_dir[0]) return;
    glGetProgramiv(kernel->program, GL_PROGRAM_BINARY_LENGTH, &n_bytes);
    if (n_bytes <= 0) return;
    unsigned char *memory = esker__malloc((size_t)n_bytes);
    if (!memory) return;
    GLsizei got = 0;
    GLenum format = 0;
    glGetProgramBinary(kernel->program, n_bytes, &got, &format, memory);
    esker__binary binary = {.bytes = memory,
                            .n_bytes = (uint32_t)got,
                            .format = format,
                            .storage_mask = kernel->storage_mask,
                            .uniform_mask = kernel->uniform_mask,
                            .texel_mask = kernel->texel_mask};
    if (esker__gl_check(dev, path) == ESKER_OK && got > 0)
        esker__cache_store(dev, text->chars, text->n_chars, &binary);
    else
        esker__log(ESKER_LOG_INFO, "%s: the driver gives no binary: %s", path, esker_last_error());
    esker__free(memory);
}

/* Kernels that a program brought along are left as they are: they may say anything. */
static esker_status use_texels(struct esker__started *s)
{
    esker__text changed = {0};
    esker__texel_source(s->source.text.chars, &changed, &s->texels);
    if (changed.failed) {
        esker__text_finish(&changed);
        return esker__fail_memory(s->source.text.n_chars, s->source.paths[0]);
    }
    esker__text_finish(&s->source.text);
    s->source.text = changed;
    return ESKER_OK;
}

static esker_status start_build(esker_device *dev, esker__kernel *kernel)
{
    struct esker__started *s = kernel->started = esker__calloc(1, sizeof *s);
    if (!s) return esker__fail_memory(sizeof *s, kernel->name);
    esker__kernel_dump(kernel->name, kernel->defines);
    esker_status st = esker__full_source_init(&s->source, kernel->name, kernel->defines);
    if (st == ESKER_OK && dev->texels && !kernel->registered) st = use_texels(s);
    if (st != ESKER_OK) return st;
    if (load_binary(dev, s->source.paths[0], &s->source.text, kernel))
        dev->counters.binary_hits++;
    else
        start_compile(dev, kernel);
    return ESKER_OK;
}

static void free_started(esker__kernel *kernel, bool current)
{
    struct esker__started *s = kernel->started;
    if (!s) return;
    if (current && s->shader) glDeleteShader(s->shader);
    esker__full_source_finish(&s->source);
    esker__free(s);
    kernel->started = NULL;
}

static esker_status finish_build(esker_device *dev, esker__kernel *kernel)
{
    struct esker__started *s = kernel->started;
    if (s->shader) {
        esker_status st = finish_compile(dev, kernel);
        if (st == ESKER_OK) st = reflect(dev, s->source.paths[0], kernel);
        if (st != ESKER_OK) return st;
        keep_binary(dev, s->source.paths[0], &s->source.text, kernel);
    }
    dev->counters.compiles++;
    free_started(kernel, true);
    return ESKER_OK;
}

static void free_kernel(esker__kernel *kernel, bool current)
{
    if (!kernel) return;
    free_started(kernel, current);
    if (current && kernel->program) glDeleteProgram(kernel->program);
    esker__free(kernel->name);
    esker__free(kernel->defines);
    esker__free(kernel->registered);
    esker__free(kernel);
}

void esker__kernels_finish(esker_device *dev, bool current)
{
    for (size_t i = 0; i < dev->n_kernel_slots; i++) free_kernel(dev->kernels[i], current);
    for (size_t i = 0; i < dev->n_started; i++) free_kernel(dev->started[i], current);
    esker__free(dev->started);
    dev->started = NULL;
    dev->n_started = dev->started_capacity = 0;
    esker__free(dev->kernels);
    dev->kernels = NULL;
    dev->n_kernels = dev->n_kernel_slots = 0;
}

static void insert(esker__kernel **slots, size_t n_slots, esker__kernel *kernel)
{
    size_t at = kernel->hash & (n_slots - 1);
    while (slots[at]) at = (at + 1) & (n_slots - 1);
    slots[at] = kernel;
}

/* Room for one more at no more than half full. */
static esker_status make_room(esker_device *dev)
{
    if ((dev->n_kernels + 1) * 2 <= dev->n_kernel_slots) return ESKER_OK;
    size_t n_slots = dev->n_kernel_slots ? dev->n_kernel_slots * 2 : 64;
    esker__kernel **slots = esker__calloc(n_slots, sizeof *slots);
    if (!slots) return esker__fail_memory(n_slots * sizeof *slots, "the table of kernels");
    for (size_t i = 0; i < dev->n_kernel_slots; i++)
        if (dev->kernels[i]) insert(slots, n_slots, dev->kernels[i]);
    esker__free(dev->kernels);
    dev->kernels = slots;
    dev->n_kernel_slots = n_slots;
    return ESKER_OK;
}

static uint64_t hash_of(const char *name, const char *defines)
{
    return esker__hash_text(esker__hash_text(ESKER__HASH_START, name), defines);
}

static bool is_it(const esker__kernel *kernel, uint64_t hash, const char *name, const char *defines)
{
    if (kernel->hash != hash || strcmp(kernel->name, name) != 0 || strcmp(kernel->defines, defines) != 0) return false;
    /* The name may have been given up and taken again, for another source. */
    return !kernel->registered || esker__kernel_registered_is(name, kernel->registered);
}

static const esker__kernel *find_kernel(const esker_device *dev, const char *name, const char *defines)
{
    uint64_t hash = hash_of(name, defines);
    for (size_t i = 0; i < dev->n_kernel_slots; i++) {
        const esker__kernel *found = dev->kernels[(hash + i) & (dev->n_kernel_slots - 1)];
        if (!found) break;
        if (is_it(found, hash, name, defines)) return found;
    }
    return NULL;
}

static esker_status create(esker_device *dev, const char *name, const char *defines, esker__kernel **out)
{
    esker__kernel *kernel = esker__calloc(1, sizeof *kernel);
    if (!kernel) return esker__fail_memory(sizeof *kernel, name);
    kernel->hash = hash_of(name, defines);
    kernel->name = esker__strdup(name);
    kernel->defines = esker__strdup(defines);
    esker_status st = kernel->name && kernel->defines ? ESKER_OK : esker__fail_memory(strlen(name) + strlen(defines), name);
    if (st == ESKER_OK && esker__is_registered_name(name)) st = esker__kernel_registered_text(name, &kernel->registered);
    if (st == ESKER_OK) st = start_build(dev, kernel);
    if (st == ESKER_OK)
        *out = kernel;
    else
        free_kernel(kernel, true);
    return st;
}

/* Takes it off the list. */
static esker__kernel *take_started(esker_device *dev, const char *name, const char *defines)
{
    uint64_t hash = hash_of(name, defines);
    for (size_t i = 0; i < dev->n_started; i++) {
        esker__kernel *kernel = dev->started[i];
        if (!is_it(kernel, hash, name, defines)) continue;
        dev->started[i] = dev->started[--dev->n_started];
        return kernel;
    }
    return NULL;
}

void esker__kernel_start(esker_device *dev, const char *name, const char *defines)
{
    esker__kernel *kernel;
    if (!defines) defines = "";
    if (find_kernel(dev, name, defines) || esker__device_enter(dev) != ESKER_OK) return;
    kernel = take_started(dev, name, defines);
    if (!kernel && create(dev, name, defines, &kernel) != ESKER_OK) return;
    if (esker__grow((void **)&dev->started, &dev->started_capacity, dev->n_started, sizeof(esker__kernel *)))
        dev->started[dev->n_started++] = kernel;
    else
        free_kernel(kernel, true);
}

esker_status esker__kernel_get(esker_device *dev, const char *name, const char *defines, const esker__kernel **out)
{
    if (!defines) defines = "";
    *out = find_kernel(dev, name, defines);
    if (*out) return ESKER_OK;
    esker_status st = esker__device_enter(dev);
    if (st == ESKER_OK) st = make_room(dev);
    if (st != ESKER_OK) return st;
    esker__kernel *kernel = take_started(dev, name, defines);
    if (!kernel) st = create(dev, name, defines, &kernel);
    if (st != ESKER_OK) return st;
    st = finish_build(dev, kernel);
    if (st != ESKER_OK) {
        free_kernel(kernel, true);
        return st;
    }
    insert(dev->kernels, dev->n_kernel_slots, kernel);
    dev->n_kernels++;
    *out = kernel;
    return ESKER_OK;
}
