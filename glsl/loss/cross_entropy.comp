#version 310 es
// cross_entropy: -log softmax(logits)[label] of each row, and the gradient (softmax(logits) - onehot(label)) / count, where
//           count is the number of rows whose label is not -1
// Source    log-sum-exp with the row's maximum subtracted first
// Labels    -1: the row counts for nothing. Another label outside 0 .. classes-1: the row's loss is NaN, its gradient 0, and
//           nothing outside the row is read
// Bindings  0 in logits f32 [rows, classes]    1 in labels i32 [rows]
//           2 out FINAL 1: the mean loss, f32 [1];  FINAL 0: scratch: a sum of losses for each group (f32 bits), then at word
//             `total` the count as f32, which loss/finish divides by
//             COUNTED 1: also in, from word total + 1: n_counts partial counts made by loss/count_labels
//             RIGHT 1: also out, at word `right` (FINAL 1) or `right` + group: rows whose largest logit, the first of equals, stands
//             at the label, as f32
//           3 out GRAD 1: dlogits f32 [rows, classes]
// Elements  V 4: logits are vec4, where classes is a multiple of 4, and `classes` counts those
// Uniforms  rounds: blocks of rows that one group does, one after the other; nan: the bits of a NaN, out of the compiler's sight
// Groups    linear, folded over x and y, groups * rounds * (128 / LANES) >= rows; FINAL 1: one group
// Limits    516 bytes shared, 128 invocations, 4 storage blocks
#ifndef LANES
#define LANES 128 // invocations that share a row: 1 to 128, a power of two
#endif
#ifndef V
#define V 1
#endif
#ifndef GRAD
#define GRAD 1
#endif
#ifndef FINAL
#define FINAL 0
#endif
#ifndef RIGHT
#define RIGHT 1
#endif
#ifndef COUNTED
#define COUNTED 0 // 1: the labels were counted by an earlier dispatch;  0: each group counts them itself
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
    uint total;
    uint n_counts;
    uint nan;
    uint right;
};

#if V == 4
#define ELEM vec4
layout(std430, binding = 0) readonly buffer Logits { vec4 logits[]; };
#if GRAD
layout(std430, binding = 3) writeonly buffer Dlogits { vec4 dlogits[]; };
#endif
#else
#define ELEM float
layout(std430, binding = 0) readonly buffer Logits { float logits[]; };
#if GRAD
layout(std430, binding = 3) writeonly buffer Dlogits { float dlogits[]; };
#endif
#endif
layout(std430, binding = 1) readonly buffer Labels { int labels[]; };
layout(std430, binding = 2) buffer Losses { uint losses[]; };

const float LOWEST = -3.402823e38;
const uint ROWS = uint(128 / LANES);

shared float tree[128];
shared float count;

float row_max(float value, uint lane)
{
#if LANES > 1
    uint t = gl_LocalInvocationIndex;
    tree[t] = value;
    for (uint half_n = uint(LANES / 2); half_n > 0u; half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (lane < half_n) tree[t] = max(tree[t], tree[t + half_n]);
    }
    memoryBarrierShared();
    barrier();
    value = tree[t - lane];
    barrier(); // nobody overwrites the tree before all have read
#endif
    return value;
}

// The sum of `lanes` neighbours (a constant power of two), in a fixed order.
float sum_of(float value, uint lane, uint lanes)
{
    uint t = gl_LocalInvocationIndex;
    tree[t] = value;
    for (uint half_n = lanes / 2u; half_n > 0u; half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (lane < half_n) tree[t] += tree[t + half_n];
    }
    memoryBarrierShared();
    barrier();
    value = tree[t - lane];
    barrier();
    return value;
}

#if V == 4
float joined_max(vec4 v) { return max(max(v.x, v.y), max(v.z, v.w)); }
float joined_sum(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
// Which of element k is the label's, and the logit there.
vec4 at_label(uint k, uint label) { return vec4(equal(uvec4(0u, 1u, 2u, 3u) + 4u * k, uvec4(label))); }
float logit_of(uint base, uint label)
{
    vec4 v = logits[base + (label >> 2)];
    uint i = label & 3u;
    return i < 2u ? (i == 0u ? v.x : v.y) : i == 2u ? v.z : v.w;
}
// How many logits of element k are larger than the label's, those in front also if as large.
float beating(vec4 v, float own, uint k, uint label)
{
    bvec4 larger = greaterThan(v, vec4(own)), same = equal(v, vec4(own)), before = lessThan(uvec4(0u, 1u, 2u, 3u) + 4u * k, uvec4(label));
    return joined_sum(vec4(larger) + vec4(same) * vec4(before));
}
#else
float joined_max(float v) { return v; }
float joined_sum(float v) { return v; }
float at_label(uint k, uint label) { return k == label ? 1.0 : 0.0; }
float logit_of(uint base, uint label) { return logits[base + label]; }
float beating(float v, float own, uint k, uint label) { return v > own || (v == own && k < label) ? 1.0 : 0.0; }
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint t = gl_LocalInvocationIndex;
    uint lane = t % uint(LANES);
    uint place = t / uint(LANES);

    // Float sums of counts are exact here: up to 2^24 in all, and beyond that off by less than one rounding each.
    if (GRAD == 1 || group == 0u) { // the others need it for gradients alone
        float counted = 0.0;
#if COUNTED
        for (uint i = t; i < n_counts; i += 128u) counted += float(losses[total + 1u + i]);
#else
        for (uint i = t; i < rows; i += 128u) counted += labels[i] != -1 ? 1.0 : 0.0;
#endif
        counted = sum_of(counted, t, 128u);
        if (t == 0u) count = counted; // in shared memory, not in a register of each invocation: T860 would spill
    }

    float loss = 0.0;
#if RIGHT
    float correct = 0.0;
#endif
    for (uint round = 0u; round < rounds; round++) {
        uint row = (group * rounds + round) * ROWS + place;
        bool live = row < rows;
        int label = live ? labels[row] : -1;
        bool valid = label >= 0 && uint(label) < classes * uint(V);
        uint base = row * classes;
        uint end = valid ? classes : 0u; // other rows are not read, yet take part in the barriers
        ELEM largest = ELEM(LOWEST), terms = ELEM(0.0);
        for (uint k = lane; k < end; k += uint(LANES)) largest = max(largest, logits[base + k]);
        float m = row_max(joined_max(largest), lane);
        for (uint k = lane; k < end; k += uint(LANES)) terms += exp(logits[base + k] - m);
        float s = joined_sum(terms);
#if LANES > 1
        s = sum_of(s, lane, uint(LANES));
#endif
#if RIGHT
        float beaten = 0.0; // by how many: those in front that are as large, those behind that are larger
        float own = valid ? logit_of(base, uint(label)) : 0.0;
        for (uint k = lane; k < end; k += uint(LANES)) beaten += beating(logits[base + k], own, k, uint(label));
#if LANES > 1
        beaten = sum_of(beaten, lane, uint(LANES));
#endif
        if (lane == 0u && valid && beaten == 0.0 && !isnan(s)) correct += 1.0; // none with a NaN is right
#endif
        if (lane == 0u) {
            if (valid) loss += log(s) - (logit_of(base, uint(label)) - m);
            else if (label != -1) loss += uintBitsToFloat(nan);
        }
#if GRAD
        float scale = count > 0.0 ? 1.0 / count : 0.0;
        float share = valid ? scale / s : 0.0;
        uint last = live ? classes : 0u;
        for (uint k = lane; k < last; k += uint(LANES)) {
            ELEM d = ELEM(0.0);
            if (valid) d = exp(logits[base + k] - m) * share - at_label(k, uint(label)) * scale;
            dlogits[base + k] = d;
        }
#endif
    }

#if LANES == 128
    float sum = loss; // the one row's, which invocation 0 has
#else
    float sum = sum_of(loss, t, 128u);
#if RIGHT
    correct = sum_of(correct, t, 128u);
#endif
#endif
    if (t == 0u) {
#if RIGHT && FINAL
        losses[right] = floatBitsToUint(correct);
#elif RIGHT
        losses[right + group] = floatBitsToUint(correct);
#endif
#if FINAL
        losses[0] = floatBitsToUint(count > 0.0 ? sum / count : 0.0);
#else
        losses[group] = floatBitsToUint(sum);
        if (group == 0u) losses[total] = floatBitsToUint(count);
#endif
    }
}
