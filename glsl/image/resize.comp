#version 310 es
// resize: y [planes, y_h, y_w] from x [planes, x_h, x_w], nearest or bilinear; GRAD 1: gx from g, in gather form, no atomics
// Source    PyTorch's interpolate with align_corners = false: the centre of pixel o lies at ((2 o + 1) x_n - y_n) / (2 y_n) in x, not
//           below 0; nearest takes floor(o x_n / y_n). Both in integers, so that every device picks the same pixels
// Bindings  0 in  x (GRAD: g)    1 out y (GRAD: gx), f32
// Uniforms  n: elements of the result, 1 to 2^31 - 1    groups_x: width of the folded grid    heights and widths: 1 to 32767
// Groups    (groups_x, any, 1) of 64, one element each
#ifndef BILINEAR
#define BILINEAR 1
#endif
#ifndef GRAD
#define GRAD 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
    int x_h, x_w, y_h, y_w; // x is the input of the forward operation, in both
};

// The pixel of x at or before pixel o of y; how far o is towards the next.
int source(int o, int x_n, int y_n, out float part)
{
#if BILINEAR == 1
    int at = max((2 * o + 1) * x_n - y_n, 0);
    int s = at / (2 * y_n);
    part = float(at - s * 2 * y_n) / float(2 * y_n);
    return s;
#else
    part = 0.0;
    return o * x_n / y_n;
#endif
}

// First and last o that can have a share of pixel s.
ivec2 range(int s, int x_n, int y_n)
{
#if BILINEAR == 1
    return ivec2(max(((2 * s - 1) * y_n - x_n) / (2 * x_n), 0), min(((2 * s + 3) * y_n) / (2 * x_n), y_n - 1));
#else
    return ivec2((s * y_n + x_n - 1) / x_n, ((s + 1) * y_n + x_n - 1) / x_n - 1);
#endif
}

float share(int o, int s, int x_n, int y_n)
{
    float part;
    int at = source(o, x_n, y_n, part);
    float w = at == s ? 1.0 - part : 0.0;
    if (min(at + 1, x_n - 1) == s) w += part;
    return w;
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint e = (group.y * groups_x + group.x) * 64u + gl_LocalInvocationID.x;
    if (e >= n) return;
#if GRAD == 1
    uint w = uint(x_w);
    uint h = uint(x_h);
#else
    uint w = uint(y_w);
    uint h = uint(y_h);
#endif
    uint line = e / w;
    uint plane = line / h;
    int column = int(e - line * w);
    int row = int(line - plane * h);
#if GRAD == 1
    uint from = plane * uint(y_h * y_w);
    ivec2 rows = range(row, x_h, y_h);
    ivec2 columns = range(column, x_w, y_w);
    float sum = 0.0;
    for (int r = rows.x; r <= rows.y; r++) {
        float line_sum = 0.0;
        for (int c = columns.x; c <= columns.y; c++)
            line_sum += share(c, column, x_w, y_w) * x[from + uint(r * y_w + c)];
        sum += share(r, row, x_h, y_h) * line_sum;
    }
    y[e] = sum;
#else
    uint from = plane * uint(x_h * x_w);
    float down;
    float right;
    int r = source(row, x_h, y_h, down);
    int c = source(column, x_w, y_w, right);
#if BILINEAR == 1
    uint above = from + uint(r * x_w);
    uint below = from + uint(min(r + 1, x_h - 1) * x_w);
    uint next = uint(min(c + 1, x_w - 1));
    float first = (1.0 - right) * x[above + uint(c)] + right * x[above + next];
    float second = (1.0 - right) * x[below + uint(c)] + right * x[below + next];
    y[e] = (1.0 - down) * first + down * second;
#else
    y[e] = x[from + uint(r * x_w + c)];
#endif
#endif
}
