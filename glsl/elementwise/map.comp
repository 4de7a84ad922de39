#version 310 es
// map: y[i] = EXPR, an expression over one element of each operand a, b, c: elementwise operations, broadcasting, and copies
//           by any strides (expand, permute)
// Bindings  0 .. OPERANDS-1 in  a, b, c    OPERANDS out y [n], row-major over the axes; padded to 16 bytes. Elements are float,
//           int, or bytes, four to a word, the first in the low byte, which EXPR sees and returns as uint (0 to 255)
// Uniforms  n: elements of y, 1 to 2^31 - 1    groups_x: width of the folded grid    k0, k1: constants of EXPR
//           axes[d]: length, and the strides of a, b, c in elements, outermost first (only if RANK > 0)
// Groups    (groups_x, any, 1), WG invocations each; one invocation writes four neighbouring elements. Elements past n inside
//           y's last 16 bytes (bytes: its last word) become zero: the gaps between gradients must stay so.
// Functions of EXPR with a name of their own are those of functions.comp, which FUNCTIONS puts in front (src/gpu/kernel.c), and the last ones here.
// Aliasing  y may be an operand in mode 0 with elements as wide as its own: an invocation reads exactly what it writes, before
//           it writes.
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
#ifndef HALVES
#define HALVES 0 // 1: stores of two elements, not four, which V3D has room for with all its threads
#endif
// Element types: the numbers of esker_dtype, 0 float, 1 int, 2 bytes; for copies 3, words of any meaning (all, with WORDS), and 5,
// halves of any meaning, two to a word, as uint.
#ifndef FLOAT16
#define FLOAT16 0
#endif
#if defined WORDS && !FLOAT16 // where a block holds halves, words are the floats that they are
#define TYPE_A 3
#define TYPE_B 3
#define TYPE_C 3
#define TYPE_Y 3
#endif
#ifndef TYPE_A
#define TYPE_A 0
#endif
#ifndef TYPE_B
#define TYPE_B 0
#endif
#ifndef TYPE_C
#define TYPE_C 0
#endif
#ifndef TYPE_Y
#define TYPE_Y 0
#endif
#if TYPE_A == 0
#define TA float
#define TA4 vec4
#elif TYPE_A == 1
#define TA int
#define TA4 ivec4
#else
#define TA uint
#define TA4 uvec4
#endif
#if TYPE_B == 0
#define TB float
#define TB4 vec4
#elif TYPE_B == 1
#define TB int
#define TB4 ivec4
#else
#define TB uint
#define TB4 uvec4
#endif
#if TYPE_C == 0
#define TC float
#define TC4 vec4
#elif TYPE_C == 1
#define TC int
#define TC4 ivec4
#else
#define TC uint
#define TC4 uvec4
#endif
#if TYPE_Y == 0
#define TY float
#define TY2 vec2
#define TY4 vec4
#elif TYPE_Y == 1
#define TY int
#define TY2 ivec2
#define TY4 ivec4
#else
#define TY uint
#define TY2 uvec2
#define TY4 uvec4
#endif
precision highp float;
precision highp int;

layout(local_size_x = WG) in;

uvec4 bytes(uint word)
{
    return uvec4(word) >> uvec4(0u, 8u, 16u, 24u) & 0xffu;
}

uvec4 halves(uint low, uint high)
{
    return uvec4(low & 0xffffu, low >> 16u, high & 0xffffu, high >> 16u);
}

#if TYPE_A != 2 && TYPE_A != 5 && (MODE_A == 0 || MODE_A == 3)
#if TYPE_A == 0
layout(std430, binding = 0) readonly buffer A { vec4 a_data[]; };
#elif TYPE_A == 1
layout(std430, binding = 0) readonly buffer A { ivec4 a_data[]; };
#else
layout(std430, binding = 0) readonly buffer A { uvec4 a_data[]; };
#endif
TA4 a_quad(uint quad) { return a_data[quad]; }
#else
#if TYPE_A == 0
layout(std430, binding = 0) readonly buffer A { float a_data[]; };
#elif TYPE_A == 1
layout(std430, binding = 0) readonly buffer A { int a_data[]; };
#else
layout(std430, binding = 0) readonly buffer A { uint a_data[]; };
#endif
#if TYPE_A == 2
TA4 a_quad(uint quad) { return bytes(a_data[quad]); }
TA a_at(uint i) { return a_data[i >> 2u] >> ((i & 3u) << 3u) & 0xffu; }
#elif TYPE_A == 5
TA4 a_quad(uint quad) { return halves(a_data[2u * quad], a_data[2u * quad + 1u]); }
TA a_at(uint i) { return a_data[i >> 1u] >> ((i & 1u) << 4u) & 0xffffu; }
#else
TA a_at(uint i) { return a_data[i]; }
#endif
#endif
#if OPERANDS > 1
#if TYPE_B != 2 && TYPE_B != 5 && (MODE_B == 0 || MODE_B == 3)
#if TYPE_B == 0
layout(std430, binding = 1) readonly buffer B { vec4 b_data[]; };
#elif TYPE_B == 1
layout(std430, binding = 1) readonly buffer B { ivec4 b_data[]; };
#else
layout(std430, binding = 1) readonly buffer B { uvec4 b_data[]; };
#endif
TB4 b_quad(uint quad) { return b_data[quad]; }
#else
#if TYPE_B == 0
layout(std430, binding = 1) readonly buffer B { float b_data[]; };
#elif TYPE_B == 1
layout(std430, binding = 1) readonly buffer B { int b_data[]; };
#else
layout(std430, binding = 1) readonly buffer B { uint b_data[]; };
#endif
#if TYPE_B == 2
TB4 b_quad(uint quad) { return bytes(b_data[quad]); }
TB b_at(uint i) { return b_data[i >> 2u] >> ((i & 3u) << 3u) & 0xffu; }
#elif TYPE_B == 5
TB4 b_quad(uint quad) { return halves(b_data[2u * quad], b_data[2u * quad + 1u]); }
TB b_at(uint i) { return b_data[i >> 1u] >> ((i & 1u) << 4u) & 0xffffu; }
#else
TB b_at(uint i) { return b_data[i]; }
#endif
#endif
#endif
#if OPERANDS > 2
#if TYPE_C != 2 && TYPE_C != 5 && (MODE_C == 0 || MODE_C == 3)
#if TYPE_C == 0
layout(std430, binding = 2) readonly buffer C { vec4 c_data[]; };
#elif TYPE_C == 1
layout(std430, binding = 2) readonly buffer C { ivec4 c_data[]; };
#else
layout(std430, binding = 2) readonly buffer C { uvec4 c_data[]; };
#endif
TC4 c_quad(uint quad) { return c_data[quad]; }
#else
#if TYPE_C == 0
layout(std430, binding = 2) readonly buffer C { float c_data[]; };
#elif TYPE_C == 1
layout(std430, binding = 2) readonly buffer C { int c_data[]; };
#else
layout(std430, binding = 2) readonly buffer C { uint c_data[]; };
#endif
#if TYPE_C == 2
TC4 c_quad(uint quad) { return bytes(c_data[quad]); }
TC c_at(uint i) { return c_data[i >> 2u] >> ((i & 3u) << 3u) & 0xffu; }
#elif TYPE_C == 5
TC4 c_quad(uint quad) { return halves(c_data[2u * quad], c_data[2u * quad + 1u]); }
TC c_at(uint i) { return c_data[i >> 1u] >> ((i & 1u) << 4u) & 0xffffu; }
#else
TC c_at(uint i) { return c_data[i]; }
#endif
#endif
#endif
#if TYPE_Y == 2 || TYPE_Y == 5
layout(std430, binding = OPERANDS) writeonly buffer Y { uint y_data[]; };
#elif HALVES == 1
layout(std430, binding = OPERANDS) writeonly buffer Y { TY2 y_data[]; };
#else
layout(std430, binding = OPERANDS) writeonly buffer Y { TY4 y_data[]; };
#endif

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
    float k0, k1;
    uint all_bits; // all ones, which the compiler does not know
#if RANK > 0
    uvec4 axes[RANK];
#endif
};

// Drop low bits of x's significand, so that products of what is left are exact.
float leading(float x, uint mask)
{
    return uintBitsToFloat(floatBitsToUint(x) & mask);
}

// x as it is. Some compilers reorder sums of floats (NVIDIA's does), and ES 3.1 has no word against it: what must be rounded here and
// in no other way goes through bits that they cannot see through.
float as_written(float x)
{
    return leading(x, all_bits);
}

// log2(x), x > 0, as a sum: 12 bits, and a rest with about 24 more. x = 2^e m, sqrt(1/2) <= m < sqrt(2); log2(m) = c artanh(s), s =
// (m - 1) / (m + 1), c = 2 / log(2), where s and c are split so that the leading product c s is exact.
vec2 log2_split(float x)
{
    bool tiny = x < 1.17549435e-38; // not a normal number, on devices that keep such
    uint bits = floatBitsToUint(tiny ? x * 16777216.0 : x);
    int e = int(bits - 0x3f3504f3u) >> 23;
    float m = uintBitsToFloat(bits - (uint(e) << 23u));
    float m_high = leading(m, 0xfffff000u);
    float below = m + 1.0;
    float above = as_written(m - 1.0), m_low = as_written(m - m_high);
    float s_high = leading(above / below, 0xffffc000u);
    float s_low = (as_written(above - as_written(s_high * (m_high + 1.0))) - as_written(s_high * m_low)) / below;
    float s = s_high + s_low;
    float q = s * s;
    float p = q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0)))));
    float whole = float(tiny ? e - 24 : e);
    float log_high = 2.884765625 * s_high;
    float log_low = 0.000624456792 * s_high + 2.88539008 * (s_low + s * p);
    float high = leading(whole + (log_high + log_low), 0xfffff000u);
    return vec2(high, as_written(as_written(whole - high) + log_high) + log_low);
}

// x^y with IEEE's rules for 0, 1 and negative x, finite x. y log2(x) = n + f with n whole is kept as long as its value needs; 2^f by
// Taylor's series, its first missing term below 6e-9.
float power(float x, float y)
{
    vec2 l = log2_split(abs(x));
    float y_high = leading(y, 0xfffff000u);
    float n = clamp(floor(y_high * l.x + 0.5), -250.0, 250.0);
    float f = clamp(as_written(as_written(y_high * l.x) - n) + (as_written(as_written(y - y_high) * l.x) + y * l.y), -1.0, 1.0);
    float p = 0.00961812865 + f * (0.00133335579 + f * (0.000154035297 + f * 0.0000152527336));
    p = 1.0 + f * (0.693147182 + f * (0.240226507 + f * (0.0555041097 + f * p)));
    int half_n = int(n) >> 1; // 2^n may overflow or vanish before the product does
    p *= uintBitsToFloat(uint(half_n + 127) << 23u);
    p *= uintBitsToFloat(uint(int(n) - half_n + 127) << 23u);
    bool odd = y == floor(y) && y != 2.0 * floor(0.5 * y);
    if (x == 0.0) p = y > 0.0 ? 0.0 : 1.0 / abs(x);
    if (x < 0.0) p = y != floor(y) ? 0.0 / (x - x) : odd ? -p : p;
    float both = x + y;
    if (isnan(both)) p = both;
    return y == 0.0 || x == 1.0 ? 1.0 : p;
}

// log(x) with a small relative error also near 1; -infinity at 0.
float log_accurate(float x)
{
    vec2 l = log2_split(x);
    return x > 0.0 ? 0.693147181 * (l.x + l.y) : log(x);
}

#if OPERANDS == 1
TY f(TA a) { return EXPR; }
#elif OPERANDS == 2
TY f(TA a, TB b) { return EXPR; }
#else
TY f(TA a, TB b, TC c) { return EXPR; }
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * groups_x + group.x) * uint(WG) + gl_LocalInvocationID.x; // the quad
    if (i >= (n + 3u) >> 2) return;

    TA4 a4 = TA4(0);
#if OPERANDS > 1
    TB4 b4 = TB4(0);
#endif
#if OPERANDS > 2
    TC4 c4 = TC4(0);
#endif
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
        a4[j] = a_at(at.x);
#endif
#if OPERANDS > 1 && MODE_B == 2
        b4[j] = b_at(at.y);
#endif
#if OPERANDS > 2 && MODE_C == 2
        c4[j] = c_at(at.z);
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
    a4 = TA4(a_at(at.x), a_at(at.x + next.x), a_at(at.x + 2u * next.x), a_at(at.x + 3u * next.x));
#elif MODE_A == 3
    a4 = a_quad(at.x >> 2u);
#elif MODE_A == 4
    a4 = TA4(a_at(at.x));
#endif
#if OPERANDS > 1
#if MODE_B == 2
    b4 = TB4(b_at(at.y), b_at(at.y + next.y), b_at(at.y + 2u * next.y), b_at(at.y + 3u * next.y));
#elif MODE_B == 3
    b4 = b_quad(at.y >> 2u);
#elif MODE_B == 4
    b4 = TB4(b_at(at.y));
#endif
#endif
#if OPERANDS > 2
#if MODE_C == 2
    c4 = TC4(c_at(at.z), c_at(at.z + next.z), c_at(at.z + 2u * next.z), c_at(at.z + 3u * next.z));
#elif MODE_C == 3
    c4 = c_quad(at.z >> 2u);
#elif MODE_C == 4
    c4 = TC4(c_at(at.z));
#endif
#endif
#endif
#endif
#if MODE_A == 0
    a4 = a_quad(i);
#elif MODE_A == 1
    a4 = TA4(a_at(0u));
#endif
#if OPERANDS > 1
#if MODE_B == 0
    b4 = b_quad(i);
#elif MODE_B == 1
    b4 = TB4(b_at(0u));
#endif
#endif
#if OPERANDS > 2
#if MODE_C == 0
    c4 = c_quad(i);
#elif MODE_C == 1
    c4 = TC4(c_at(0u));
#endif
#endif

#if OPERANDS == 1
    TY4 y = TY4(f(a4.x), f(a4.y), f(a4.z), f(a4.w));
#elif OPERANDS == 2
    TY4 y = TY4(f(a4.x, b4.x), f(a4.y, b4.y), f(a4.z, b4.z), f(a4.w, b4.w));
#else
    TY4 y = TY4(f(a4.x, b4.x, c4.x), f(a4.y, b4.y, c4.y), f(a4.z, b4.z, c4.z), f(a4.w, b4.w, c4.w));
#endif
    uint valid = n - i * 4u;
    if (valid < 4u) {
        y.w = TY(0);
        if (valid < 3u) y.z = TY(0);
        if (valid < 2u) y.y = TY(0);
    }
#if TYPE_Y == 2
    y_data[i] = y.x | y.y << 8u | y.z << 16u | y.w << 24u;
#elif TYPE_Y == 5
    y_data[2u * i] = y.x | y.y << 16u;
    y_data[2u * i + 1u] = y.z | y.w << 16u;
#elif HALVES == 1
    y_data[2u * i] = y.xy;
    memoryBarrierBuffer(); // keeps the two from being joined again
    y_data[2u * i + 1u] = y.zw;
#else
    y_data[i] = y;
#endif
}
