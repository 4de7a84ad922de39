#version 310 es
// forward: one step of a recurrent layer for all samples: the hidden state times the hidden weights, and the gates
//       KIND 0: h' = tanh(a)   1: h' = relu(a)   with a = x + W h + b
//       KIND 2: c' = sigmoid(a_f) c + sigmoid(a_i) tanh(a_g), h' = sigmoid(a_o) tanh(c'); gates in the order i, f, g, o
//       KIND 3: r, z = sigmoid(a_r), sigmoid(a_z); n = tanh(x_n + r m), m = W_n h + b_n; h' = (1 - z) n + z h; order r, z, n
// Source    Hochreiter, Schmidhuber 1997; Cho and others 2014; gates and biases as PyTorch has them
// Bindings  0 in x f32 [rows, gates * hidden], all steps, the input's bias included   1 in weight, as recurrent/pack leaves it
//           2 kept, read at `before` and written at `after`: [batch, hidden] of h, of c, and of the gates one after the other
//           3 out y [rows, hidden]
// Uniforms  groups_x;  n: ceil(batch / ROWS) * hidden;  hidden, batch >= 1;  row, row_step: row of sample b is row + b * row_step;
//           before_h, after_h, before_c, after_c, gates: where they begin in kept
// Groups    (x, y, 1) with x * y * 64 >= n; an invocation has one unit of ROWS samples
#ifndef KIND
#define KIND 2
#endif
#ifndef ROWS
#define ROWS 2
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
    uint before_h;
    uint after_h;
    uint before_c;
    uint after_c;
    uint gates;
};

#if KIND < 2
#define GATES 1u
#define VALUE float
#elif KIND == 2
#define GATES 4u
#define VALUE vec4
#else
#define GATES 3u
#define VALUE vec4 // the last one is not used
#endif

layout(std430, binding = 0) readonly buffer X { float x[]; };
#if KIND < 2
layout(std430, binding = 1) readonly buffer Weight { float weight[]; };
#else
layout(std430, binding = 1) readonly buffer Weight { vec4 weight[]; };
#endif
layout(std430, binding = 2) buffer Kept { float kept[]; };
layout(std430, binding = 3) writeonly buffer Y { float y[]; };

// Within the last digit of 1 on any device, without exponentials that overflow.
float sigmoid_of(float a)
{
    float e = exp(-abs(a));
    return (a < 0.0 ? e : 1.0) / (1.0 + e);
}

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
    VALUE acc[ROWS];
    VALUE bias = weight[hidden * hidden + unit];
    for (int r = 0; r < ROWS; r++) acc[r] = bias;
    for (uint k = 0u; k < hidden; k++) {
        VALUE w = weight[k * hidden + unit];
        for (int r = 0; r < ROWS; r++) acc[r] += kept[before_h + min(first + uint(r), batch - 1u) * hidden + k] * w;
    }
    for (int r = 0; r < ROWS; r++) {
        uint b = first + uint(r);
        if (b >= batch) continue;
        uint at = b * hidden + unit;
        uint to = row + b * row_step;
        uint from = to * GATES * hidden + unit;
#if KIND == 0
        float h = tanh_of(x[from] + acc[r]);
#elif KIND == 1
        float h = x[from] + acc[r];
        h = h < -0.0 ? 0.0 : h; // no number stays none: src/ops/activations.c
#elif KIND == 2
        uint all = batch * hidden;
        float in_gate = sigmoid_of(x[from] + acc[r].x);
        float forget = sigmoid_of(x[from + hidden] + acc[r].y);
        float cell = tanh_of(x[from + 2u * hidden] + acc[r].z);
        float out_gate = sigmoid_of(x[from + 3u * hidden] + acc[r].w);
        float c = forget * kept[before_c + at] + in_gate * cell;
        float h = out_gate * tanh_of(c);
        kept[after_c + at] = c;
        kept[gates + at] = in_gate;
        kept[gates + all + at] = forget;
        kept[gates + 2u * all + at] = cell;
        kept[gates + 3u * all + at] = out_gate;
#else
        uint all = batch * hidden;
        float reset = sigmoid_of(x[from] + acc[r].x);
        float z = sigmoid_of(x[from + hidden] + acc[r].y);
        float fresh = tanh_of(x[from + 2u * hidden] + reset * acc[r].z);
        float h = (1.0 - z) * fresh + z * kept[before_h + at];
        kept[gates + at] = reset;
        kept[gates + all + at] = z;
        kept[gates + 2u * all + at] = fresh;
        kept[gates + 3u * all + at] = acc[r].z;
#endif
        kept[after_h + at] = h;
        y[to * hidden + unit] = h;
    }
}
