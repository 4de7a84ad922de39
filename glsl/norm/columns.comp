#version 310 es
// columns: gradients of the weight and the bias of norms of rows: dgamma[c] = sum_r g[r][c] h[r][c], dbeta[c] = sum_r g[r][c], with
//           h = (x - mean_r) * rstd_r; as norm/grad PART 3 does it, with groups so large that a column of a batch is few rounds of reads
// Lanes     TX neighbours across columns, WG / TX lanes down the rows; each takes HELD rows at a time, all reads on their way together
// Kinds     layer and RMS norms, whose statistics are a mean or 0, and what the root is taken of
// Bindings  0 in x    1 in g    both f32 [rows, width * V], in elements of V    2 in stats vec2 (mean, variance) [rows]
//           DGAMMA, DBETA out f32 [width * V], each the number of its block, or 0 where there is none; with UPDATE (optim/rules), which is 1 or V, DGAMMA
//           updates parameters, and with SUMS_UPDATE so does DBETA
// Groups    width / TX rounded up, folded over x and y
// Order     a lane adds its rows, 16 lanes those of the others, and one the 16: the same bits every time
// Limits    WG invocations, 8 * V * WG bytes shared
#ifndef WG
#define WG 512 // a power of two, at least 16 * TX
#define TX 2
#define HELD 4
#define V 4
#define DGAMMA 3
#define DBETA 4
#endif
#ifndef DGAMMA
#define DGAMMA 0
#endif
#ifndef DBETA
#define DBETA 0
#endif
#ifndef UPDATE
#define UPDATE 0
#endif
#ifndef SUMS_UPDATE
#define SUMS_UPDATE 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = WG) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint rows, width;
    float eps;
};

#if V == 4
#define T vec4
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
#else
#define T float
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer G { float g[]; };
#endif
layout(std430, binding = 2) readonly buffer Stats { vec2 stats[]; };
#if DGAMMA
layout(std430, binding = DGAMMA) writeonly buffer Dgamma { T dgamma[]; };
#endif
#if DBETA
layout(std430, binding = DBETA) writeonly buffer Dbeta { T dbeta[]; };
#endif

shared T along_of[WG];
shared T plain_of[WG];

void main()
{
    uint t = gl_LocalInvocationIndex;
    uint lane = t / uint(TX);
    uint c = ((gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x) * uint(TX) + t % uint(TX);
    uint end = c < width ? rows : 0u;
#if UPDATE
    Fetched held_x, held_bias; // asked for early
    if (lane == 0u && c < width) {
        held_x = update_fetch(c);
#if SUMS_UPDATE
        held_bias = sums_fetch(c);
#endif
    }
#endif
    T along = T(0.0);
    T plain = T(0.0);
    for (uint row = lane; row < end; row += uint(HELD * WG / TX)) {
        T from[HELD];
        T held[HELD];
        vec2 statistics[HELD];
        for (int i = 0; i < HELD; i++) {
            uint r = row + uint(i * WG / TX);
            bool live = r < end;
            uint at = (live ? r : row) * width + c;
            statistics[i] = stats[live ? r : row];
            from[i] = x[at];
            held[i] = g[at];
            if (!live) held[i] = T(0.0);
        }
        for (int i = 0; i < HELD; i++) {
            float rstd = inversesqrt(statistics[i].y + eps);
            along += held[i] * ((from[i] - statistics[i].x) * rstd);
            plain += held[i];
        }
    }
    along_of[t] = along;
    plain_of[t] = plain;
    memoryBarrierShared();
    barrier();
    if (lane < 16u) {
        for (uint i = t + uint(16 * TX); i < uint(WG); i += uint(16 * TX)) {
            along += along_of[i];
            plain += plain_of[i];
        }
        along_of[t] = along;
        plain_of[t] = plain;
    }
    memoryBarrierShared();
    barrier();
    if (lane == 0u && c < width) {
        for (uint i = t + uint(TX); i < uint(16 * TX); i += uint(TX)) {
            along += along_of[i];
            plain += plain_of[i];
        }
#if UPDATE
        update_fetched(c, along, held_x);
#elif DGAMMA
        dgamma[c] = along;
#endif
#if SUMS_UPDATE
        sums_fetched(c, plain, held_bias);
#elif DBETA
        dbeta[c] = plain;
#endif
    }
}
