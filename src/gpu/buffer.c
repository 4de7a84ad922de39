/* Buffers: making them, filling them with zeros, and moving bytes between them and the host. */
#include "gpu/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/memory.h"
#include "gpu/queue.h"

/* Zeros travel in pieces of this: ES 3.1 has no glClearBufferData, and a whole arena of host zeros would double its cost. */
#define ZERO_BYTES ((uint64_t)1 << 20)
static unsigned char zeros[ZERO_BYTES]; /* never written, so that no memory is behind it but one page */

/* Everything is bound to the storage target: some drivers place memory by the target a buffer was first bound to. */
#define TARGET GL_SHADER_STORAGE_BUFFER

static const char *use_name(esker__buffer_use use)
{
    static const char *const names[] = {[ESKER__BUFFER_DEVICE] = "device",
                                        [ESKER__BUFFER_UPLOAD] = "upload",
                                        [ESKER__BUFFER_READBACK] = "readback",
                                        [ESKER__BUFFER_SHARED] = "shared"};
    return names[use];
}

static void upload(esker_device *dev, uint64_t offset, const void *data, uint64_t n_bytes)
{
    glBufferSubData(TARGET, (GLintptr)offset, (GLsizeiptr)n_bytes, data);
    dev->counters.uploads++;
}

static void fill_with_zeros(esker_device *dev, uint64_t offset, uint64_t n_bytes)
{
    for (uint64_t at = 0; at < n_bytes; at += ZERO_BYTES)
        upload(dev, offset + at, zeros, n_bytes - at < ZERO_BYTES ? n_bytes - at : ZERO_BYTES);
}

/* What nobody wrote, where it shall be noticed. */
static void fill_with_nans(esker_device *dev, uint64_t n_bytes)
{
    unsigned char nans[4096];
    memset(nans, 0xff, sizeof nans);
    for (uint64_t at = 0; at < n_bytes; at += sizeof nans)
        upload(dev, at, nans, n_bytes - at < sizeof nans ? n_bytes - at : sizeof nans);
}

/* READ only where the CPU reads: it makes Adreno's driver choose cached memory, and the others staging memory. */
static GLbitfield persistent_access(esker__buffer_use use)
{
    GLbitfield access = GL_MAP_PERSISTENT_BIT_EXT | GL_MAP_COHERENT_BIT_EXT;
    if (use != ESKER__BUFFER_READBACK) access |= GL_MAP_WRITE_BIT;
    if (use != ESKER__BUFFER_UPLOAD) access |= GL_MAP_READ_BIT;
    return access;
}

/*
 * Some drivers hand out any number of bytes, and the process is killed when they are filled. No machine that Esker is for has
 * graphics memory of its own beyond a few times its main memory, so more than that is refused without asking the driver.
 */
static bool is_absurd(const esker_device *dev, uint64_t n_bytes)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    uint64_t most = pages > 0 && page_bytes > 0 ? 4 * (uint64_t)pages * (uint64_t)page_bytes : (uint64_t)1 << 40;
    return n_bytes > most || dev->counters.buffer_bytes > most - n_bytes;
}

/* The storage itself, with the buffer bound to TARGET. */
static esker_status allocate(esker__buffer *buffer)
{
    esker_device *dev = buffer->dev;
    GLsizeiptr n_bytes = (GLsizeiptr)buffer->n_bytes;
    /* llvmpipe compiles a kernel anew for textures of a buffer whose length is a power of two: 16 bytes more, which nobody sees. */
    if (dev->texels && !(n_bytes & (n_bytes - 1))) n_bytes += 16;
    if (is_absurd(dev, buffer->n_bytes)) return ESKER_ERR_NO_MEMORY;
    static const GLenum usages[] = {[ESKER__BUFFER_DEVICE] = GL_DYNAMIC_COPY,
                                    [ESKER__BUFFER_UPLOAD] = GL_STREAM_DRAW,
                                    [ESKER__BUFFER_READBACK] = GL_STREAM_READ,
                                    [ESKER__BUFFER_SHARED] = GL_DYNAMIC_READ};
    if (buffer->use != ESKER__BUFFER_DEVICE && dev->gl.buffer_storage)
        dev->gl.buffer_storage(TARGET, n_bytes, NULL, persistent_access(buffer->use) | GL_DYNAMIC_STORAGE_BIT_EXT);
    else
        glBufferData(TARGET, n_bytes, NULL, usages[buffer->use]);
    return esker__gl_check(dev, "allocating a buffer");
}

static esker_status map_for_good(esker__buffer *buffer)
{
    buffer->address = glMapBufferRange(TARGET, 0, (GLsizeiptr)buffer->n_bytes, persistent_access(buffer->use));
    esker_status st = esker__gl_check(buffer->dev, "glMapBufferRange (persistent)");
    if (st == ESKER_OK && !buffer->address)
        st = esker__fail(ESKER_ERR_DEVICE, "glMapBufferRange (persistent): no address and no error");
    return st;
}

/*
 * What the first content is. Nobody relies on that of the GPU's own memory, arenas of hundreds of MiB, so none is sent there: only its last
 * bytes are written, since drivers that allocate lazily run out of memory there, and not where they are asked for it.
 */
static esker_status fill_new(esker__buffer *buffer)
{
    esker_device *dev = buffer->dev;
    bool mapped = buffer->use != ESKER__BUFFER_DEVICE && dev->gl.buffer_storage;
    bool by_cpu = mapped && persistent_access(buffer->use) & GL_MAP_WRITE_BIT;
    const char *poison = getenv("ESKER_POISON");
    if (buffer->use != ESKER__BUFFER_DEVICE && !by_cpu)
        fill_with_zeros(dev, 0, buffer->n_bytes);
    else if (buffer->use == ESKER__BUFFER_DEVICE && poison && !strcmp(poison, "1"))
        fill_with_nans(dev, buffer->n_bytes);
    else if (buffer->use == ESKER__BUFFER_DEVICE)
        upload(dev, buffer->n_bytes - 16, zeros, 16);
    esker_status st = esker__gl_check(dev, "filling a new buffer");
    if (st == ESKER_OK && mapped) st = map_for_good(buffer);
    if (st == ESKER_OK && by_cpu) memset(buffer->address, 0, (size_t)buffer->n_bytes); /* the GPU has not seen it yet */
    return st;
}

esker_status esker__buffer_create(esker_device *dev, uint64_t n_bytes, esker__buffer_use use, esker__buffer **out)
{
    *out = NULL;
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    if (n_bytes > (uint64_t)PTRDIFF_MAX - 16)
        return esker__fail(ESKER_ERR_LIMIT, "a %s buffer of %" PRIu64 " bytes: at most %td can be addressed here",
                           use_name(use), n_bytes, (ptrdiff_t)PTRDIFF_MAX);
    esker__buffer *buffer = esker__calloc(1, sizeof *buffer);
    if (!buffer) return esker__fail_memory(sizeof *buffer, "a buffer");
    buffer->dev = dev;
    buffer->use = use;
    buffer->n_bytes = n_bytes ? esker__round_up(n_bytes, 16) : 16;

    GLuint name = 0;
    glGenBuffers(1, &name);
    buffer->name = esker__count_object(dev, name);
    glBindBuffer(TARGET, name);
    st = allocate(buffer);
    if (st == ESKER_OK) st = fill_new(buffer);
    if (st != ESKER_OK) goto failed;

    dev->counters.buffer_bytes += buffer->n_bytes;
    if (dev->counters.buffer_bytes > dev->counters.buffer_peak_bytes)
        dev->counters.buffer_peak_bytes = dev->counters.buffer_bytes;
    *out = buffer;
    return ESKER_OK;
failed:
    if (st == ESKER_ERR_NO_MEMORY)
        st = esker__fail(st, "no device memory for a %s buffer of %" PRIu64 " bytes; %" PRIu64 " bytes are held already%s",
                         use_name(use), buffer->n_bytes, dev->counters.buffer_bytes,
                         buffer->n_bytes >> 32 ? " (most drivers keep one buffer below 4 GiB)" : "");
    glDeleteBuffers(1, &buffer->name);
    esker__free(buffer);
    return st;
}

/* GL unbinds a deleted buffer itself, and may give its name to the next one. */
static void forget_bindings(esker__bound *bound, int n, GLuint name)
{
    for (int i = 0; i < n; i++)
        if (bound[i].buffer == name) bound[i] = (esker__bound){0};
}

void esker__buffer_destroy(esker__buffer *buffer)
{
    if (!buffer) return;
    esker_device *dev = buffer->dev;
    forget_bindings(dev->bound_storage, ESKER__MAX_STORAGE, buffer->name);
    forget_bindings(dev->bound_uniform, ESKER__MAX_UNIFORM, buffer->name);
    /* Deleting unmaps. On a lost device the names still go back; only another thread's context is out of reach. */
    if (esker__device_borrow(dev)) {
        esker__texels_forget(dev, buffer);
        glDeleteBuffers(1, &buffer->name);
        esker__device_return(dev);
    }
    dev->counters.buffer_bytes -= buffer->n_bytes;
    esker__free(buffer);
}

uint64_t esker__buffer_bytes(const esker__buffer *buffer)
{
    return buffer->n_bytes;
}

void *esker__buffer_address(const esker__buffer *buffer)
{
    return buffer->address;
}

static esker_status check_range(const esker__buffer *buffer, const char *what, uint64_t offset, uint64_t n_bytes)
{
    if (offset <= buffer->n_bytes && n_bytes <= buffer->n_bytes - offset) {
        if (!buffer->mapped) return ESKER_OK;
        return esker__fail(ESKER_ERR_INVALID, "%s: the %s buffer is mapped; unmap it first", what, use_name(buffer->use));
    }
    return esker__fail(ESKER_ERR_INVALID, "%s: %" PRIu64 " bytes at %" PRIu64 " go past the end of a %s buffer of %" PRIu64,
                       what, n_bytes, offset, use_name(buffer->use), buffer->n_bytes);
}

/*
 * Before glBufferSubData: orders it behind queued work; not needed when nothing is queued. NVIDIA's driver (580, seen on an
 * H200) keeps a buffer made for reading by the CPU in main memory and copies into it at once, barrier or not, so there the
 * CPU waits.
 */
static esker_status order_write(const esker__buffer *buffer)
{
    esker_device *dev = buffer->dev;
    if (dev->queued == dev->finished) return ESKER_OK;
    if (buffer->use == ESKER__BUFFER_SHARED && !buffer->address) return esker__wait_all(dev);
    glMemoryBarrier(GL_BUFFER_UPDATE_BARRIER_BIT);
    return ESKER_OK;
}

esker_status esker__buffer_write(esker__buffer *buffer, uint64_t offset, const void *data, uint64_t n_bytes)
{
    esker_device *dev = buffer->dev;
    esker_status st = esker__device_enter(dev);
    if (st == ESKER_OK) st = check_range(buffer, "writing a buffer", offset, n_bytes);
    if (st == ESKER_OK) st = esker__queue_settle(dev, &(esker__range){buffer, offset, n_bytes});
    if (st != ESKER_OK || n_bytes == 0) return st;
    st = order_write(buffer);
    if (st != ESKER_OK) return st;
    glBindBuffer(TARGET, buffer->name);
    /* Not through the address: GL orders this behind the queued work, a plain store would not be. */
    upload(dev, offset, data, n_bytes);
    dev->counters.uploaded_bytes += n_bytes;
    /* The CPU may look through the address next: it must find that there is something to wait for. */
    if (buffer->address) dev->queued++;
    return esker__gl_check(dev, "glBufferSubData");
}

esker_status esker__buffer_clear(esker__buffer *buffer, uint64_t offset, uint64_t n_bytes)
{
    esker_device *dev = buffer->dev;
    esker_status st = esker__device_enter(dev);
    if (st == ESKER_OK) st = check_range(buffer, "clearing a buffer", offset, n_bytes);
    if (st == ESKER_OK && n_bytes) st = esker__queue_settle(dev, &(esker__range){buffer, offset, n_bytes});
    if (st == ESKER_OK && n_bytes) st = order_write(buffer);
    if (st != ESKER_OK || n_bytes == 0) return st;
    glBindBuffer(TARGET, buffer->name);
    fill_with_zeros(dev, offset, n_bytes);
    if (buffer->address) dev->queued++;
    return esker__gl_check(dev, "filling a buffer with zeros");
}

/* Map `name` for reading, and copy. */
static esker_status read_mapped(esker_device *dev, GLuint name, uint64_t offset, void *data, uint64_t n_bytes)
{
    glBindBuffer(TARGET, name);
    const void *from = glMapBufferRange(TARGET, (GLintptr)offset, (GLsizeiptr)n_bytes, GL_MAP_READ_BIT);
    esker_status st = esker__gl_check(dev, "glMapBufferRange (read)");
    if (st != ESKER_OK) return st;
    if (!from) return esker__fail(ESKER_ERR_DEVICE, "glMapBufferRange (read): no address and no error");
    /* Once, in order: on most boards this memory is not cached. */
    memcpy(data, from, (size_t)n_bytes);
    if (!glUnmapBuffer(TARGET)) return esker__fail(ESKER_ERR_DEVICE, "glUnmapBuffer: the buffer's content was lost");
    return ESKER_OK;
}

/* A write-only persistent buffer cannot be mapped for reading: go through a copy. Rare, for checks and tests. */
static esker_status read_upload(esker__buffer *buffer, uint64_t offset, void *data, uint64_t n_bytes)
{
    esker_device *dev = buffer->dev;
    GLuint copy = 0;
    glGenBuffers(1, &copy);
    esker__count_object(dev, copy);
    glBindBuffer(GL_COPY_READ_BUFFER, buffer->name);
    glBindBuffer(GL_COPY_WRITE_BUFFER, copy);
    glBufferData(GL_COPY_WRITE_BUFFER, (GLsizeiptr)n_bytes, NULL, GL_STREAM_READ);
    glCopyBufferSubData(GL_COPY_READ_BUFFER, GL_COPY_WRITE_BUFFER, (GLintptr)offset, 0, (GLsizeiptr)n_bytes);
    glBindBuffer(GL_COPY_READ_BUFFER, 0);
    glBindBuffer(GL_COPY_WRITE_BUFFER, 0);
    esker_status st = esker__gl_check(dev, "copying an upload buffer");
    if (st == ESKER_OK) st = read_mapped(dev, copy, 0, data, n_bytes);
    glDeleteBuffers(1, &copy);
    return st;
}

esker_status esker__buffer_read(esker__buffer *buffer, uint64_t offset, void *data, uint64_t n_bytes)
{
    esker_device *dev = buffer->dev;
    esker_status st = esker__device_enter(dev);
    if (st == ESKER_OK) st = check_range(buffer, "reading a buffer", offset, n_bytes);
    if (st == ESKER_OK) st = esker__queue_settle(dev, &(esker__range){buffer, offset, n_bytes});
    if (st != ESKER_OK || n_bytes == 0) return st;
    /* An explicit wait rather than the one inside a map: it is counted, and it notices a reset. */
    st = esker__wait_all(dev);
    if (st != ESKER_OK) return st;
    if (buffer->address && buffer->use != ESKER__BUFFER_UPLOAD)
        memcpy(data, (const unsigned char *)buffer->address + offset, (size_t)n_bytes);
    else if (buffer->address)
        st = read_upload(buffer, offset, data, n_bytes);
    else
        st = read_mapped(dev, buffer->name, offset, data, n_bytes);
    if (st == ESKER_OK) dev->counters.downloaded_bytes += n_bytes;
    return st;
}

static esker_status map_now(esker__buffer *buffer, GLbitfield access, uint64_t offset, uint64_t n_bytes, void **out_address)
{
    *out_address = buffer->address ? (unsigned char *)buffer->address + offset : NULL;
    if (buffer->address) return ESKER_OK; /* in any thread */
    esker_device *dev = buffer->dev;
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    if (buffer->use == ESKER__BUFFER_DEVICE)
        return esker__fail(ESKER_ERR_INVALID, "mapping a buffer: a device buffer is reached by write and read only");
    if (buffer->mapped)
        return esker__fail(ESKER_ERR_INVALID, "mapping a buffer: the %s buffer is mapped already", use_name(buffer->use));
    glBindBuffer(TARGET, buffer->name);
    void *address = glMapBufferRange(TARGET, (GLintptr)offset, (GLsizeiptr)n_bytes, access);
    st = esker__gl_check(dev, "glMapBufferRange");
    if (st != ESKER_OK) return st;
    if (!address) return esker__fail(ESKER_ERR_DEVICE, "glMapBufferRange: no address and no error");
    buffer->mapped = true;
    *out_address = address;
    return ESKER_OK;
}

esker_status esker__buffer_map(esker__buffer *buffer, void **out_address)
{
    /* The caller knows by its fences that the GPU is done with it, so the driver need not wait or make a shadow copy. GL
     * does not allow saying so for a read. */
    GLbitfield access = GL_MAP_READ_BIT;
    if (buffer->use == ESKER__BUFFER_UPLOAD) access = GL_MAP_WRITE_BIT | GL_MAP_UNSYNCHRONIZED_BIT;
    if (buffer->use == ESKER__BUFFER_SHARED) access = GL_MAP_READ_BIT | GL_MAP_WRITE_BIT;
    return map_now(buffer, access, 0, buffer->n_bytes, out_address);
}

esker_status esker__buffer_map_as(esker__buffer *buffer, esker__map_access access, uint64_t offset, uint64_t n_bytes,
                                  void **out_address)
{
    static const GLbitfield bits[] = {[ESKER__MAP_READ] = GL_MAP_READ_BIT,
                                      [ESKER__MAP_WRITE] = GL_MAP_WRITE_BIT,
                                      [ESKER__MAP_DISCARD] = GL_MAP_WRITE_BIT | GL_MAP_INVALIDATE_RANGE_BIT};
    *out_address = NULL;
    if (buffer->use != ESKER__BUFFER_SHARED)
        return esker__fail(ESKER_ERR_INVALID, "mapping a buffer: a %s buffer has an access of its own",
                           use_name(buffer->use));
    if (offset > buffer->n_bytes || n_bytes > buffer->n_bytes - offset)
        return esker__fail(ESKER_ERR_INVALID, "mapping a buffer: %" PRIu64 " bytes at %" PRIu64 " of %" PRIu64, n_bytes,
                           offset, buffer->n_bytes);
    return map_now(buffer, bits[access], offset, n_bytes, out_address);
}

esker_status esker__buffer_unmap(esker__buffer *buffer)
{
    if (buffer->address) return ESKER_OK;
    esker_device *dev = buffer->dev;
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    if (!buffer->mapped)
        return esker__fail(ESKER_ERR_INVALID, "unmapping a buffer: the %s buffer is not mapped", use_name(buffer->use));
    glBindBuffer(TARGET, buffer->name);
    buffer->mapped = false;
    if (!glUnmapBuffer(TARGET)) return esker__fail(ESKER_ERR_DEVICE, "glUnmapBuffer: the buffer's content was lost");
    return esker__gl_check(dev, "glUnmapBuffer");
}
