#version 310 es
// linear_cross_entropy: logits = a weight' + bias of a few classes, their cross-entropy with labels, its gradient, and the gradient of a; a group has
//           whole rows, so that no logit leaves it
// Source    log-sum-exp with the row's maximum subtracted first; labels as in loss/cross_entropy
// Order     invocation l of KL adds up units l, l + KL, ... of a product, then the KL sums are added in order: fixed by the sizes alone
// Bindings  0 in a f32 [rows, k]    1 in weight f32 [CLASSES, k]    2 in labels i32 [rows]
//           3 out losses f32: a sum of losses for each group, at word `total` the count of labels that are not -1, at word `right` + group the rows whose
//             largest logit, the first of equals, stands at the label; loss/finish adds them
//           BIAS b: in bias f32 [CLASSES], or of one element    GRAD b: out dlogits f32 [rows, CLASSES], (softmax - onehot) / count
//           INPUT_GRAD b: out tail(dlogits weight) f32 [rows, k], behind the blocks of TAIL
//           PLANE n: a [rows, k] are the means of x f32 [rows, k, n], which is binding 0;  MEAN b: out those means;  INPUT_GRAD then is [rows, k, n], of which
//             the tail takes dlogits weight n times
// Uniforms  units: k, or k / 4 with VEC; bias_step: 1, or 0 for a bias of one element; nan: the bits of a NaN, out of the compiler's sight
// Groups    linear, folded over x and y, groups * ROWS >= rows
// Variants  VEC: k is a multiple of 4, and a, weight and the gradient of a are read and written as vec4. With PLANE: ROWS is 1, CHANNELS is k, PL
//           invocations share a mean, and VECX says that n is a multiple of 4
// Limits    G invocations, a multiple of 8; 4 (ROWS CLASSES (KL + 2) + G + 26 ROWS + 16) bytes shared; with PLANE CHANNELS PL floats where these are more than
//           CLASSES (KL + 1), and CHANNELS more
#ifndef G
#define G 128 // invocations, KL that share a product, ROWS of a group, and products of an invocation for each row: literals; CB G / KL >= CLASSES
#define KL 16
#define CB 2
#endif
#ifndef ROWS
#define ROWS 2
#endif
#ifndef CLASSES
#define CLASSES 10
#endif
#ifndef VEC
#define VEC 1
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef GRAD
#define GRAD 0
#endif
#ifndef INPUT_GRAD
#define INPUT_GRAD 0
#endif
#ifndef PLANE
#define PLANE 0
#endif
#ifndef CHANNELS
#define CHANNELS 8
#define PL 8
#define VECX 0
#endif
#ifndef MEAN
#define MEAN 0
#endif
#ifndef TAIL // what becomes of element `at` of the gradient of a: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
precision highp float;
precision highp int;

layout(local_size_x = G) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint rows;
    uint units;
    uint bias_step;
    uint total;
    uint right;
    uint nan;
};

#if VEC
#define UNIT vec4
#define DOT(x, y) dot(x, y)
layout(std430, binding = 1) readonly buffer Weight { vec4 weight[]; };
#else
#define UNIT float
#define DOT(x, y) ((x) * (y))
layout(std430, binding = 1) readonly buffer Weight { float weight[]; };
#endif
#if (PLANE > 0 && VECX) || (PLANE == 0 && VEC)
#define FOURS 1
layout(std430, binding = 0) readonly buffer A { vec4 a[]; };
#else
#define FOURS 0
layout(std430, binding = 0) readonly buffer A { float a[]; };
#endif
#if MEAN
layout(std430, binding = MEAN) writeonly buffer Mean { float means[]; };
#endif
layout(std430, binding = 2) readonly buffer Labels { int labels[]; };
layout(std430, binding = 3) writeonly buffer Losses { float losses[]; };
#if BIAS
layout(std430, binding = BIAS) readonly buffer Bias { float bias[]; };
#endif
#if GRAD
layout(std430, binding = GRAD) writeonly buffer Dlogits { float dlogits[]; };
#endif
#if INPUT_GRAD
TAIL
#if FOURS
layout(std430, binding = INPUT_GRAD) writeonly buffer Da { vec4 da[]; };
#else
layout(std430, binding = INPUT_GRAD) writeonly buffer Da { float da[]; };
#endif
#endif

const float LOWEST = -3.402823e38;
const uint SETS = uint(G / KL);     // of invocations, each with every SETS-th class
const uint N = uint(ROWS * CLASSES);
const uint LANES = 8u;              // that share a row's logits
#define TURNS ((ROWS * 8 + G - 1) / G)
#define ROW(turn) ((t + uint(turn * G)) / LANES)
const uint TALLIES = 16u;

#if PLANE && CHANNELS * PL > CLASSES * (KL + 1)
#define PARTS (CHANNELS * PL)
#else
#define PARTS (ROWS * CLASSES * (KL + 1))
#endif
#if PLANE
#if VECX
#define PLANE_UNITS (PLANE / 4)
#else
#define PLANE_UNITS PLANE
#endif
#define A_OF(r, u) mean_unit(u)
shared float mean[CHANNELS]; // then the gradient of each
#else
#define A_OF(r, u) a[min(first + uint(r), rows - 1u) * units + u]
#endif
shared float part[PARTS]; // one more, so that sums beside each other begin in different banks
shared float logit[ROWS * CLASSES];           // then exp(logit - max), then the gradient
shared float highest[ROWS * 8], beaten[ROWS * 8], sums[ROWS * 8], row_loss[ROWS], row_right[ROWS];
shared float counts[G], tally[16];

#if PLANE
UNIT mean_unit(uint u)
{
#if VEC
    return vec4(mean[4u * u], mean[4u * u + 1u], mean[4u * u + 2u], mean[4u * u + 3u]);
#else
    return mean[u];
#endif
}

// The means of one row, and into memory if somebody reads them.
void find_means(uint row, uint t)
{
    uint lane = t % uint(PL), from = min(row, rows - 1u) * uint(CHANNELS);
    for (uint c = t / uint(PL); c < uint(CHANNELS); c += uint(G / PL)) {
#if VECX
        vec4 s = vec4(0.0);
#else
        float s = 0.0;
#endif
        for (int j = 0; j < (PLANE_UNITS + PL - 1) / PL; j++) {
            uint q = lane + uint(j * PL);
            if (q < uint(PLANE_UNITS)) s += a[(from + c) * uint(PLANE_UNITS) + q];
        }
#if VECX
        part[c * uint(PL) + lane] = (s.x + s.y) + (s.z + s.w);
#else
        part[c * uint(PL) + lane] = s;
#endif
    }
    memoryBarrierShared();
    barrier();
    for (uint c = t; c < uint(CHANNELS); c += uint(G)) {
        float s = 0.0;
        for (uint l = 0u; l < uint(PL); l++) s += part[c * uint(PL) + l];
        s /= float(PLANE);
        mean[c] = s;
#if MEAN
        if (row < rows) means[from + c] = s;
#endif
    }
    memoryBarrierShared();
    barrier();
}
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint t = gl_LocalInvocationIndex;
    uint first = group * uint(ROWS);

    // Sums of counts are exact: whole numbers below 2^24.
    float counted = 0.0;
    for (uint i = t; i < rows; i += uint(G)) counted += labels[i] != -1 ? 1.0 : 0.0;
    counts[t] = counted;
#if PLANE
    find_means(first, t);
#endif

    {
        uint lane = t % uint(KL), set = t / uint(KL);
        float s[CB * ROWS];
        for (int i = 0; i < CB * ROWS; i++) s[i] = 0.0;
        for (uint u = lane; u < units; u += uint(KL)) {
            UNIT x[ROWS];
            for (int r = 0; r < ROWS; r++) x[r] = A_OF(r, u);
            for (int j = 0; j < CB; j++) {
                UNIT w = weight[min(set + uint(j) * SETS, uint(CLASSES - 1)) * units + u];
                for (int r = 0; r < ROWS; r++) s[j * ROWS + r] += DOT(x[r], w);
            }
        }
        for (int j = 0; j < CB; j++) {
            uint c = set + uint(j) * SETS;
            if (c < uint(CLASSES))
                for (int r = 0; r < ROWS; r++) part[(uint(r * CLASSES) + c) * uint(KL + 1) + lane] = s[j * ROWS + r];
        }
    }
    memoryBarrierShared();
    barrier();

    for (uint e = t; e < N; e += uint(G)) {
        float s = 0.0;
        for (uint l = 0u; l < uint(KL); l++) s += part[e * uint(KL + 1) + l];
#if BIAS
        s += bias[e % uint(CLASSES) * bias_step];
#endif
        logit[e] = s;
    }
    // By those with the fewest sums to do.
    for (uint i = uint(G - 1) - t; i < TALLIES; i += uint(G)) {
        float s = 0.0;
        for (uint j = i; j < uint(G); j += TALLIES) s += counts[j];
        tally[i] = s;
    }
    memoryBarrierShared();
    barrier();

    // Eight invocations for each row: what they find, each reads from all.
    uint lane = t % LANES;
    float own[TURNS];
    int label[TURNS];
    for (int turn = 0; turn < TURNS; turn++) {
        uint row = ROW(turn);
        label[turn] = row < uint(ROWS) && first + row < rows ? labels[first + row] : -1;
        bool valid = label[turn] >= 0 && label[turn] < CLASSES;
        own[turn] = valid ? logit[row * uint(CLASSES) + uint(label[turn])] : 0.0;
        if (row >= uint(ROWS)) continue;
        float m = LOWEST, by = 0.0; // by how many: those in front that are as large, those behind that are larger
        for (uint c = lane; c < uint(CLASSES); c += LANES) {
            float v = logit[row * uint(CLASSES) + c];
            m = max(m, v);
            by += v > own[turn] || (v == own[turn] && int(c) < label[turn]) ? 1.0 : 0.0;
        }
        highest[row * LANES + lane] = m;
        beaten[row * LANES + lane] = by;
    }
    memoryBarrierShared();
    barrier();

    float top[TURNS];
    for (int turn = 0; turn < TURNS; turn++) {
        uint row = ROW(turn);
        if (row >= uint(ROWS)) continue;
        float m = LOWEST, s = 0.0;
        for (uint l = 0u; l < LANES; l++) m = max(m, highest[row * LANES + l]);
        for (uint c = lane; c < uint(CLASSES); c += LANES) {
            float v = exp(logit[row * uint(CLASSES) + c] - m);
            logit[row * uint(CLASSES) + c] = v;
            s += v;
        }
        sums[row * LANES + lane] = s;
        top[turn] = m;
    }
    memoryBarrierShared();
    barrier();

    float count = 0.0;
    for (uint i = 0u; i < TALLIES; i++) count += tally[i];
    for (int turn = 0; turn < TURNS; turn++) {
        uint row = ROW(turn);
        if (row >= uint(ROWS)) continue;
        bool valid = label[turn] >= 0 && label[turn] < CLASSES;
        float s = 0.0, by = 0.0;
        for (uint l = 0u; l < LANES; l++) {
            s += sums[row * LANES + l];
            by += beaten[row * LANES + l];
        }
        if (lane == 0u) {
            row_loss[row] = valid ? log(s) - (own[turn] - top[turn]) : label[turn] != -1 ? uintBitsToFloat(nan) : 0.0;
            row_right[row] = valid && by == 0.0 ? 1.0 : 0.0;
        }
#if GRAD || INPUT_GRAD
        float scale = count > 0.0 ? 1.0 / count : 0.0;
        float share = scale / s;
        for (uint c = lane; c < uint(CLASSES); c += LANES) {
            uint e = row * uint(CLASSES) + c;
            float d = valid ? logit[e] * share - (int(c) == label[turn] ? scale : 0.0) : 0.0;
            logit[e] = d;
#if GRAD
            if (first + row < rows) dlogits[first * uint(CLASSES) + e] = d;
#endif
        }
#endif
    }
    memoryBarrierShared();
    barrier();

    if (t == 0u) {
        float loss = 0.0, rights = 0.0;
        for (int r = 0; r < ROWS; r++) {
            loss += row_loss[r];
            rights += row_right[r];
        }
        losses[group] = loss;
        losses[right + group] = rights;
        if (group == 0u) losses[total] = count;
    }
#if INPUT_GRAD
    for (uint u = t; u < units; u += uint(G)) {
        UNIT s[ROWS];
        for (int r = 0; r < ROWS; r++) s[r] = UNIT(0.0);
        for (uint c = 0u; c < uint(CLASSES); c++) {
            UNIT w = weight[c * units + u];
            for (int r = 0; r < ROWS; r++) s[r] += logit[uint(r * CLASSES) + c] * w;
        }
#if PLANE && VEC
        mean[4u * u] = s[0].x, mean[4u * u + 1u] = s[0].y, mean[4u * u + 2u] = s[0].z, mean[4u * u + 3u] = s[0].w;
#elif PLANE
        mean[u] = s[0];
#else
        for (int r = 0; r < ROWS; r++) {
            uint at = (first + uint(r)) * units + u;
            if (first + uint(r) < rows)
#if VEC
                da[at] = tail4(s[r], at * 4u);
#else
                da[at] = tail(s[r], at);
#endif
        }
#endif
    }
#if PLANE
    memoryBarrierShared();
    barrier();
    for (int j = 0; j < (CHANNELS * PLANE_UNITS + G - 1) / G; j++) {
        uint e = t + uint(j * G), at = first * uint(CHANNELS * PLANE_UNITS) + e;
        if (e < uint(CHANNELS * PLANE_UNITS) && first < rows)
#if VECX
            da[at] = tail4(vec4(mean[e / uint(PLANE_UNITS)]), at * 4u);
#else
            da[at] = tail(mean[e / uint(PLANE_UNITS)], at);
#endif
    }
#endif
#endif
}
