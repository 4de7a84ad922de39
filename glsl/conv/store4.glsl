// Four neighbouring pixels of a row, from `column` on, behind the tail: to y[at] and so forth, y_v apart. Where y holds halves: EVEN_ROWS, y_v is 1 and rows begin and
// end at even elements; APART: y_v is not 1.
#ifndef EVEN_ROWS
#define EVEN_ROWS 0
#endif
#ifndef APART
#define APART 0
#endif
#ifndef FLOAT16
#define FLOAT16 0
#endif
void store4(uint at, uint column, vec4 s)
{
#if (FLOAT16 >> OUT_BINDING & 1) && EVEN_ROWS
    if (column < columns) halves_put2(y, at, vec2(tail(s.x, at), tail(s.y, at + 1u)));
    if (column + 2u < columns) halves_put2(y, at + 2u, vec2(tail(s.z, at + 2u), tail(s.w, at + 3u)));
#elif (FLOAT16 >> OUT_BINDING & 1) && !APART
    uint here = column < columns ? columns - column : 0u;
    vec4 t = vec4(0.0);
    if (here > 0u) t.x = tail(s.x, at);
    if (here > 1u) t.y = tail(s.y, at + 1u);
    if (here > 2u) t.z = tail(s.z, at + 2u);
    if (here > 3u) t.w = tail(s.w, at + 3u);
    halves_put4(y, at, here, t);
#else
    if (column < columns) y[at] = tail(s.x, at);
    if (column + 1u < columns) y[at + y_v] = tail(s.y, at + y_v);
    if (column + 2u < columns) y[at + 2u * y_v] = tail(s.z, at + 2u * y_v);
    if (column + 3u < columns) y[at + 3u * y_v] = tail(s.w, at + 3u * y_v);
#endif
}
