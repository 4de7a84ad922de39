#version 310 es
// gemm/chain: products one behind another, each of whole rows of what the one before it made, and norms between them. A group has ROWS rows from the
//             first product to the last; what lies between two products stays in shared memory
//
// Stages    gemm/stage says what one is: its text stands here once for each of them
// Bindings  as OPERANDS declares them, with a function for each operand of a stage (src/ops/gemm_chain.c). What an earlier stage writes and a later one reads
//           is one coherent block
// Uniforms  m: rows
// Groups    ceil(m / ROWS), folded over x and y: groups_x of them in x
// Limits    SIZE invocations, at least TURN n / 4 of every stage; shared memory, in bytes: 4 ROWS LONGEST + 16 HELD + 8 (PARTS + 8 ROWS)
#ifndef STAGES // one product, 32 x 32: what src/ops/gemm_chain.c says of a chain
#define STAGES 1
#define ROWS 2
#define SIZE 64
#define TURN 2
#define LONGEST 32
#define HELD 144
#define PARTS 1
#define SHARES 0
#define K_1 32
#define N_1 32
#define K_PART_1 32
#define N_PART_1 32
#define TB_1 0
#define SLICES_1 8
#define NEAR_1 1
#define NORM_1 0
#define KIND_1 0
#define EPS_1 0.0
#define TAIL_LAST_1 0
#define BIAS_1 0
#define WEIGHT_1 0
#define SHIFT_1 0
#define WRITES_T_1 0
#define WRITES_Y_1 1
#define WRITES_STATS_1 0
#define WRITES_AGAIN_1 0
#define WALK_1 STEP(0)
#define OPERANDS layout(std430, binding = 0) readonly buffer Block0 { vec4 alone_a[]; }; layout(std430, binding = 1) readonly buffer Block1 { vec4 alone_b[]; }; layout(std430, binding = 2) writeonly buffer Block2 { vec4 alone_y[]; }; vec4 a_1(uint i) { return alone_a[i]; } vec4 b_1(uint i) { return alone_b[i]; } void write_y_1(uint i, vec4 v) { alone_y[i] = v; } struct Ahead_1 { float none; }; Ahead_1 ahead_1(uint at) { return Ahead_1(0.0); } vec4 tail_1(vec4 t, Ahead_1 o, uint at, bool mine) { return t; }
#endif
precision highp float;
precision highp int;
layout(local_size_x = SIZE) in;
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint m, groups_x;
};

#define HERE gl_LocalInvocationIndex
#define TURNS ((ROWS + TURN - 1) / TURN)
#define LANES 8 // that add up what invocations know of a row
shared vec4 rows[ROWS * LONGEST / 4]; // that the next product reads; LONGEST: the largest k
shared vec4 held[HELD];               // of each slice TURN rows of sums
shared vec2 parts[PARTS];             // of four elements of a row; NORM 1 mean, and sum of squared distances; NORM 2 sums of t' h, t'
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
#define DECLARE(r, S) vec4 S;
EACH(DECLARE)

// Of b, p from `at` on of four columns: x, y, z, w are the rows of p, p + 1, p + 2, p + 3.
struct Block {
    vec4 x, y, z, w;
};
Block next;

#define SHARED                                                                                                                   \
    memoryBarrierShared();                                                                                                       \
    barrier();

OPERANDS
#include "gemm/stage" 1
#if STAGES > 1
#include "gemm/stage" 2
#endif
#if STAGES > 2
#include "gemm/stage" 3
#endif
#if STAGES > 3
#include "gemm/stage" 4
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint first = (group.y * groups_x + group.x) * uint(ROWS);
    begin_1();
    bring_1(first);
    multiply_1();
#if STAGES > 1
    begin_2();
    end_1(first);
    multiply_2();
#if STAGES > 2
    begin_3();
    end_2(first);
    multiply_3();
#if STAGES > 3
    begin_4();
    end_3(first);
    multiply_4();
#endif
#endif
#endif
#if STAGES == 1
    end_1(first);
#elif STAGES == 2
    end_2(first);
#elif STAGES == 3
    end_3(first);
#else
    end_4(first);
#endif
}
