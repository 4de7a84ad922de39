#version 310 es
// gemm/whole: t[i][j] = sum_p a(i, p) opb(p, j) + bias[j] with whole rows of t in a group, ROWS of them, and then what needs all of a row: its norm, or
//             the gradient of a norm. For rows that are short, n <= 4 TX
//
// The rows of a lie in shared memory, CHUNK of p at a time; b is read from memory, each element once by a group. An invocation adds up ROWS x 4
// elements over its share of p, one of SLICES, and then the slices are added. What the end reads is read in the beginning: it is a chain of waits else.
//
// Order     slice s adds up blocks s, s + SLICES, ... of four values of p, each in order of p; then the slices are added in order: fixed by k alone
// Norms     NORM 1: t, behind its tail, is normalised along its row: y = (t - mean) rstd weight + shift; rstd = 1 / sqrt(variance + eps)
//           NORM 2: t is the gradient of such a y, with respect to x, whose statistics are given: y = rstd (t' - mean(t') - h mean(t' h)),
//                   t' = t weight, h = (x - mean) rstd; AGAIN: and y once more, h weight + shift
//           KIND 0: mean and variance; 1: mean 0, and the mean square in place of the variance
//           TAIL_LAST: the tail is that of y, in place of that of t
// Bindings  0 in a f32 [m, k]    1 in b f32: [k, n], or [n, k] if TB    2 in bias f32 [n] (if BIAS)    then those of TAIL; then, each macro its number,
//           or 0 where there is none: T out f32 [m, n]; WEIGHT, SHIFT in f32 [n]; STATS vec2 (mean, variance) [m], out in NORM 1, in in NORM 2;
//           X in f32 [m, n] (NORM 2); Y out f32 [m, n]; AGAIN out f32 [m, n]
// Uniforms  m, n, k >= 1, n a multiple of 4
// Groups    ceil(m / ROWS), folded over x and y: groups_x of them in x
// Variants  VA, VB: k is a multiple of 4, and what lies along it is read as vec4
// Limits    TX SLICES invocations, at least ROWS TX and 8 ROWS; shared memory as `held`, `parts`, `found`
#ifndef TB
#define TB 0
#endif
#ifndef VA
#define VA 0
#endif
#ifndef VB
#define VB 0
#endif
#ifndef TX
#define TX 8 // invocations of a slice, four columns each, and slices: literals for layout()
#define SLICES 8
#endif
#ifndef NEAR
#define NEAR 1 // slices whose invocations are neighbours: a divisor of SLICES
#endif
#ifndef ROWS
#define ROWS 4 // 2, 4, 6 or 8
#endif
#ifndef TURN
#define TURN 2 // rows whose slices are added at once
#endif
#ifndef CHUNK
#define CHUNK 64 // a multiple of 4
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef NORM
#define NORM 1
#define Y 2
#endif
#ifndef KIND
#define KIND 0
#endif
#ifndef T
#define T 0
#endif
#ifndef WEIGHT
#define WEIGHT 0
#endif
#ifndef SHIFT
#define SHIFT 0
#endif
#ifndef STATS
#define STATS 0
#endif
#ifndef AGAIN
#define AGAIN 0
#endif
#ifndef TAIL_LAST
#define TAIL_LAST 0
#endif
#ifndef TAIL // what becomes of the elements from `at` on: blocks, what is read of them, and functions (src/ops/contract.c)
#define TAIL struct Ahead { float none; }; Ahead tail_ahead(uint at) { return Ahead(0.0); } vec4 tail4(vec4 t, Ahead o) { return t; }
#endif
#define SIZE (TX * SLICES)
#define TURNS ((ROWS + TURN - 1) / TURN)
#define FOURS (CHUNK / 4)
#define LANES 8 // that add up what invocations know of a row
precision highp float;
precision highp int;
layout(local_size_x = TX, local_size_y = SLICES) in;

#if VA
layout(std430, binding = 0) readonly buffer A { vec4 a[]; };
#else
layout(std430, binding = 0) readonly buffer A { float a[]; };
#endif
#if TB && !VB
layout(std430, binding = 1) readonly buffer B { float b[]; };
#else
layout(std430, binding = 1) readonly buffer B { vec4 b[]; };
#endif
#if BIAS
layout(std430, binding = 2) readonly buffer Bias { vec4 bias[]; };
#endif
TAIL
#if T
layout(std430, binding = T) writeonly buffer OfProduct { vec4 t_out[]; };
#endif
#if WEIGHT
layout(std430, binding = WEIGHT) readonly buffer Weight { vec4 weight[]; };
#endif
#if SHIFT
layout(std430, binding = SHIFT) readonly buffer Shift { vec4 shift[]; };
#endif
#if NORM == 2
layout(std430, binding = X) readonly buffer OfX { vec4 x[]; };
layout(std430, binding = STATS) readonly buffer Stats { vec2 stats[]; };
#elif STATS
layout(std430, binding = STATS) writeonly buffer Stats { vec2 stats_out[]; };
#endif
layout(std430, binding = Y) writeonly buffer Result { vec4 y[]; };
#if AGAIN
layout(std430, binding = AGAIN) writeonly buffer OfNorm { vec4 again[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint m, n, k, groups_x;
    float eps;
};

#if ROWS * FOURS > SIZE * TURN
shared vec4 held[ROWS * FOURS]; // rows of a, and later of each slice TURN rows of sums
#else
shared vec4 held[SIZE * TURN];
#endif
shared vec2 parts[ROWS * TX]; // of four elements of a row, and of what a lane adds up: NORM 1 mean, and sum of squared distances; NORM 2 sums of t' h, t'
shared vec2 found[ROWS * LANES];

#if ROWS == 2
#define EACH(DO) DO(0, s0) DO(1, s1)
#elif ROWS == 4
#define EACH(DO) DO(0, s0) DO(1, s1) DO(2, s2) DO(3, s3)
#elif ROWS == 6
#define EACH(DO) DO(0, s0) DO(1, s1) DO(2, s2) DO(3, s3) DO(4, s4) DO(5, s5)
#else
#define EACH(DO) DO(0, s0) DO(1, s1) DO(2, s2) DO(3, s3) DO(4, s4) DO(5, s5) DO(6, s6) DO(7, s7)
#endif

// Four values of p from `at` on of row i, zeros past the end; by selection, since what lies there may be infinite.
vec4 row_of_a(uint i, uint at)
{
    uint from = min(i, m - 1u) * k;
#if VA
    return a[(from + at) >> 2];
#else
    uint last = k - 1u;
    vec4 r = vec4(a[from + at], a[from + min(at + 1u, last)], a[from + min(at + 2u, last)], a[from + min(at + 3u, last)]);
    return vec4(r.x, at + 1u < k ? r.y : 0.0, at + 2u < k ? r.z : 0.0, at + 3u < k ? r.w : 0.0);
#endif
}

// Of b, p from `at` on of four columns: x, y, z, w are the rows of p, p + 1, p + 2, p + 3. Columns past the last repeat it.
struct Block {
    vec4 x, y, z, w;
};
#if TB // a column lies along p
vec4 line(uint j, uint at)
{
    uint from = min(j, n - 1u) * k;
#if VB
    return b[(from + at) >> 2];
#else
    uint last = k - 1u;
    vec4 r = vec4(b[from + at], b[from + min(at + 1u, last)], b[from + min(at + 2u, last)], b[from + min(at + 3u, last)]);
    return vec4(r.x, at + 1u < k ? r.y : 0.0, at + 2u < k ? r.z : 0.0, at + 3u < k ? r.w : 0.0);
#endif
}
Block block(uint j, uint at)
{
    vec4 c0 = line(j, at), c1 = line(j + 1u, at), c2 = line(j + 2u, at), c3 = line(j + 3u, at);
    return Block(vec4(c0.x, c1.x, c2.x, c3.x), vec4(c0.y, c1.y, c2.y, c3.y), vec4(c0.z, c1.z, c2.z, c3.z),
                 vec4(c0.w, c1.w, c2.w, c3.w));
}
#else
vec4 line(uint j, uint p)
{
#if !VA
    if (p >= k) return vec4(0.0);
#endif
    return b[(p * n + min(j, n - 4u)) >> 2];
}
Block block(uint j, uint at)
{
    return Block(line(j, at), line(j, at + 1u), line(j, at + 2u), line(j, at + 3u));
}
#endif

#define SHARED                                                                                                                   \
    memoryBarrierShared();                                                                                                       \
    barrier();

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i_first = (group.y * groups_x + group.x) * uint(ROWS), here = gl_LocalInvocationIndex;
    uint tx = here / uint(NEAR) % uint(TX), column = 4u * tx;
    uint slice = here % uint(NEAR) + here / uint(NEAR * TX) * uint(NEAR);

    // The four elements that this invocation has in the end, if it has any.
    uint row = here / uint(TX), four = here % uint(TX), fours_n = n / 4u, i = i_first + row;
    bool mine = row < uint(ROWS) && four < fours_n && i < m;
    uint at = min(i, m - 1u) * n + 4u * min(four, fours_n - 1u);
    Ahead ahead = tail_ahead(at);
    vec4 weights = vec4(1.0), shifts = vec4(0.0), of_x = vec4(0.0);
    vec2 statistics = vec2(0.0);
#if BIAS
    vec4 biases = bias[min(four, fours_n - 1u)];
#endif
#if WEIGHT
    weights = weight[min(four, fours_n - 1u)];
#endif
#if SHIFT
    shifts = shift[min(four, fours_n - 1u)];
#endif
#if NORM == 2
    of_x = x[at >> 2];
    statistics = stats[min(i, m - 1u)];
#endif

#define DECLARE(r, S) vec4 S = vec4(0.0);
    EACH(DECLARE)
    for (uint first = 0u; first < k; first += uint(CHUNK)) {
        uint fours = min((k - first + 3u) / 4u, uint(FOURS));
        // The next block of b is on its way during the arithmetic of this one, the first one while the rows of a arrive.
        Block next = Block(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
        if (slice < fours) next = block(column, first + 4u * slice);
        for (uint e = here; e < uint(ROWS * FOURS); e += uint(SIZE)) {
            uint r = e / uint(FOURS), q = e % uint(FOURS);
            if (q < fours) held[e] = row_of_a(i_first + r, first + 4u * q);
        }
        SHARED
        for (uint q = slice; q < fours; q += uint(SLICES)) {
            Block of_b = next;
            if (q + uint(SLICES) < fours) next = block(column, first + 4u * (q + uint(SLICES)));
#define ADD(r, S)                                                                                                                \
    {                                                                                                                            \
        vec4 v = held[uint(r * FOURS) + q];                                                                                      \
        S += v.x * of_b.x;                                                                                                       \
        S += v.y * of_b.y;                                                                                                       \
        S += v.z * of_b.z;                                                                                                       \
        S += v.w * of_b.w;                                                                                                       \
    }
            EACH(ADD)
        }
        SHARED
    }

    // TURN rows at a time: all slices share theirs, and who has elements of these rows adds them up.
    vec4 t = vec4(0.0);
    for (int turn = 0; turn < TURNS; turn++) {
#define GIVE(r, S)                                                                                                               \
    if (r / TURN == turn) held[(slice * uint(TURN) + uint(r % TURN)) * uint(TX) + tx] = S;
        EACH(GIVE)
        SHARED
        if (row / uint(TURN) == uint(turn))
            for (uint s = 0u; s < uint(SLICES); s++) t += held[(s * uint(TURN) + row % uint(TURN)) * uint(TX) + four];
        SHARED
    }
#if BIAS
    t += biases;
#endif
#if !TAIL_LAST
    t = tail4(t, ahead);
#endif

    // What the row is like: from fours of it, then LANES of it, then all.
#if NORM == 1
#if KIND == 0
    float mean4 = ((t.x + t.y) + (t.z + t.w)) * 0.25;
#else
    const float mean4 = 0.0;
#endif
    vec4 d = t - mean4;
    vec2 of_four = vec2(mean4, dot(d, d));
#else
    vec4 h = (of_x - statistics.x) * inversesqrt(statistics.y + eps);
    vec4 weighted = t * weights;
    vec2 of_four = vec2(dot(weighted, h), (weighted.x + weighted.y) + (weighted.z + weighted.w));
#endif
    if (row < uint(ROWS)) parts[here] = of_four;
    SHARED
#define OF_LANE(l) float((fours_n + uint(LANES - 1) - uint(l)) / uint(LANES)) // fours
    uint lane = here % uint(LANES), of_row = here / uint(LANES);
    if (of_row < uint(ROWS)) {
        vec2 all = vec2(0.0);
        for (int e = 0; e < (TX + LANES - 1) / LANES; e++) {
            uint place = lane + uint(e * LANES);
            if (place < fours_n) all += parts[of_row * uint(TX) + place];
        }
#if NORM == 1 && KIND == 0
        all.x /= max(OF_LANE(lane), 1.0);
        for (int e = 0; e < (TX + LANES - 1) / LANES; e++) {
            uint place = lane + uint(e * LANES);
            float off = place < fours_n ? parts[of_row * uint(TX) + place].x - all.x : 0.0;
            all.y += 4.0 * off * off;
        }
#endif
        found[here] = all;
    }
    SHARED
    if (!mine) return;
    vec2 all = vec2(0.0);
#if NORM == 1 && KIND == 0
    for (int l = 0; l < LANES; l++) all.x += found[row * uint(LANES) + uint(l)].x * OF_LANE(l);
    all.x /= float(fours_n);
    for (int l = 0; l < LANES; l++) {
        vec2 one = found[row * uint(LANES) + uint(l)];
        all.y += one.y + 4.0 * OF_LANE(l) * (one.x - all.x) * (one.x - all.x);
    }
#else
    for (int l = 0; l < LANES; l++) all += found[row * uint(LANES) + uint(l)];
#endif
#if NORM == 1
    all.y /= float(n);
#if STATS
    if (four == 0u) stats_out[i] = all;
#endif
    vec4 result = (t - all.x) * inversesqrt(all.y + eps) * weights + shifts;
#else
    all /= float(n);
#if KIND == 1
    all.y = 0.0;
#endif
    vec4 result = inversesqrt(statistics.y + eps) * (weighted - all.y - h * all.x);
#endif
#if TAIL_LAST
    result = tail4(result, ahead);
#endif
#if T
    t_out[at >> 2] = t;
#endif
#if AGAIN
    again[at >> 2] = h * weights + shifts;
#endif
    y[at >> 2] = result;
}
