#version 310 es
// map: y[i] = EXPR, an expression over one element of each operand a, b, c: elementwise operations, broadcasting, and copies
//           by any strides (expand, permute)
// Bindings  0 .. OPERANDS-1 in  a, b, c    OPERANDS out y [n], row-major over the axes; 32-bit elements, padded to 16 bytes
// Uniforms  n: elements of y, 1 to 2^31 - 1    groups_x: width of the folded grid    k0, k1: constants of EXPR
//           axes[d]: length, and the strides of a, b, c in elements, outermost first (only if RANK > 0)
// Groups    (groups_x, any, 1), WG invocations each; one invocation writes four neighbouring elements. Elements past n inside
//           y's last 16 bytes become zero: the gaps between gradients must stay so.
// Aliasing  y may be an operand in mode 0: an invocation reads exactly what it writes, before it writes.
#ifndef EXPR
#define EXPR a + b
#define OPERANDS 2
#define RANK 3
#define MODE_A 0
#define MODE_B 2
#endif
// Operand modes: 0 the element of y itself; 1 one element for all; 2 strided; and with INNER4, where a quad stays within the last axis:
// 3 strided, contiguous along the last axis; 4 strided, constant along the last axis.
#ifndef OPERANDS
#define OPERANDS 1
#endif
#ifndef RANK
#define RANK 0 // 0: every operand is in mode 0 or 1
#endif
#ifndef INNER4
#define INNER4 0 // 1: the last axis is a multiple of four; axes[RANK - 1] then has a quarter of its length and four times its strides
#endif
#ifndef MODE_A
#define MODE_A 0
#endif
#ifndef MODE_B
#define MODE_B 0
#endif
#ifndef MODE_C
#define MODE_C 0
#endif
#ifndef WG
#define WG 64
#endif
#ifdef WORDS // copies move bits, whatever they mean
#define T uint
#define T4 uvec4
#else
#define T float
#define T4 vec4
#endif
precision highp float;
precision highp int;

layout(local_size_x = WG) in;

#if MODE_A == 0 || MODE_A == 3
layout(std430, binding = 0) readonly buffer A { T4 a_data[]; };
#else
layout(std430, binding = 0) readonly buffer A { T a_data[]; };
#endif
#if OPERANDS > 1
#if MODE_B == 0 || MODE_B == 3
layout(std430, binding = 1) readonly buffer B { T4 b_data[]; };
#else
layout(std430, binding = 1) readonly buffer B { T b_data[]; };
#endif
#endif
#if OPERANDS > 2
#if MODE_C == 0 || MODE_C == 3
layout(std430, binding = 2) readonly buffer C { T4 c_data[]; };
#else
layout(std430, binding = 2) readonly buffer C { T c_data[]; };
#endif
#endif
layout(std430, binding = OPERANDS) writeonly buffer Y { T4 y_data[]; };

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
    float k0, k1;
    uint unused;
#if RANK > 0
    uvec4 axes[RANK];
#endif
};

// Near 0 the quotient cancels, and a series is as good as float can be: its first missing term is below 1e-8 of x.
float tanh_stable(float x)
{
    float s = x * x;
    float series = x * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))));
    float e = exp(-2.0 * abs(x)); // in (0, 1]: cannot overflow
    float quotient = (1.0 - e) / (1.0 + e);
    return s < 0.0625 ? series : x < 0.0 ? -quotient : quotient;
}

float sigmoid_stable(float x)
{
    float e = exp(-abs(x)); // in (0, 1]: cannot overflow
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

#if OPERANDS == 1
T f(T a) { return EXPR; }
#elif OPERANDS == 2
T f(T a, T b) { return EXPR; }
#else
T f(T a, T b, T c) { return EXPR; }
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * groups_x + group.x) * uint(WG) + gl_LocalInvocationID.x; // the quad
    if (i >= (n + 3u) >> 2) return;

    T4 a4 = T4(0);
    T4 b4 = T4(0);
    T4 c4 = T4(0);
#if RANK > 0
    uint digit[RANK];
    uvec3 at = uvec3(0u);
    uint left = INNER4 == 1 ? i : i * 4u;
    for (int d = RANK - 1; d > 0; d--) {
        uint above = left / axes[d].x;
        digit[d] = left - above * axes[d].x;
        at += digit[d] * axes[d].yzw;
        left = above;
    }
    digit[0] = left;
    at += left * axes[0].yzw;
#if INNER4 == 0
    for (int j = 0; j < 4; j++) {
#if MODE_A == 2
        a4[j] = a_data[at.x];
#endif
#if OPERANDS > 1 && MODE_B == 2
        b4[j] = b_data[at.y];
#endif
#if OPERANDS > 2 && MODE_C == 2
        c4[j] = c_data[at.z];
#endif
        if (i * 4u + uint(j) + 1u < n) { // past the end the last element again, so that no operand is read out of bounds
            digit[RANK - 1]++;
            at += axes[RANK - 1].yzw;
            for (int d = RANK - 1; d > 0; d--) {
                if (digit[d] == axes[d].x) {
                    digit[d] = 0u;
                    digit[d - 1]++;
                    at += axes[d - 1].yzw - axes[d].x * axes[d].yzw; // wraps as intended
                }
            }
        }
    }
#else
    uvec3 next = axes[RANK - 1].yzw >> 2u;
#if MODE_A == 2
    a4 = T4(a_data[at.x], a_data[at.x + next.x], a_data[at.x + 2u * next.x], a_data[at.x + 3u * next.x]);
#elif MODE_A == 3
    a4 = a_data[at.x >> 2u];
#elif MODE_A == 4
    a4 = T4(a_data[at.x]);
#endif
#if OPERANDS > 1
#if MODE_B == 2
    b4 = T4(b_data[at.y], b_data[at.y + next.y], b_data[at.y + 2u * next.y], b_data[at.y + 3u * next.y]);
#elif MODE_B == 3
    b4 = b_data[at.y >> 2u];
#elif MODE_B == 4
    b4 = T4(b_data[at.y]);
#endif
#endif
#if OPERANDS > 2
#if MODE_C == 2
    c4 = T4(c_data[at.z], c_data[at.z + next.z], c_data[at.z + 2u * next.z], c_data[at.z + 3u * next.z]);
#elif MODE_C == 3
    c4 = c_data[at.z >> 2u];
#elif MODE_C == 4
    c4 = T4(c_data[at.z]);
#endif
#endif
#endif
#endif
#if MODE_A == 0
    a4 = a_data[i];
#elif MODE_A == 1
    a4 = T4(a_data[0]);
#endif
#if OPERANDS > 1
#if MODE_B == 0
    b4 = b_data[i];
#elif MODE_B == 1
    b4 = T4(b_data[0]);
#endif
#endif
#if OPERANDS > 2
#if MODE_C == 0
    c4 = c_data[i];
#elif MODE_C == 1
    c4 = T4(c_data[0]);
#endif
#endif

#if OPERANDS == 1
    T4 y = T4(f(a4.x), f(a4.y), f(a4.z), f(a4.w));
#elif OPERANDS == 2
    T4 y = T4(f(a4.x, b4.x), f(a4.y, b4.y), f(a4.z, b4.z), f(a4.w, b4.w));
#else
    T4 y = T4(f(a4.x, b4.x, c4.x), f(a4.y, b4.y, c4.y), f(a4.z, b4.z, c4.z), f(a4.w, b4.w, c4.w));
#endif
    uint valid = n - i * 4u;
    if (valid < 4u) {
        y.w = T(0);
        if (valid < 3u) y.z = T(0);
        if (valid < 2u) y.y = T(0);
    }
    y_data[i] = y;
}
