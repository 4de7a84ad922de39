/* Kernels of the tests themselves, put into a folder that ESKER_GLSL_DIR names. */
#ifndef ESKER_TESTS_GPU_KERNELS_H
#define ESKER_TESTS_GPU_KERNELS_H

#include <stdio.h>

#include "support/test.h"

/* y[i] = x[i] * SCALE + offset, over n elements. */
static const char kernel_scale[] = "#version 310 es\n"
                                   "#ifndef SCALE\n"
                                   "#define SCALE 1u\n"
                                   "#endif\n"
                                   "precision highp float;\n"
                                   "precision highp int;\n"
                                   "layout(local_size_x = 64) in;\n"
                                   "layout(std430, binding = 0) readonly buffer Input { uint x[]; };\n"
                                   "layout(std430, binding = 1) writeonly buffer Output { uint y[]; };\n"
                                   "layout(std140, binding = 0) uniform Step { uint n; uint offset; };\n"
                                   "void main() {\n"
                                   "    uint i = gl_GlobalInvocationID.x;\n"
                                   "    if (i >= n) return;\n"
                                   "    y[i] = x[i] * SCALE + offset;\n"
                                   "}\n";

static inline void test_write_text(const char *folder, const char *name, const char *text)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

/* A fresh folder with scale.comp in it, from now on ESKER_GLSL_DIR. Valid until the next test_folder(). */
static inline const char *test_kernel_folder(const char *name)
{
    const char *folder = test_folder(name);
    test_write_text(folder, "scale.comp", kernel_scale);
    setenv("ESKER_GLSL_DIR", folder, 1);
    return folder;
}

#endif
