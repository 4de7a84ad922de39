// The two groups of a tile, each with the sums over half of p. Whoever is done first leaves them in c; the other waits until they are there, adds its own, and
// goes on to the tail: one sum of two, whoever comes first. Nobody waits for a group that has not begun: the first is done, or computes and waits for nobody.
// A kernel has blocks c and meetings, the latter 0 before and behind every dispatch: 1 is added by each group, and one more when the sums are in c.
bool comes_second;

// Behind a barrier; all of the group.
void arrive(uint meeting)
{
    if (gl_LocalInvocationIndex == 0u) {
        uint before = atomicAdd(meetings[meeting], 1u);
        if (before != 0u) {
            while (atomicAdd(meetings[meeting], 0u) != 3u) {
            }
            atomicExchange(meetings[meeting], 0u);
        }
        OF_A(0u).x = before == 0u ? 0.0 : 1.0;
    }
    memoryBarrierShared();
    barrier();
    comes_second = OF_A(0u).x != 0.0;
    memoryBarrierBuffer();
}

void leave(uint meeting)
{
    memoryBarrierBuffer();
    barrier();
    if (gl_LocalInvocationIndex == 0u && !comes_second) atomicAdd(meetings[meeting], 1u);
}

// Four neighbours of row `at / n`, from column j on: whether they are the sums now.
bool meet4(uint at, uint j, inout vec4 s)
{
#if VC
    if (comes_second)
        s += c[at >> 2];
    else
        c[at >> 2] = s;
#else
    if (comes_second) {
        s.x += c[at];
        if (j + 1u < n) s.y += c[at + 1u];
        if (j + 2u < n) s.z += c[at + 2u];
        if (j + 3u < n) s.w += c[at + 3u];
    } else {
        c[at] = s.x;
        if (j + 1u < n) c[at + 1u] = s.y;
        if (j + 2u < n) c[at + 2u] = s.z;
        if (j + 3u < n) c[at + 3u] = s.w;
    }
#endif
    return comes_second;
}
