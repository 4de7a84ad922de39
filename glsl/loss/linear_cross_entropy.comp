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
//           NORM 1 (with HELD): a are norms of rows of NORM_X b: in f32 [rows, k] with NORM_STATS b: in vec2 (mean, variance) [rows] and NORM_WEIGHT b: in f32 [k],
//             or 0 where there is none; INPUT_GRAD is then the gradient of these rows (norm/grad), BEFORE b: out that of a, or 0; NORM_KIND 1: without a mean
// Uniforms  units: k, or k / 4 with VEC; bias_step: 1, or 0 for a bias of one element; nan: the bits of a NaN, out of the compiler's sight; eps: of the norm
// Groups    linear, folded over x and y, groups * ROWS >= rows
// Variants  VEC: k is a multiple of 4, and a, weight and the gradient of a are read and written as vec4. With PLANE: ROWS is 1, CHANNELS is k, PL
//           invocations share a mean, and VECX says that n is a multiple of 4
//           HELD n (with VEC): an invocation keeps its n units of CB classes in registers, for the logits and for the gradient of a, which the G / KL sets of
//           classes then add up; UNITS is k / 4, at most n KL. ROWS_AT_ONCE, a whole, a half, a third or a quarter of ROWS, have their sums in shared memory at a time
//           LABELS: labels of an invocation, G LABELS >= rows, whose reads are on their way together; 0: any number, one after the other
// Limits    G invocations, a multiple of LANES; 4 (PARTS + ROWS (CLASSES + 3 LANES + 2) + G + 16) bytes shared, where PARTS is ROWS CLASSES (KL + 1); with HELD
//           ROWS_AT_ONCE in place of ROWS, or 4 UNITS G / KL ROWS_AT_ONCE if that is more; with PLANE CHANNELS PL if that is more, and CHANNELS beside it
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
#ifndef LANES
#define LANES 8 // that share a row's logits: a literal
#endif
#ifndef HELD
#define HELD 0
#endif
#if !HELD
#define ROWS_AT_ONCE ROWS
#endif
#ifndef LABELS
#define LABELS 0
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
#ifndef NORM
#define NORM 0
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
    float eps;
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
#define CHUNKS (ROWS / ROWS_AT_ONCE)
#define SUM_TURNS ((ROWS_AT_ONCE * CLASSES + G - 1) / G) // with HELD: logits that an invocation adds up, at a time
#define ENDS ((ROWS_AT_ONCE * UNITS + G - 1) / G) // with HELD: units whose gradient an invocation ends, at a time
#define TURNS ((ROWS * LANES + G - 1) / G)
#define ROW(turn) ((t + uint(turn * G)) / uint(LANES))
const uint TALLIES = 16u;

#define PARTS_OF_LOGITS (ROWS_AT_ONCE * CLASSES * (KL + 1))
#if HELD && ROWS_AT_ONCE * (G / KL) * 4 * UNITS > PARTS_OF_LOGITS
#define PARTS_OF_SUMS (ROWS_AT_ONCE * (G / KL) * 4 * UNITS)
#else
#define PARTS_OF_SUMS PARTS_OF_LOGITS
#endif
#if PLANE && CHANNELS * PL > PARTS_OF_SUMS
#define PARTS (CHANNELS * PL)
#else
#define PARTS PARTS_OF_SUMS
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
shared float highest[ROWS * LANES], beaten[ROWS * LANES], sums[ROWS * LANES], row_loss[ROWS], row_right[ROWS];
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

#if NORM
layout(std430, binding = NORM_X) readonly buffer NormX { vec4 norm_x[]; };
layout(std430, binding = NORM_STATS) readonly buffer NormStats { vec2 norm_stats[]; };
#if NORM_WEIGHT
layout(std430, binding = NORM_WEIGHT) readonly buffer NormWeight { vec4 norm_weight[]; };
#endif
#if BEFORE
layout(std430, binding = BEFORE) writeonly buffer Before { vec4 before[]; };
#endif
shared vec2 moment[ROWS_AT_ONCE * UNITS]; // of a unit of the gradient times the weight: its sum, and that with what is normal
#endif

#if INPUT_GRAD
// Unit u of the gradient of row r of this group.
void give(uint r, uint u, UNIT s, uint first)
{
#if PLANE && VEC
    mean[4u * u] = s.x, mean[4u * u + 1u] = s.y, mean[4u * u + 2u] = s.z, mean[4u * u + 3u] = s.w;
#elif PLANE
    mean[u] = s;
#else
    uint at = (first + r) * units + u;
    if (first + r < rows)
#if VEC
        da[at] = tail4(s, at * 4u);
#else
        da[at] = tail(s, at);
#endif
#endif
}
#endif

#if HELD
// What an invocation has read: its units of the weight and of the rows; the bias of the logits that it adds up; and of the units whose gradient it ends what is
// normalised, with its statistics, and the norm's weight.
vec4 w[CB * HELD], x[ROWS * HELD];
float bias_of[SUM_TURNS];
#if NORM
vec4 normal[CHUNKS * ENDS], scale[ENDS];
vec2 statistics[CHUNKS * ENDS];
#endif

// The logits of ROWS_AT_ONCE rows from `from` on.
void logits_of(const int from, uint t)
{
    uint lane = t % uint(KL), set = t / uint(KL);
    for (int r = 0; r < ROWS_AT_ONCE; r++)
        for (int j = 0; j < CB; j++) {
            uint c = set + uint(j) * SETS;
            float s = dot(x[from + r], w[j * HELD]);
            for (int i = 1; i < HELD; i++) s += dot(x[i * ROWS + from + r], w[j * HELD + i]);
            if (c < uint(CLASSES)) part[(uint(r * CLASSES) + c) * uint(KL + 1) + lane] = s;
        }
    memoryBarrierShared();
    barrier();
    for (int turn = 0; turn < SUM_TURNS; turn++) {
        uint e = t + uint(turn * G);
        if (e >= uint(ROWS_AT_ONCE * CLASSES)) continue;
        float s = 0.0;
        for (uint l = 0u; l < uint(KL); l++) s += part[e * uint(KL + 1) + l];
#if BIAS
        s += bias_of[turn];
#endif
        logit[uint(from * CLASSES) + e] = s;
    }
}

#if INPUT_GRAD
// Each set's part of the gradients of these rows, then their sums.
void gradient_of(const int from, uint t, uint first)
{
    uint lane = t % uint(KL), own_set = t / uint(KL);
    for (int r = 0; r < ROWS_AT_ONCE; r++)
        for (int i = 0; i < HELD; i++) {
            uint u = lane + uint(i * KL);
            vec4 s = vec4(0.0);
            for (int j = 0; j < CB; j++) {
                uint c = own_set + uint(j) * SETS;
                if (c < uint(CLASSES)) s += logit[uint((from + r) * CLASSES) + c] * w[j * HELD + i];
            }
            if (u >= uint(UNITS)) continue;
            uint at = (uint(r) * SETS + own_set) * uint(4 * UNITS) + u;
            part[at] = s.x;
            part[at + uint(UNITS)] = s.y;
            part[at + uint(2 * UNITS)] = s.z;
            part[at + uint(3 * UNITS)] = s.w;
        }
    memoryBarrierShared();
    barrier();
#if NORM
    int chunk = from / ROWS_AT_ONCE * ENDS;
    vec4 kept[ENDS];
#endif
    for (int turn = 0; turn < ENDS; turn++) {
        uint e = t + uint(turn * G), r = e / uint(UNITS), u = e % uint(UNITS);
        if (e >= uint(ROWS_AT_ONCE * UNITS)) continue;
        vec4 s = vec4(0.0);
        for (uint set = 0u; set < SETS; set++) {
            uint at = (r * SETS + set) * uint(4 * UNITS) + u;
            s += vec4(part[at], part[at + uint(UNITS)], part[at + uint(2 * UNITS)], part[at + uint(3 * UNITS)]);
        }
#if NORM
#if BEFORE
        if (first + uint(from) + r < rows) before[(first + uint(from) + r) * uint(UNITS) + u] = s;
#endif
        vec2 of_row = statistics[chunk + turn];
        s *= scale[turn];
        kept[turn] = s;
        normal[chunk + turn] = (normal[chunk + turn] - of_row.x) * inversesqrt(of_row.y + eps);
        moment[e] = vec2(dot(s, vec4(1.0)), dot(s, normal[chunk + turn]));
#else
        give(uint(from) + r, u, s, first);
#endif
    }
#if NORM
    memoryBarrierShared();
    barrier();
    for (int turn = 0; turn < ENDS; turn++) {
        uint e = t + uint(turn * G), r = e / uint(UNITS), u = e % uint(UNITS);
        if (e >= uint(ROWS_AT_ONCE * UNITS)) continue;
        vec2 mean_of = vec2(0.0);
        for (uint i = 0u; i < uint(UNITS); i++) mean_of += moment[r * uint(UNITS) + i];
        mean_of /= float(4 * UNITS);
#if NORM_KIND == 1
        mean_of.x = 0.0;
#endif
        give(uint(from) + r, u, (kept[turn] - mean_of.x - normal[chunk + turn] * mean_of.y) * inversesqrt(statistics[chunk + turn].y + eps), first);
    }
#endif
}
#endif
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint t = gl_LocalInvocationIndex;
    uint first = group * uint(ROWS);

    // Sums of counts are exact: whole numbers below 2^24. Labels may lie far away, and are waited for when the logits are there.
#if LABELS
    int counted_label[LABELS];
    for (int i = 0; i < LABELS; i++) counted_label[i] = labels[min(t + uint(i * G), rows - 1u)];
#endif
    int label[TURNS];
    for (int turn = 0; turn < TURNS; turn++) {
        uint row = ROW(turn);
        label[turn] = row < uint(ROWS) && first + row < rows ? labels[first + row] : -1;
    }
#if PLANE
    find_means(first, t);
#endif

#if HELD
    // All reads of memory at once.
    for (int i = 0; i < HELD; i++) {
        uint u = t % uint(KL) + uint(i * KL), set = t / uint(KL), within = min(u, uint(UNITS - 1));
        for (int j = 0; j < CB; j++)
            w[j * HELD + i] = weight[min(set + uint(j) * SETS, uint(CLASSES - 1)) * uint(UNITS) + within];
        for (int r = 0; r < ROWS; r++) x[i * ROWS + r] = u < uint(UNITS) ? A_OF(r, within) : vec4(0.0);
    }
#if BIAS
    for (int turn = 0; turn < SUM_TURNS; turn++) bias_of[turn] = bias[(t + uint(turn * G)) % uint(CLASSES) * bias_step];
#endif
#if NORM
    for (int turn = 0; turn < ENDS; turn++) {
        uint e = min(t + uint(turn * G), uint(ROWS_AT_ONCE * UNITS - 1)), u = e % uint(UNITS);
#if NORM_WEIGHT
        scale[turn] = norm_weight[u];
#else
        scale[turn] = vec4(1.0);
#endif
        for (int i = 0; i < CHUNKS; i++) {
            uint row = min(first + e / uint(UNITS) + uint(i * ROWS_AT_ONCE), rows - 1u);
            statistics[i * ENDS + turn] = norm_stats[row];
            normal[i * ENDS + turn] = norm_x[row * uint(UNITS) + u];
        }
    }
#endif
    logits_of(0, t);
#if CHUNKS > 1
    memoryBarrierShared();
    barrier();
    logits_of(ROWS_AT_ONCE, t);
#endif
#if CHUNKS > 2
    memoryBarrierShared();
    barrier();
    logits_of(2 * ROWS_AT_ONCE, t);
#endif
#if CHUNKS > 3
    memoryBarrierShared();
    barrier();
    logits_of(3 * ROWS_AT_ONCE, t);
#endif
#else
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
    for (uint e = t; e < uint(ROWS * CLASSES); e += uint(G)) {
        float s = 0.0;
        for (uint l = 0u; l < uint(KL); l++) s += part[e * uint(KL + 1) + l];
#if BIAS
        s += bias[e % uint(CLASSES) * bias_step];
#endif
        logit[e] = s;
    }
#endif
    float counted = 0.0;
#if LABELS
    for (int i = 0; i < LABELS; i++) counted += counted_label[i] != -1 && t + uint(i * G) < rows ? 1.0 : 0.0;
#else
    for (uint i = t; i < rows; i += uint(G)) counted += labels[i] != -1 ? 1.0 : 0.0;
#endif
    counts[t] = counted;
    memoryBarrierShared();
    barrier();

    // LANES invocations for each row: what they find, each reads from all.
    uint lane = t % uint(LANES);
    float own[TURNS];
    for (int turn = 0; turn < TURNS; turn++) {
        uint row = ROW(turn);
        bool valid = label[turn] >= 0 && label[turn] < CLASSES;
        own[turn] = valid ? logit[row * uint(CLASSES) + uint(label[turn])] : 0.0;
        if (row >= uint(ROWS)) continue;
        float m = LOWEST, by = 0.0; // by how many: those in front that are as large, those behind that are larger
        for (uint c = lane; c < uint(CLASSES); c += uint(LANES)) {
            float v = logit[row * uint(CLASSES) + c];
            m = max(m, v);
            by += v > own[turn] || (v == own[turn] && int(c) < label[turn]) ? 1.0 : 0.0;
        }
        highest[row * uint(LANES) + lane] = m;
        beaten[row * uint(LANES) + lane] = by;
    }
    // By those with no row.
    for (uint i = uint(G - 1) - t; i < TALLIES; i += uint(G)) {
        float s = 0.0;
        for (uint j = i; j < uint(G); j += TALLIES) s += counts[j];
        tally[i] = s;
    }
    memoryBarrierShared();
    barrier();

    float top[TURNS];
    for (int turn = 0; turn < TURNS; turn++) {
        uint row = ROW(turn);
        if (row >= uint(ROWS)) continue;
        float m = LOWEST, s = 0.0;
        for (uint l = 0u; l < uint(LANES); l++) m = max(m, highest[row * uint(LANES) + l]);
        for (uint c = lane; c < uint(CLASSES); c += uint(LANES)) {
            float v = exp(logit[row * uint(CLASSES) + c] - m);
            logit[row * uint(CLASSES) + c] = v;
            s += v;
        }
        sums[row * uint(LANES) + lane] = s;
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
        for (uint l = 0u; l < uint(LANES); l++) {
            s += sums[row * uint(LANES) + l];
            by += beaten[row * uint(LANES) + l];
        }
        if (lane == 0u) {
            row_loss[row] = valid ? log(s) - (own[turn] - top[turn]) : label[turn] != -1 ? uintBitsToFloat(nan) : 0.0;
            row_right[row] = valid && by == 0.0 && !isnan(s) ? 1.0 : 0.0; // none with a NaN is right
        }
#if GRAD || INPUT_GRAD
        float scale = count > 0.0 ? 1.0 / count : 0.0;
        float share = scale / s;
        for (uint c = lane; c < uint(CLASSES); c += uint(LANES)) {
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
#if INPUT_GRAD && HELD
    gradient_of(0, t, first);
#if CHUNKS > 1
    memoryBarrierShared();
    barrier();
    gradient_of(ROWS_AT_ONCE, t, first);
#endif
#if CHUNKS > 2
    memoryBarrierShared();
    barrier();
    gradient_of(2 * ROWS_AT_ONCE, t, first);
#endif
#if CHUNKS > 3
    memoryBarrierShared();
    barrier();
    gradient_of(3 * ROWS_AT_ONCE, t, first);
#endif
#elif INPUT_GRAD
    for (uint u = t; u < units; u += uint(G)) {
        UNIT s[ROWS];
        for (int r = 0; r < ROWS; r++) s[r] = UNIT(0.0);
        for (uint c = 0u; c < uint(CLASSES); c++) {
            UNIT w = weight[c * units + u];
            for (int r = 0; r < ROWS; r++) s[r] += logit[uint(r * CLASSES) + c] * w;
        }
        for (int r = 0; r < ROWS; r++) give(uint(r), u, s[r], first);
    }
#endif
#if INPUT_GRAD
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
