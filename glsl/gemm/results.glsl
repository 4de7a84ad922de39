// Four neighbouring results, of row i and columns j to j + 3, or what there is of these: the bias, then the tail. VC: n is a multiple of 4.
vec4 with_bias(uint i, uint j, vec4 s)
{
#if BIAS && BIAS_OF_ROW
    return s + bias[i * bias_step];
#elif BIAS
    uint last = n - 1u;
    return s + vec4(bias[j * bias_step], bias[min(j + 1u, last) * bias_step], bias[min(j + 2u, last) * bias_step],
              bias[min(j + 3u, last) * bias_step]);
#else
    return s;
#endif
}
#ifndef FLOAT16
#define FLOAT16 0
#endif
#if !UPDATE
void write4(uint at, uint j, vec4 s)
{
#if VC
    c[at >> 2] = tail4(s, at);
#elif FLOAT16 >> OUT_BINDING & 1
    uint here = n - j;
    vec4 t = vec4(tail(s.x, at), 0.0, 0.0, 0.0);
    if (here > 1u) t.y = tail(s.y, at + 1u);
    if (here > 2u) t.z = tail(s.z, at + 2u);
    if (here > 3u) t.w = tail(s.w, at + 3u);
    halves_put4(c, at, here, t);
#else
    c[at] = tail(s.x, at);
    if (j + 1u < n) c[at + 1u] = tail(s.y, at + 1u);
    if (j + 2u < n) c[at + 2u] = tail(s.z, at + 2u);
    if (j + 3u < n) c[at + 3u] = tail(s.w, at + 3u);
#endif
}
#endif
