#version 310 es
// count_correct: rows whose largest logit, the first of equals, stands at the label; a row labelled -1 never does
// Bindings  0 in logits f32 [rows, classes]    1 in labels i32 [rows]
//           2 out one count for each group, f32; with one group that is the result, else loss/finish adds them
// Uniforms  rounds: blocks of rows that one group does, one after the other
// Groups    linear, folded over x and y, groups * rounds * (128 / LANES) >= rows
// Limits    1024 bytes shared, 128 invocations, 3 storage blocks
#ifndef LANES
#define LANES 128 // invocations that share a row: 1 to 128, a power of two
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint rounds;
    uint rows;
    uint classes;
};

layout(std430, binding = 0) readonly buffer Logits { float logits[]; };
layout(std430, binding = 1) readonly buffer Labels { int labels[]; };
layout(std430, binding = 2) writeonly buffer Counts { float counts[]; };

const uint ROWS = uint(128 / LANES);
const uint NOWHERE = 0xffffffffu; // of a lane without elements: loses against every other, -infinity included

shared float tree[128];
#if LANES > 1
shared uint places[128];
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint t = gl_LocalInvocationIndex;
    uint lane = t % uint(LANES);
    uint place = t / uint(LANES);
    float correct = 0.0;
    for (uint round = 0u; round < rounds; round++) {
        uint row = (group * rounds + round) * ROWS + place;
        bool live = row < rows;
        uint base = row * classes;
        uint end = live ? classes : 0u;
        float best = 0.0;
        uint at = NOWHERE;
        for (uint k = lane; k < end; k += uint(LANES)) {
            float v = logits[base + k];
            if (at == NOWHERE || v > best || isnan(v)) { // which nothing beats
                best = v;
                at = k;
            }
        }
#if LANES > 1
        tree[t] = best;
        places[t] = at;
        for (uint half_n = uint(LANES / 2); half_n > 0u; half_n >>= 1) {
            memoryBarrierShared();
            barrier();
            if (lane < half_n) {
                float v = tree[t + half_n];
                uint k = places[t + half_n];
                best = tree[t];
                at = places[t];
                if (k != NOWHERE && (at == NOWHERE || v > best || isnan(v) || (v == best && k < at))) {
                    tree[t] = v;
                    places[t] = k;
                    at = k;
                }
            }
        }
        barrier(); // nobody overwrites the tree before lane 0 has read
#endif
        #if LANES > 1
        best = tree[t];
#endif
        if (lane == 0u && live && labels[row] >= 0 && uint(labels[row]) == at && !isnan(best)) correct += 1.0;
    }
    tree[t] = correct;
    for (uint half_n = 64u; half_n > 0u; half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (t < half_n) tree[t] += tree[t + half_n];
    }
    if (t == 0u) counts[group] = tree[0];
}
