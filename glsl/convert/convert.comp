#version 310 es
// convert: y[i] = x[i] as another element type. float32 to integers rounds toward zero and clamps to the type's range (NaN gives some
//          value in range); int32 to uint8 clamps; int32 to float32 rounds
// Bindings  0 in  x [n]    1 out y [n]    padded to 16 bytes; uint8 packed four to a word, the first in the low byte
// Uniforms  n: elements, 1 to 2^31 - 1    groups_x: width of the folded grid    scale, shift: with SCALE a float32 result is
//           scale * x + shift
// Groups    (groups_x, any, 1) of 64; one invocation converts four neighbours. Elements past n in y's last 16 bytes (uint8: its
//           last word) get arbitrary values.
// Aliasing  y may be x where both have as many bytes
#ifndef FROM
#define FROM 0 // the numbers of esker_dtype: 0 float32, 1 int32, 2 uint8
#define TO 2
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

#if FROM == 0
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
#elif FROM == 1
layout(std430, binding = 0) readonly buffer X { ivec4 x[]; };
#else
layout(std430, binding = 0) readonly buffer X { uint x[]; };
#endif
#if TO == 0
layout(std430, binding = 1) writeonly buffer Y { vec4 y[]; };
#elif TO == 1
layout(std430, binding = 1) writeonly buffer Y { ivec4 y[]; };
#else
layout(std430, binding = 1) writeonly buffer Y { uint y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
    float scale, shift;
};
#ifdef SCALE
#define FLOAT(v) (scale * (v) + shift)
#else
#define FLOAT(v) (v)
#endif

#if FROM == 0 && TO == 1
int to_int(float v) // 2^31 is a float, 2^31 - 1 is not
{
    return v >= 2147483648.0 ? 0x7fffffff : v <= -2147483648.0 ? -0x7fffffff - 1 : int(v);
}
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * groups_x + group.x) * 64u + gl_LocalInvocationID.x;
    if (i >= (n + 3u) >> 2) return;
#if FROM == 2
    uvec4 bytes = (uvec4(x[i]) >> uvec4(0u, 8u, 16u, 24u)) & 0xffu;
#if TO == 0
    y[i] = FLOAT(vec4(bytes));
#else
    y[i] = ivec4(bytes);
#endif
#elif TO == 2
#if FROM == 0
    uvec4 v = uvec4(clamp(x[i], 0.0, 255.0));
#else
    uvec4 v = uvec4(clamp(x[i], 0, 255));
#endif
    y[i] = v.x | v.y << 8 | v.z << 16 | v.w << 24;
#elif TO == 0
    y[i] = FLOAT(vec4(x[i]));
#else
    vec4 v = x[i];
    y[i] = ivec4(to_int(v.x), to_int(v.y), to_int(v.z), to_int(v.w));
#endif
}
