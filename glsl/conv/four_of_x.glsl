// Four neighbours of a row of x, `at` the column of the first, x[from]; zeros outside. X4: x is read as vec4, and SHIFT is where fours of it begin for them.
vec4 four_of_x(int from, int at)
{
#if X4 // a four of the row, or what two of them have of it
    vec4 a = vec4(0.0);
    if (uint(at - SHIFT) < uint(x_w)) a = x4[(from - SHIFT) >> 2];
#if SHIFT == 0
    return a;
#else
    vec4 b = vec4(0.0);
    if (uint(at - SHIFT + 4) < uint(x_w)) b = x4[((from - SHIFT) >> 2) + 1];
#if SHIFT == 1
    return vec4(a.yzw, b.x);
#elif SHIFT == 2
    return vec4(a.zw, b.xy);
#else
    return vec4(a.w, b.xyz);
#endif
#endif
#else
    vec4 t = vec4(0.0);
    if (uint(at) < uint(x_w)) t.x = x[from];
    if (uint(at + 1) < uint(x_w)) t.y = x[from + 1];
    if (uint(at + 2) < uint(x_w)) t.z = x[from + 2];
    if (uint(at + 3) < uint(x_w)) t.w = x[from + 3];
    return t;
#endif
}
