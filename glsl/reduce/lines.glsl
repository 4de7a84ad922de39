// Lines that LANES invocations share, 128 / LANES of them in a group of 128: lanes are neighbours, or with COLUMNS lines are. JOINED: whether lanes tell
// each other anything, by a tree of HELD; MAXIMUM: also their largest.
const uint LINES = uint(128 / LANES);
#if COLUMNS
const uint NEXT = LINES; // from one lane of a line to the next
#else
const uint NEXT = 1u;
#endif

#if LANES > 1 && JOINED
shared HELD tree[128];
#endif

#ifdef MAXIMUM
// The largest of what the lanes of this line hold. Every invocation calls it.
HELD line_max(HELD value, uint lane)
{
#if LANES > 1 && JOINED
    uint t = gl_LocalInvocationIndex;
    tree[t] = value;
    for (uint half_n = uint(LANES / 2); half_n > 0u; half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (lane < half_n) tree[t] = max(tree[t], tree[t + half_n * NEXT]);
    }
    memoryBarrierShared();
    barrier();
    value = tree[t - lane * NEXT];
    barrier(); // nobody overwrites the tree before all have read
#endif
    return value;
}
#endif

// The sum of what the lanes of this line hold, in a fixed order. Every invocation calls it.
HELD line_sum(HELD value, uint lane)
{
#if LANES > 1 && JOINED
    uint t = gl_LocalInvocationIndex;
    tree[t] = value;
    for (uint half_n = uint(LANES / 2); half_n > 0u; half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (lane < half_n) tree[t] += tree[t + half_n * NEXT];
    }
    memoryBarrierShared();
    barrier();
    value = tree[t - lane * NEXT];
    barrier(); // nobody overwrites the tree before all have read
#endif
    return value;
}
