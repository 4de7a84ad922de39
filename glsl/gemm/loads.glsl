// Four neighbouring elements of an operand as it is stored, for kernels whose blocks are a and b: vec4 if VA, VB, which then are a multiple of 4 wide.
// WHOLE and EVEN say that nobody asks for what lies past the end, along p and along the result.
uint at_a = 0u, at_b = 0u; // where this batch's matrices begin, in elements

// Those past the end repeat the last: elements at .. at + 3 of the row that begins at `from` and is `width` long.
#if VA
vec4 load_a(uint from, uint at, uint width)
{
#if (TA && EVEN) || (!TA && WHOLE)
    return a[(from + at) >> 2];
#else
    return a[(from + min(at, width - 4u)) >> 2];
#endif
}
#else
vec4 load_a(uint from, uint at, uint width)
{
    uint last = width - 1u;
    return vec4(a[from + min(at, last)], a[from + min(at + 1u, last)], a[from + min(at + 2u, last)], a[from + min(at + 3u, last)]);
}
#endif
#if VB
vec4 load_b(uint from, uint at, uint width)
{
#if (TB && WHOLE) || (!TB && EVEN)
    return b[(from + at) >> 2];
#else
    return b[(from + min(at, width - 4u)) >> 2];
#endif
}
#else
vec4 load_b(uint from, uint at, uint width)
{
    uint last = width - 1u;
    return vec4(b[from + min(at, last)], b[from + min(at + 1u, last)], b[from + min(at + 2u, last)], b[from + min(at + 3u, last)]);
}
#endif
