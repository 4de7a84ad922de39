#version 310 es
// convert: y[i] = x[i] as another element type. float32 to integers rounds toward zero and clamps to the type's range (NaN gives some
//          value in range); integers are clamped to narrower ones, and rounded to floats; to float16 values are clamped to +-65504 and
//          rounded, in a direction that GLSL leaves open, and halves below 2^-14 may become 0, to and fro
// Bindings  0 in  x [n]    1 out y [n]    padded to 16 bytes; uint8 and int8 packed four to a word, float16 two, the first
//           in the low bits
// Uniforms  n: elements, 1 to 2^31 - 1    groups_x: width of the folded grid    scale, shift: with SCALE a float32 result is
//           scale * x + shift
// Groups    (groups_x, any, 1) of 64; one invocation converts four neighbours. Elements past n in y's last 16 bytes (bytes: its
//           last word; halves: its last two) get arbitrary values.
// Aliasing  y may be x where both have as many bytes
#ifndef FROM
#define FROM 0 // the numbers of esker_dtype: 0 float32, 1 int32, 2 uint8, 3 float16, 4 int8
#define TO 2
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

// Four elements: as they lie in memory, and V, as numbers.
#if FROM == 0
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
#elif FROM == 1
layout(std430, binding = 0) readonly buffer X { ivec4 x[]; };
#elif FROM == 3
layout(std430, binding = 0) readonly buffer X { uvec2 x[]; };
#else
layout(std430, binding = 0) readonly buffer X { uint x[]; };
#endif
#if TO == 0
#define Y_T vec4
#elif TO == 1
#define Y_T ivec4
#elif TO == 3
#define Y_T uvec2
#else
#define Y_T uint
#endif
#if FROM == 0 || FROM == 3
#define V vec4
#else
#define V ivec4
#endif
layout(std430, binding = 1) writeonly buffer Y { Y_T y[]; };
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

V load(uint i)
{
#if FROM == 2
    return ivec4((uvec4(x[i]) >> uvec4(0u, 8u, 16u, 24u)) & 0xffu);
#elif FROM == 3
    uvec2 words = x[i];
    vec2 low = unpackHalf2x16(words.x), high = unpackHalf2x16(words.y); // mediump results: highp from here on
    return vec4(low, high);
#elif FROM == 4
    return ivec4(uvec4(x[i]) << uvec4(24u, 16u, 8u, 0u)) >> 24;
#else
    return x[i];
#endif
}

#if TO == 1 && (FROM == 0 || FROM == 3)
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
    V v = load(i);
#if TO == 0
    y[i] = FLOAT(vec4(v));
#elif TO == 3
#if FROM == 0
    vec4 f = mix(clamp(v, -65504.0, 65504.0), v, isnan(v));
#else
    vec4 f = clamp(vec4(v), -65504.0, 65504.0);
#endif
    y[i] = uvec2(packHalf2x16(f.xy), packHalf2x16(f.zw));
#elif TO == 1
#if FROM == 0 || FROM == 3
    y[i] = ivec4(to_int(v.x), to_int(v.y), to_int(v.z), to_int(v.w));
#else
    y[i] = v;
#endif
#else
#if TO == 2
    uvec4 b = uvec4(ivec4(clamp(v, V(0), V(255))));
#else
    uvec4 b = uvec4(ivec4(clamp(v, V(-128), V(127)))) & 0xffu;
#endif
    y[i] = b.x | b.y << 8 | b.z << 16 | b.w << 24;
#endif
}
