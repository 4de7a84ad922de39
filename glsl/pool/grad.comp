#version 310 es
// pool/grad: gx[i][r][c] = sum of g[i][u][v] over the windows (u, v) whose first maximum is x[i][r][c], or, if MEAN, of
//            g[i][u][v] / (window_y * window_x) over all windows that contain (r, c) (MEAN 2: by the pixels of the window that lie inside x)
// Order     each element gathers its windows in order of u, then v: no atomics
// Bindings  0 in g f32 [planes, rows, columns]    MEAN: 1 out gx f32 [planes, x_h, x_w]
//           those of TAIL come before gx
//           else: 1 in x f32 [planes, x_h, x_w]    2 in y f32 (the pooled x, same shape as g)    3 out gx
// Uniforms  n_elems: of gx; fold: groups along x; scale: 1 / (window_y * window_x); the rest as in pool/forward
// Groups    64 elements each, folded into x and y
#ifndef MEAN
#define MEAN 0
#endif
#ifndef TAIL // what becomes of element `at` of gx: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; }
#endif
#ifndef OUT_BINDING // behind the blocks of the tail
#if MEAN
#define OUT_BINDING 1
#else
#define OUT_BINDING 3
#endif
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer G { float g[]; };
#if !MEAN
layout(std430, binding = 1) readonly buffer X { float x[]; };
layout(std430, binding = 2) readonly buffer Y { float y[]; };
#endif
TAIL
layout(std430, binding = OUT_BINDING) writeonly buffer GX { float gx[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_elems;
    int rows, columns, x_h, x_w, window_y, window_x, stride_y, stride_x, pad_y, pad_x;
    float scale, unused_0, unused_1;
    uint fold;
};

#if MEAN == 2
// Rows or columns of a window that lie inside x.
int inside(int begin, int window, int extent) { return min(begin + window, extent) - max(begin, 0); }
#endif

#if !MEAN
// Whether no element of the window with corner (top, left) before (row, column) equals t.
bool is_first(int base, int top, int left, int row, int column, float t)
{
    int c_begin = max(left, 0), c_end = min(left + window_x, x_w);
    for (int r = max(top, 0); r <= row; r++) {
        int stop = r == row ? column : c_end;
        for (int c = c_begin; c < stop; c++)
            if (x[base + r * x_w + c] == t) return false;
    }
    return true;
}

// Of several that are no numbers the last is the window's.
bool is_last(int base, int top, int left, int row, int column)
{
    int r_end = min(top + window_y, x_h), c_end = min(left + window_x, x_w);
    for (int r = row; r < r_end; r++)
        for (int c = r == row ? column + 1 : max(left, 0); c < c_end; c++)
            if (isnan(x[base + r * x_w + c])) return false;
    return true;
}
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint e = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (e >= n_elems) return;
    uint line = e / uint(x_w), plane = line / uint(x_h);
    int row = int(line - plane * uint(x_h)), column = int(e - line * uint(x_w));
    // u stride_y - pad_y <= row < u stride_y - pad_y + window_y
    int u_end = min((row + pad_y) / stride_y + 1, rows), v_end = min((column + pad_x) / stride_x + 1, columns);
    int u_begin = max(row + pad_y - window_y + stride_y, 0) / stride_y;
    int v_begin = max(column + pad_x - window_x + stride_x, 0) / stride_x;
    int g_base = int(plane) * rows * columns;
    float s = 0.0;
#if MEAN
    for (int u = u_begin; u < u_end; u++)
        for (int v = v_begin; v < v_end; v++) {
#if MEAN == 2
            s += g[g_base + u * columns + v] / float(inside(u * stride_y - pad_y, window_y, x_h) * inside(v * stride_x - pad_x, window_x, x_w));
#else
            s += g[g_base + u * columns + v];
#endif
        }
#if MEAN == 2
    gx[e] = tail(s, e);
#else
    gx[e] = tail(s * scale, e);
#endif
#else
    int x_base = int(plane) * x_h * x_w;
    float t = x[e];
    for (int u = u_begin; u < u_end; u++)
        for (int v = v_begin; v < v_end; v++) {
            int at = g_base + u * columns + v;
            int top = u * stride_y - pad_y, left = v * stride_x - pad_x;
            if (isnan(t) ? is_last(x_base, top, left, row, column) : y[at] == t && is_first(x_base, top, left, row, column, t)) s += g[at];
        }
    gx[e] = tail(s, e);
#endif
}
