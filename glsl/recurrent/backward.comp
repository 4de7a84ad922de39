#version 310 es
// backward: the gradient of one step of a recurrent layer (recurrent/forward) for all samples, from that of the step after it:
//       dh = dy + W' dgates of the step after, and what h passes on by itself; from dh the gradients of this step's gates
// FINAL     1: dh of the state before the first step, to work at `initial`
// Bindings  0 work, f32: dy [rows, hidden], then what is carried to the step before [batch, hidden] (KIND 2: of c; 3: of h; else not
//           used), then the initial state's gradient   1 in kept, as recurrent/forward   2 in weight [gates * hidden, hidden]
//           3 dgates [rows, gates * hidden], the gradient of x there: read at the step after, written at this one
// Uniforms  groups_x;  n: ceil(batch / ROWS) * hidden;  hidden, batch >= 1;  row, row_step: row of sample b is row + b * row_step;
//           next_row: the same of the step after;  last: 1 if there is none;  carry, initial: places in work;
//           before_h, after_h, before_c, after_c, gates, next_gates: places in kept
// Groups    (x, y, 1) with x * y * 64 >= n; an invocation has one unit of ROWS samples
#ifndef KIND
#define KIND 2
#endif
#ifndef ROWS
#define ROWS 4
#endif
#ifndef FINAL
#define FINAL 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n;
    uint hidden;
    uint batch;
    uint row;
    uint row_step;
    uint next_row;
    uint last;
    uint carry;
    uint initial;
    uint before_h;
    uint after_h;
    uint before_c;
    uint after_c;
    uint gates;
    uint next_gates;
};

#if KIND < 2
#define GATES 1
#elif KIND == 2
#define GATES 4
#else
#define GATES 3
#endif

layout(std430, binding = 0) buffer Work { float work[]; };
layout(std430, binding = 1) readonly buffer Kept { float kept[]; };
layout(std430, binding = 2) readonly buffer Weight { float weight[]; };
layout(std430, binding = 3) buffer Dgates { float dgates[]; };

float tanh_of(float a)
{
    float e = exp(-2.0 * abs(a)); // in (0, 1]: cannot overflow
    float t = (1.0 - e) / (1.0 + e);
    return a < 0.0 ? -t : t;
}

void main()
{
    uint i = ((gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x) * 64u + gl_LocalInvocationIndex;
    if (i >= n) return;
    uint tile = i / hidden;
    uint unit = i - tile * hidden;
    uint first = tile * uint(ROWS);
    float acc[ROWS];
    for (int r = 0; r < ROWS; r++) acc[r] = 0.0;
    uint end = last != 0u ? 0u : hidden;
    for (uint k = 0u; k < end; k++) {
        for (int g = 0; g < GATES; g++) {
            uint column = uint(g) * hidden + k;
            float w = weight[column * hidden + unit];
            for (int r = 0; r < ROWS; r++) {
                uint b = min(first + uint(r), batch - 1u);
                float d = dgates[(next_row + b * row_step) * uint(GATES) * hidden + column];
#if KIND == 3
                if (g == 2) d *= kept[next_gates + b * hidden + k]; // the reset gate stands before W_n h
#endif
                acc[r] += d * w;
            }
        }
    }
    for (int r = 0; r < ROWS; r++) {
        uint b = first + uint(r);
        if (b >= batch) continue;
        uint at = b * hidden + unit;
        float dh = acc[r];
#if KIND == 3
        dh += work[carry + at];
#endif
#if FINAL
        work[initial + at] = dh;
#else
        uint to = row + b * row_step;
        uint place = to * uint(GATES) * hidden + unit;
        dh += work[to * hidden + unit];
#if KIND == 0
        float h = kept[after_h + at];
        dgates[place] = dh * (1.0 - h * h);
#elif KIND == 1
        dgates[place] = kept[after_h + at] <= 0.0 ? 0.0 : dh;
#elif KIND == 2
        uint all = batch * hidden;
        float in_gate = kept[gates + at];
        float forget = kept[gates + all + at];
        float cell = kept[gates + 2u * all + at];
        float out_gate = kept[gates + 3u * all + at];
        float t = tanh_of(kept[after_c + at]);
        float dc = dh * out_gate * (1.0 - t * t) + work[carry + at];
        work[carry + at] = dc * forget;
        dgates[place] = dc * cell * in_gate * (1.0 - in_gate);
        dgates[place + hidden] = dc * kept[before_c + at] * forget * (1.0 - forget);
        dgates[place + 2u * hidden] = dc * in_gate * (1.0 - cell * cell);
        dgates[place + 3u * hidden] = dh * t * out_gate * (1.0 - out_gate);
#else
        uint all = batch * hidden;
        float reset = kept[gates + at];
        float z = kept[gates + all + at];
        float fresh = kept[gates + 2u * all + at];
        float dfresh = dh * (1.0 - z) * (1.0 - fresh * fresh);
        work[carry + at] = dh * z;
        dgates[place] = dfresh * kept[gates + 3u * all + at] * reset * (1.0 - reset);
        dgates[place + hidden] = dh * (kept[before_h + at] - fresh) * z * (1.0 - z);
        dgates[place + 2u * hidden] = dfresh;
#endif
#endif
    }
}
