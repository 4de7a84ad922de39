#version 310 es
// gemm/few_rows: c[i][j] = tail(sum_p opa(i, p) b[p][j] + bias[j]) for up to 16 rows and many columns: an invocation has all rows of four columns,
//                so that each element of b is read once, by one invocation, EIGHT rows of it on their way while eight are used; a is shared
//
// Order     every element is one running sum over p = 0, 1, 2, ..., as in gemm/direct
// Bindings  0 in a f32: [m, k], or [k, m] if TA    1 in b f32 [k, n]    2 in bias f32 (if BIAS; of i, not of j, if BIAS_OF_ROW)    then those of TAIL    last out c f32 [m, n]
// Uniforms  m: 1 to 4 M4; n: a multiple of 4; k >= 1; bias_step: 1, or 0 for a bias of one element
// Groups    (ceil(n / (4 SIZE)), 1, 1)
// Limits    SIZE invocations; 16 M4 KC bytes shared; registers about 16 M4 + 64 + 20
#ifndef TA
#define TA 0
#endif
#ifndef SIZE
#define SIZE 128 // invocations, a literal for layout()
#endif
#ifndef M4
#define M4 4 // fours of rows, 1 to 4
#endif
#ifndef KC
#define KC 128 // values of p of a that are shared at once, a multiple of 8
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef BIAS_OF_ROW
#define BIAS_OF_ROW 0
#endif
#ifndef TAIL // what becomes of element `at` of the result: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
#ifndef OUT_BINDING // behind the bias and the blocks of the tail
#define OUT_BINDING 2
#endif
precision highp float;
precision highp int;
layout(local_size_x = SIZE) in;

layout(std430, binding = 0) readonly buffer A { float a[]; };
layout(std430, binding = 1) readonly buffer B { vec4 b[]; };
#if BIAS
layout(std430, binding = 2) readonly buffer Bias { float bias[]; };
#endif
TAIL
layout(std430, binding = OUT_BINDING) writeonly buffer C { vec4 c[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint m, n, k, bias_step;
};

shared vec4 rows[KC * M4]; // of op(a), four of one p together

float a_at(uint i, uint p)
{
#if TA
    return i < m ? a[p * m + i] : 0.0;
#else
    return i < m ? a[i * k + p] : 0.0;
#endif
}

void store4(uint i, uint j, vec4 s)
{
    if (i >= m) return;
#if BIAS && BIAS_OF_ROW
    s += bias[i * bias_step];
#elif BIAS
    s += vec4(bias[j * bias_step], bias[(j + 1u) * bias_step], bias[(j + 2u) * bias_step], bias[(j + 3u) * bias_step]);
#endif
    uint at = i * n + j;
    c[at >> 2] = tail4(s, at);
}

// The products of one p: four rows, then all.
#define FOUR(S0, S1, S2, S3, r, B)                                                                                               \
    {                                                                                                                            \
        vec4 u = rows[p * uint(M4) + uint(r)];                                                                                   \
        S0 += u.x * B;                                                                                                           \
        S1 += u.y * B;                                                                                                           \
        S2 += u.z * B;                                                                                                           \
        S3 += u.w * B;                                                                                                           \
    }
#if M4 == 1
#define EACH(DO, B) DO(s0, s1, s2, s3, 0, B)
#elif M4 == 2
#define EACH(DO, B) DO(s0, s1, s2, s3, 0, B) DO(s4, s5, s6, s7, 1, B)
#elif M4 == 3
#define EACH(DO, B) DO(s0, s1, s2, s3, 0, B) DO(s4, s5, s6, s7, 1, B) DO(s8, s9, s10, s11, 2, B)
#else
#define EACH(DO, B) DO(s0, s1, s2, s3, 0, B) DO(s4, s5, s6, s7, 1, B) DO(s8, s9, s10, s11, 2, B) DO(s12, s13, s14, s15, 3, B)
#endif
#define ZERO(S0, S1, S2, S3, r, B) vec4 S0 = vec4(0.0), S1 = vec4(0.0), S2 = vec4(0.0), S3 = vec4(0.0);
#define STORE(S0, S1, S2, S3, r, B)                                                                                              \
    store4(uint(4 * r), 4u * j, S0);                                                                                             \
    store4(uint(4 * r + 1), 4u * j, S1);                                                                                         \
    store4(uint(4 * r + 2), 4u * j, S2);                                                                                         \
    store4(uint(4 * r + 3), 4u * j, S3);
#define STEP(B)                                                                                                                  \
    EACH(FOUR, B)                                                                                                                \
    p++;
#define EIGHT(at)                                                                                                                \
    b0 = b[at];                                                                                                                  \
    b1 = b[at + n4];                                                                                                             \
    b2 = b[at + 2u * n4];                                                                                                        \
    b3 = b[at + 3u * n4];                                                                                                        \
    b4 = b[at + 4u * n4];                                                                                                        \
    b5 = b[at + 5u * n4];                                                                                                        \
    b6 = b[at + 6u * n4];                                                                                                        \
    b7 = b[at + 7u * n4];

void main()
{
    uint here = gl_LocalInvocationIndex, n4 = n / 4u, j = (gl_WorkGroupID.x + group_base.x) * uint(SIZE) + here;
    uint at = min(j, n4 - 1u); // of row `first + p` of b, here
    EACH(ZERO, at)
    for (uint first = 0u; first < k; first += uint(KC)) {
        uint n_p = min(uint(KC), k - first), eights = n_p & ~7u, p = 0u;
        vec4 b0, b1, b2, b3, b4, b5, b6, b7;
        if (eights > 0u) {
            EIGHT(at)
        }
        memoryBarrierShared();
        barrier(); // nobody reads the rows of before any more
        for (uint e = here; e < n_p * uint(M4); e += uint(SIZE)) {
#if TA
            uint q = e / uint(M4), r = e % uint(M4);
#else
            uint q = e % n_p, r = e / n_p;
#endif
            rows[q * uint(M4) + r] = vec4(a_at(4u * r, first + q), a_at(4u * r + 1u, first + q), a_at(4u * r + 2u, first + q), a_at(4u * r + 3u, first + q));
        }
        memoryBarrierShared();
        barrier();
        while (p < eights) {
            vec4 u0 = b0, u1 = b1, u2 = b2, u3 = b3, u4 = b4, u5 = b5, u6 = b6, u7 = b7;
            at += 8u * n4;
            if (p + 8u < eights) {
                EIGHT(at)
            }
            STEP(u0)
            STEP(u1)
            STEP(u2)
            STEP(u3)
            STEP(u4)
            STEP(u5)
            STEP(u6)
            STEP(u7)
        }
        while (p < n_p) {
            vec4 u0 = b[at];
            at += n4;
            STEP(u0)
        }
    }
    if (j >= n4) return;
    EACH(STORE, at)
}
