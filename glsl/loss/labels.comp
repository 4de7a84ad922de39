#version 310 es
// labels: what losses with labels need for each row.
//           MODE 0: y[i] = -x[i][label];  1: y[i] = w[label] (WEIGHTS 0: 1);  2: y[i][c] = -g[i] at the label, else 0
// Labels    `ignored` gives 0. Another label outside 0 .. classes-1 gives NaN in modes 0 and 1, 0 in mode 2, and reads nothing
// Bindings  0 in x f32 [rows, classes] (mode 0), w f32 [classes] (mode 1, WEIGHTS 1), g f32 [rows] (mode 2)    1 in labels i32 [rows]
//           2 out y f32 [rows], in mode 2 [rows, classes]    (mode 1, WEIGHTS 0: 0 labels, 1 y)
// Uniforms  n: elements of y    nan: the bits of a NaN, out of the compiler's sight
// Groups    linear, folded over x and y, groups * 64 >= n
// Limits    64 invocations, 3 storage blocks
#ifndef MODE
#define MODE 0
#endif
#ifndef WEIGHTS
#define WEIGHTS 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n;
    uint classes;
    int ignored;
    uint nan;
};

#if MODE == 1 && WEIGHTS == 0
layout(std430, binding = 0) readonly buffer Labels { int labels[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#else
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer Labels { int labels[]; };
layout(std430, binding = 2) writeonly buffer Y { float y[]; };
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint i = group * 64u + gl_LocalInvocationIndex;
    if (i >= n) return;
#if MODE == 2
    uint row = i / classes;
    int label = labels[row];
    y[i] = label != ignored && label >= 0 && uint(label) == i - row * classes ? -x[row] : 0.0;
#else
    int label = labels[i];
    float result = 0.0;
    if (label != ignored) {
        if (label < 0 || uint(label) >= classes) result = uintBitsToFloat(nan);
#if MODE == 0
        else result = -x[i * classes + uint(label)];
#elif WEIGHTS
        else result = x[label];
#else
        else result = 1.0;
#endif
    }
    y[i] = result;
#endif
}
