#version 310 es
// gemm/tiled: c[i][j] = tail(sum_p opa(i, p) opb(p, j) + bias[j]); each group BM x BN elements, each invocation 4 MR x 4 NR of them,
//             from BK values of p at a time in shared memory: two tiles, one of which is filled while the other is used, or one of many values
//             of p; SLICES of invocations may share these out
//
// BM = 4 MR TY, BN = 4 NR TX. What fits where: shared memory 4 BUFFERS BK (BM + BN) bytes; registers about 16 MR NR + 4 (MR + NR) + 16 LOADS + 20,
// where LOADS is how many blocks of 4 x 4 an invocation moves for each BK.
//
// Order     with one slice every element is one running sum over p = 0, 1, 2, ..., as in gemm/direct; with more, slice s has one over the BK / SLICES values of
//           p from s BK / SLICES on of every BK, and these are added in order
// Bindings  0 in a f32: [m, k], or [k, m] if TA    1 in b f32: [k, n], or [n, k] if TB    2 in bias f32 (if BIAS; of i, not of j, if BIAS_OF_ROW)    then those of TAIL    last out c f32
//           c is [m, n]; if SPLIT, [splits, m, n] of partial sums for gemm/sum_splits, each over the `chunk` values of p before the next one's,
//           the last up to k and the first over what is left
//           MEET: k is in two splits, whose groups meet in c (gemm/meet), which is the result; behind c u32 [batches, tiles], all 0
//           BATCH: many such products, c [batches, m, n] (if SPLIT, [splits, batches, m, n]), a and b as the steps say
// Uniforms  m, n, k >= 1; chunk: multiple of BK, or k; bias_step: 1, or 0 for a bias of one element;
//           last_a, last_b: the last four of each operand (read if VA, VB); batches, lengths, step_a, step_b (read if BATCH): as in gemm/direct, the steps
//           in elements
// Groups    (ceil(n / BN), ceil(m / BM), batches * splits)
// Variants  VA: a is read as vec4 (where BATCH, the steps of a are multiples of 4), at the four in which a row begins and, where that is not the row's
//           beginning, the next; VB: the same for b; AT_K, AT_M, AT_N: k, m and n modulo 4, as far as VA and VB need them; VC: n is a multiple of 4;
//           WHOLE: k is a multiple of BK; EVEN: m and n are multiples of BM and BN
// Limits    TX TY SLICES invocations; shared memory as above
#ifndef TA
#define TA 0
#endif
#ifndef TB
#define TB 0
#endif
#ifndef VA
#define VA 0
#endif
#ifndef VB
#define VB 0
#endif
#ifndef AT_K
#define AT_K 0
#endif
#ifndef AT_M
#define AT_M 0
#endif
#ifndef AT_N
#define AT_N 0
#endif
#ifndef VC
#define VC 0
#endif
#ifndef WHOLE
#define WHOLE 0
#endif
#ifndef EVEN
#define EVEN 0
#endif
#ifndef TX
#define TX 8 // invocations along n and m, literals for layout(): powers of two
#define TY 8
#endif
#ifndef MR
#define MR 2 // blocks of four rows (1, 2 or 4) and of four columns (1 or 2) of an invocation
#define NR 2
#endif
#ifndef BK
#define BK 8 // values of p of a tile: 8, 16, 32, 64 or 128
#endif
#ifndef BUFFERS
#define BUFFERS 2 // tiles of each operand: 2, or 1 where all k fits, or a tile is so long that waiting for it counts little
#endif
#ifndef SLICES
#define SLICES 1 // parts of each BK, each with its own TX x TY invocations: a power of two; BK / SLICES is a multiple of UNROLL
#endif
#ifndef LANES
#define LANES 0 // 0: neighbours along n; 1: 8 x 4 of each 32; 2: the same in zigzag (TX >= 8 and TY >= 4 both)
#endif
#ifndef STRIP
#define STRIP 0 // 0, or how many groups along n take turns along m: of large matrices, what groups that run at once read stays in the cache. Then
                // the next blocks are read without asking whether there are any, where both operands are aligned
#endif
#ifndef SPLIT
#define SPLIT 0
#endif
#ifndef MEET // 0, or the binding of the block behind c; then SPLIT, too
#define MEET 0
#endif
#ifndef BATCH
#define BATCH 0 // batch axes, to 4
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
#ifndef UNROLL
#define UNROLL 4 // values of p written out: 4, 8 or 16
#endif
#ifndef SUMS
#define SUMS 0
#endif
#ifndef UPDATE // 1 or 4: the result is a gradient that updates parameters (optim/rules)
#define UPDATE 0
#endif
#ifndef SUMS_UPDATE // the sums do, too
#define SUMS_UPDATE 0
#endif
#define EARLY (UPDATE == 4 && MR * NR == 1 && SLICES == 1) // few sums: what updates read is asked for while the last tile is used
#define N_HERE (TX * TY * SLICES)
precision highp float;
precision highp int;
layout(local_size_x = TX, local_size_y = TY, local_size_z = SLICES) in;

#if VA
layout(std430, binding = 0) readonly buffer A { vec4 a[]; };
#else
layout(std430, binding = 0) readonly buffer A { float a[]; };
#endif
#if VB
layout(std430, binding = 1) readonly buffer B { vec4 b[]; };
#else
layout(std430, binding = 1) readonly buffer B { float b[]; };
#endif
#if BIAS
layout(std430, binding = 2) readonly buffer Bias { float bias[]; };
#endif
TAIL
#if MEET // what one group wrote another reads
#if VC
layout(std430, binding = OUT_BINDING) coherent buffer C { vec4 c[]; };
#else
layout(std430, binding = OUT_BINDING) coherent buffer C { float c[]; };
#endif
layout(std430, binding = MEET) coherent buffer Meetings { uint meetings[]; };
#elif VC && !UPDATE
layout(std430, binding = OUT_BINDING) writeonly buffer C { vec4 c[]; };
#elif !UPDATE
layout(std430, binding = OUT_BINDING) writeonly buffer C { float c[]; };
#endif
#if SUMS && !SPLIT && !SUMS_UPDATE
layout(std430, binding = SUMS) writeonly buffer Sums { float sums[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint m, n, k, chunk, bias_step, sums_step, last_a, last_b, batches;
    uvec4 lengths, step_a, step_b;
};

#define ROWS4 uint(MR * TY) // of a tile of a, in fours
#define COLS4 uint(NR * TX)
#define K4 uint(BK / 4)
#define UNITS_A (MR * TY * BK / 4) // blocks of 4 x 4 in a tile
#define UNITS_B (NR * TX * BK / 4)
#define APART (UNITS_A + UNITS_B <= N_HERE) // enough invocations that none moves both
#if APART
#define LOADS_A 1
#define LOADS_B 1
#else
#define LOADS_A ((UNITS_A + N_HERE - 1) / N_HERE)
#define LOADS_B ((UNITS_B + N_HERE - 1) / N_HERE)
#endif
#if LOADS_A > 4 || LOADS_B > 4
#error an invocation moves at most four blocks of each tile: fewer values of p at a time, or more invocations
#endif

#if SLICES > 1 && SLICES * 4 * NR * TX * TY > BUFFERS * BK * (MR * TY + NR * TX)
#error no room where the slices are added
#endif

#if SLICES > 1 // one piece, where the slices are added in the end
shared vec4 tiles[BUFFERS * BK * (MR * TY + NR * TX)]; // two of a's, [BK of p][BM rows / 4], and two of b's behind them
#define FIRST_B uint(BUFFERS * BK * MR * TY)
#define OF_A(i) tiles[i]
#define OF_B(i) tiles[FIRST_B + (i)]
#else // two, so that writing to one is seen to leave the other alone
shared vec4 tile_a[BUFFERS * BK * MR * TY];
shared vec4 tile_b[BUFFERS * BK * NR * TX];
#define OF_A(i) tile_a[i]
#define OF_B(i) tile_b[i]
#endif

#include "gemm/loads"

#include "gemm/results"
#if MEET
#include "gemm/meet"
#endif
#if SPLIT && SUMS
#define PART sums_step // the sums of a split lie behind its product
#else
#define PART (m * n)
#endif
void store4(uint i, uint j, vec4 s)
{
#if !EVEN
    if (i >= m || j >= n) return;
#endif
    uint at = i * n + j;
#if MEET
    at += (gl_WorkGroupID.z + group_base.z) % batches * (m * n);
    if (!meet4(at, j, s)) return;
#elif SPLIT || BATCH
    at += (gl_WorkGroupID.z + group_base.z) * PART;
#endif
    s = with_bias(i, j, s);
#if UPDATE
    update_block(at, n, 1u, n - j, s, s, s, s);
#else
    write4(at, j, s);
#endif
}
#if UPDATE
void store_block(uint i, uint j, vec4 s0, vec4 s1, vec4 s2, vec4 s3)
{
#if !EVEN
    if (i >= m || j >= n) return;
#endif
    update_block(((gl_WorkGroupID.z + group_base.z) * m + i) * n + j, n, m - i, n - j, s0, s1, s2, s3);
}
#endif

#if SUMS
void store_sums(uint i, uint z, vec4 s)
{
    if (i >= m) return;
#if SPLIT && VC
    c[(z * sums_step + m * n + i) >> 2] = s;
#elif SPLIT
    uint at = z * sums_step + m * n + i;
    c[at] = s.x;
    if (i + 1u < m) c[at + 1u] = s.y;
    if (i + 2u < m) c[at + 2u] = s.z;
    if (i + 3u < m) c[at + 3u] = s.w;
#elif SUMS_UPDATE
    update_sums(i, m - i, s);
#else
    sums[i] = s.x;
    if (i + 1u < m) sums[i + 1u] = s.y;
    if (i + 2u < m) sums[i + 2u] = s.z;
    if (i + 3u < m) sums[i + 3u] = s.w;
#endif
}
#endif

#include "gemm/tile_blocks"

// Rows r of the invocation's elements: s[r] its first four columns, t[r] the second.
#if NR == 1
#define ROW(U, S, T) S += (U) * b0;
#define SAVE(I, S, T) store4(I, column, S);
#else
#define ROW(U, S, T)                                                                                                       \
    S += (U) * b0;                                                                                                               \
    T += (U) * b1;
#define SAVE(I, S, T)                                                                                                            \
    store4(I, column, S);                                                                                                        \
    store4(I, column + 4u * uint(TX), T);
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
#if STRIP
    {
        uint n_x = (n + 4u * COLS4 - 1u) / (4u * COLS4), n_y = (m + 4u * ROWS4 - 1u) / (4u * ROWS4), id = group.y * n_x + group.x;
        uint strip = id / (uint(STRIP) * n_y), x = strip * uint(STRIP), width = min(uint(STRIP), n_x - x);
        id -= x * n_y;
        group.x = x + id % width;
        group.y = id / width;
    }
#endif
    uint here = gl_LocalInvocationIndex;
#if SLICES > 1
    uint of_slice = here % uint(TX * TY);
#else
    uint of_slice = here;
#endif
#if LANES == 0
    uint tx = of_slice % uint(TX), ty = of_slice / uint(TX);
#else
    uint lane = of_slice & 31u, warp = of_slice >> 5;
    uint tx = warp % uint(TX / 8) * 8u, ty = warp / uint(TX / 8) * 4u;
#if LANES == 1
    tx += lane & 7u;
    ty += lane >> 3;
#else
    tx += (lane >> 1) & 7u;
    ty += ((lane >> 4) << 1) | (lane & 1u);
#endif
#endif
    uint i_first = group.y * 4u * ROWS4, j_first = group.x * 4u * COLS4;
    uint row = i_first + ty * 4u, column = j_first + tx * 4u; // and TY, TX fours further
    uint split = group.z;
#if BATCH
    split = group.z / batches;
    uint rest = group.z - split * batches;
#include "gemm/batch"
#endif
#if SPLIT
    uint end = k - (k - 1u) / chunk * chunk + split * chunk, begin = split > 0u ? end - chunk : 0u;
#else
    uint end = k, begin = 0u;
#endif
    uint left = (end - begin + uint(BK - 1)) / uint(BK), next = end - left * uint(BK); // tiles, and where the next one begins: wraps

    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0);
#if MR >= 2
    vec4 s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0), s7 = vec4(0.0);
#endif
#if MR == 4
    vec4 s8 = vec4(0.0), s9 = vec4(0.0), s10 = vec4(0.0), s11 = vec4(0.0);
    vec4 s12 = vec4(0.0), s13 = vec4(0.0), s14 = vec4(0.0), s15 = vec4(0.0);
#endif
#if NR >= 2
    vec4 t0 = vec4(0.0), t1 = vec4(0.0), t2 = vec4(0.0), t3 = vec4(0.0);
#if MR >= 2
    vec4 t4 = vec4(0.0), t5 = vec4(0.0), t6 = vec4(0.0), t7 = vec4(0.0);
#endif
#if MR == 4
    vec4 t8 = vec4(0.0), t9 = vec4(0.0), t10 = vec4(0.0), t11 = vec4(0.0);
    vec4 t12 = vec4(0.0), t13 = vec4(0.0), t14 = vec4(0.0), t15 = vec4(0.0);
#endif
#endif

    // Blocks on their way: read before the arithmetic, written to the tile after it.
    Block f0;
#if APART
    bool moves_a = here < uint(UNITS_A), moves_b = !moves_a && here < uint(UNITS_A + UNITS_B);
    uint of_b = here - uint(UNITS_A);
#define READ                                                                                                                     \
    if (moves_a) READ_A(here, 0, f0)                                                                                             \
    if (moves_b) READ_B(of_b, 0, f0)
#define WRITE                                                                                                                    \
    if (moves_a) WRITE_A(here, f0)                                                                                               \
    if (moves_b) WRITE_B(of_b, f0)
#else
    Block g0;
#if UNITS_A >= N_HERE
#define MOVES_A
#else
#define MOVES_A if (here < uint(UNITS_A))
#endif
#if UNITS_B >= N_HERE
#define MOVES_B
#else
#define MOVES_B if (here < uint(UNITS_B))
#endif
#if LOADS_A >= 3
    Block f1, f2, f3;
#elif LOADS_A == 2
    Block f1;
#endif
#if LOADS_B >= 3
    Block g1, g2, g3;
#elif LOADS_B == 2
    Block g1;
#endif
#define UNIT(i) (here + uint(i * N_HERE))
#if LOADS_A == 1
#define READ_ALL_A READ_A(here, 0, f0)
#define WRITE_ALL_A WRITE_A(here, f0)
#elif LOADS_A == 2
#define READ_ALL_A READ_A(here, 0, f0) READ_A(UNIT(1), 1, f1)
#define WRITE_ALL_A WRITE_A(here, f0) WRITE_A(UNIT(1), f1)
#elif LOADS_A == 3
#define READ_ALL_A READ_A(here, 0, f0) READ_A(UNIT(1), 1, f1) READ_A(UNIT(2), 2, f2)
#define WRITE_ALL_A WRITE_A(here, f0) WRITE_A(UNIT(1), f1) WRITE_A(UNIT(2), f2)
#else
#define READ_ALL_A READ_A(here, 0, f0) READ_A(UNIT(1), 1, f1) READ_A(UNIT(2), 2, f2) READ_A(UNIT(3), 3, f3)
#define WRITE_ALL_A WRITE_A(here, f0) WRITE_A(UNIT(1), f1) WRITE_A(UNIT(2), f2) WRITE_A(UNIT(3), f3)
#endif
#if LOADS_B == 1
#define READ_ALL_B READ_B(here, 0, g0)
#define WRITE_ALL_B WRITE_B(here, g0)
#elif LOADS_B == 2
#define READ_ALL_B READ_B(here, 0, g0) READ_B(UNIT(1), 1, g1)
#define WRITE_ALL_B WRITE_B(here, g0) WRITE_B(UNIT(1), g1)
#elif LOADS_B == 3
#define READ_ALL_B READ_B(here, 0, g0) READ_B(UNIT(1), 1, g1) READ_B(UNIT(2), 2, g2)
#define WRITE_ALL_B WRITE_B(here, g0) WRITE_B(UNIT(1), g1) WRITE_B(UNIT(2), g2)
#else
#define READ_ALL_B READ_B(here, 0, g0) READ_B(UNIT(1), 1, g1) READ_B(UNIT(2), 2, g2) READ_B(UNIT(3), 3, g3)
#define WRITE_ALL_B WRITE_B(here, g0) WRITE_B(UNIT(1), g1) WRITE_B(UNIT(2), g2) WRITE_B(UNIT(3), g3)
#endif
#define READ                                                                                                                     \
    MOVES_A { READ_ALL_A }                                                                                                       \
    MOVES_B { READ_ALL_B }
#define WRITE                                                                                                                    \
    MOVES_A { WRITE_ALL_A }                                                                                                      \
    MOVES_B { WRITE_ALL_B }
#endif

    uint to_a = 0u, to_b = 0u, from_a = 0u, from_b = 0u;
#if SLICES > 1
    uint slice = here / uint(TX * TY), first_p = slice * uint(BK / SLICES);
#endif
#if SUMS
    vec4 total = vec4(0.0); // of some values of p of four rows: those at here % ROWS4
#endif
#if EARLY
    Fetched kept_0, kept_1, kept_2, kept_3;
#endif
#if APART
#define UNIT_B of_b
#else
#define UNIT_B here
#endif
#if ALIGNED_A
    INDEX place_a = FIRST_OF_A(here) >> 2, row_a = WIDTH_A >> 2;
#elif VA
    PLACES place_a = FIRST_OF_A(here) + PLACES(0, 1, 2, 3) * WIDTH_A >> 2;
#endif
#if VA
    INDEX tile_a_long = TILE_OF_A;
#define ON_A place_a += FURTHER_ON(tile_a_long);
#else
#define ON_A
#endif
#if ALIGNED_B
    INDEX place_b = FIRST_OF_B(UNIT_B) >> 2, row_b = WIDTH_B >> 2;
#elif VB
    PLACES place_b = FIRST_OF_B(UNIT_B) + PLACES(0, 1, 2, 3) * WIDTH_B >> 2;
#endif
#if VB
    INDEX tile_b_long = TILE_OF_B;
#define ON_B place_b += FURTHER_ON(tile_b_long);
#else
#define ON_B
#endif
#if WHOLE && EVEN
#define IN(place, last) (place)
#else
#define IN(place, last) clamp(place, INDEX(0), INDEX(last))
#endif
#if WHOLE
#define CUT(S, p) (S)
#else
#define CUT(S, p) ((p) - begin < end - begin ? S : vec4(0.0))
#endif
    READ
    WRITE
#undef CUT
#define CUT(S, p) (S)
#if !EVEN
#undef IN
#define IN(place, last) min(place, INDEX(last))
#elif !WHOLE
#undef IN
#define IN(place, last) (place)
#endif
    while (left > 0u) {
        memoryBarrierShared();
        barrier(); // this tile is written, and the other no longer read
        from_a = to_a;
        from_b = to_b;
#if BUFFERS == 2
        to_a ^= uint(BK) * ROWS4;
        to_b ^= uint(BK) * COLS4;
#endif
        next += uint(BK);
        left--;
        bool more = left > 0u;
#if STRIP && VA && VB
#define FURTHER_ON(n) (more ? n : INDEX(0))
#else
#define FURTHER_ON(n) n
        if (more)
#endif
        {
            ON_A
            ON_B
            READ
        }
#if EARLY
        if (!more) { // rows and columns past the end: the last
            uint first = ((group.z * m) * n + min(column, n - 4u)) >> 2;
            kept_0 = update_fetch(first + (min(row, m - 1u) * n >> 2));
            kept_1 = update_fetch(first + (min(row + 1u, m - 1u) * n >> 2));
            kept_2 = update_fetch(first + (min(row + 2u, m - 1u) * n >> 2));
            kept_3 = update_fetch(first + (min(row + 3u, m - 1u) * n >> 2));
        }
#endif
#define STEP(d)                                                                                                                 \
    {                                                                                                                           \
        LOAD_AB(uint(d))                                                                                                        \
        ARITHMETIC                                                                                                              \
    }
// Four values of p: all that is different for each invocation is in x and y, so that the rest is part of the instructions.
#define FOUR(q)                                                                                                                 \
    {                                                                                                                           \
        uint x = from_a + (e + 4u * q) * ROWS4 + (ty ^ MIX_A(e / 4u + q)), y = from_b + (e + 4u * q) * COLS4 + (tx ^ MIX_B(e / 4u + q));\
        STEP(0)                                                                                                                 \
        STEP(1)                                                                                                                 \
        STEP(2)                                                                                                                 \
        STEP(3)                                                                                                                 \
    }
#define TILE_A(d, r) OF_A(x + (d * ROWS4 + uint(r * TY)))
#define TILE_B(d, r) OF_B(y + (d * COLS4 + uint(r * TX)))
#if MR == 1
#define LOAD_A(d) vec4 a0 = TILE_A(d, 0);
#elif MR == 2
#define LOAD_A(d) vec4 a0 = TILE_A(d, 0), a1 = TILE_A(d, 1);
#else
#define LOAD_A(d) vec4 a0 = TILE_A(d, 0), a1 = TILE_A(d, 1), a2 = TILE_A(d, 2), a3 = TILE_A(d, 3);
#endif
#if NR == 1
#define LOAD_AB(d) LOAD_A(d) vec4 b0 = TILE_B(d, 0);
#else
#define LOAD_AB(d) LOAD_A(d) vec4 b0 = TILE_B(d, 0), b1 = TILE_B(d, 1);
#endif
#define ROWS_0 ROW(a0.x, s0, t0) ROW(a0.y, s1, t1) ROW(a0.z, s2, t2) ROW(a0.w, s3, t3)
#define ROWS_1 ROW(a1.x, s4, t4) ROW(a1.y, s5, t5) ROW(a1.z, s6, t6) ROW(a1.w, s7, t7)
#define ROWS_2 ROW(a2.x, s8, t8) ROW(a2.y, s9, t9) ROW(a2.z, s10, t10) ROW(a2.w, s11, t11)
#define ROWS_3 ROW(a3.x, s12, t12) ROW(a3.y, s13, t13) ROW(a3.z, s14, t14) ROW(a3.w, s15, t15)
#if MR == 1
#define ARITHMETIC ROWS_0
#elif MR == 2
#define ARITHMETIC ROWS_0 ROWS_1
#else
#define ARITHMETIC ROWS_0 ROWS_1 ROWS_2 ROWS_3
#endif
#if SUMS
        if (group.x == 0u)
            for (uint e = here; e < uint(BK) * ROWS4; e += uint(N_HERE)) total += OF_A(from_a + e);
#endif
#if SLICES > 1
        for (uint e = first_p; e < first_p + uint(BK / SLICES); e += uint(UNROLL)) {
#else
        for (uint e = 0u; e < uint(BK); e += uint(UNROLL)) {
#endif
            FOUR(0u)
#if UNROLL >= 8
            FOUR(1u)
#endif
#if UNROLL == 16
            FOUR(2u)
            FOUR(3u)
#endif
        }
        if (more) {
#if BUFFERS == 1
            memoryBarrierShared();
            barrier();
#endif
            WRITE
        }
    }

#if SUMS
#define SHARING min(uint(N_HERE), uint(BK) * ROWS4) // invocations that added anything
    if (group.x == 0u) {
        memoryBarrierShared();
        barrier();
        if (here < SHARING) OF_A(here) = total;
        memoryBarrierShared();
        barrier();
        if (here < ROWS4) {
            for (uint e = here + ROWS4; e < SHARING; e += ROWS4) total += OF_A(e);
            store_sums(i_first + 4u * here, group.z, total);
        }
    }
#endif
#if MEET
    uvec2 tiles_of_c = (uvec2(n, m) + 4u * uvec2(COLS4, ROWS4) - 1u) / (4u * uvec2(COLS4, ROWS4));
    uint meeting = (group.z % batches * tiles_of_c.y + group.y) * tiles_of_c.x + group.x;
    memoryBarrierShared();
    barrier();
    arrive(meeting);
#define LEAVE leave(meeting);
#else
#define LEAVE
#endif
#include "gemm/tile_results"
}
