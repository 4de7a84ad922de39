/* What a device can do: as the driver reports it, and as OpenGL ES 3.1 promises it. */
#include "gpu/internal.h"

void esker_limits_es31(esker_limits *out)
{
    *out = (esker_limits){
        .groups = {65535, 65535, 65535},
        .group_size = {128, 128, 64},
        .group_invocations = 128,
        .shared_bytes = 16384,
        .storage_blocks = 4,
        .storage_block_bytes = 1u << 27,
        .storage_align = 256,
        .uniform_align = 256,
        .uniform_block_bytes = 16384,
        .reports_reset = false,
    };
}

static uint32_t get_uint(GLenum what)
{
    GLint value = 0;
    glGetIntegerv(what, &value);
    return value > 0 ? (uint32_t)value : 0;
}

static uint32_t get_uint_at(GLenum what, GLuint index)
{
    GLint value = 0;
    glGetIntegeri_v(what, index, &value);
    return value > 0 ? (uint32_t)value : 0;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

void esker__limits_query(esker_limits *out)
{
    *out = (esker_limits){0};
    for (GLuint axis = 0; axis < 3; axis++) {
        out->groups[axis] = get_uint_at(GL_MAX_COMPUTE_WORK_GROUP_COUNT, axis);
        out->group_size[axis] = get_uint_at(GL_MAX_COMPUTE_WORK_GROUP_SIZE, axis);
    }
    out->group_invocations = get_uint(GL_MAX_COMPUTE_WORK_GROUP_INVOCATIONS);
    out->shared_bytes = get_uint(GL_MAX_COMPUTE_SHARED_MEMORY_SIZE);
    out->storage_blocks = min_u32(get_uint(GL_MAX_COMPUTE_SHADER_STORAGE_BLOCKS),
                                  get_uint(GL_MAX_SHADER_STORAGE_BUFFER_BINDINGS));
    /* 64 bits: drivers report 2^31 and more, which the 32-bit query would turn negative. */
    GLint64 block_bytes = 0;
    glGetInteger64v(GL_MAX_SHADER_STORAGE_BLOCK_SIZE, &block_bytes);
    out->storage_block_bytes = block_bytes > 0 ? (uint64_t)block_bytes : 0;
    out->storage_align = get_uint(GL_SHADER_STORAGE_BUFFER_OFFSET_ALIGNMENT);
    out->uniform_align = get_uint(GL_UNIFORM_BUFFER_OFFSET_ALIGNMENT);
    /* A driver that reports 0 or 1 still wants whole words. */
    if (out->storage_align < 4) out->storage_align = 4;
    if (out->uniform_align < 4) out->uniform_align = 4;
    out->uniform_block_bytes = get_uint(GL_MAX_UNIFORM_BLOCK_SIZE);
}

void esker__limits_cap(esker_limits *limits)
{
    esker_limits floor;
    esker_limits_es31(&floor);
    for (int axis = 0; axis < 3; axis++) {
        limits->groups[axis] = min_u32(limits->groups[axis], floor.groups[axis]);
        limits->group_size[axis] = min_u32(limits->group_size[axis], floor.group_size[axis]);
    }
    limits->group_invocations = min_u32(limits->group_invocations, floor.group_invocations);
    limits->shared_bytes = min_u32(limits->shared_bytes, floor.shared_bytes);
    limits->storage_blocks = min_u32(limits->storage_blocks, floor.storage_blocks);
    if (limits->storage_block_bytes > floor.storage_block_bytes) limits->storage_block_bytes = floor.storage_block_bytes;
    if (limits->storage_align < floor.storage_align) limits->storage_align = floor.storage_align;
    if (limits->uniform_align < floor.uniform_align) limits->uniform_align = floor.uniform_align;
    limits->uniform_block_bytes = min_u32(limits->uniform_block_bytes, floor.uniform_block_bytes);
    limits->reports_reset = false;
}
