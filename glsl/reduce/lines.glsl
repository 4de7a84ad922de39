// Lines that LANES invocations share, 128 / LANES of them in a group of 128: lanes are neighbours, or with COLUMNS lines are. JOINED: whether lanes tell
// each other anything, by a tree of HELD; MAXIMUM: also their largest.
const uint LINES = uint(128 / LANES);
#if COLUMNS
const uint NEXT = LINES; // from one lane of a line to the next
#else
const uint NEXT = 1u;
#endif

// What the lanes of a line hold, put together by JOIN(a, b) in a fixed order. Every invocation calls it.
#if LANES > 1 && JOINED
shared HELD tree[128];
#define OF_LINE(NAME, JOIN)                                                                                                      \
    HELD NAME(HELD value, uint lane)                                                                                             \
    {                                                                                                                            \
        uint t = gl_LocalInvocationIndex;                                                                                        \
        tree[t] = value;                                                                                                         \
        for (uint half_n = uint(LANES / 2); half_n > 0u; half_n >>= 1) {                                                         \
            memoryBarrierShared();                                                                                               \
            barrier();                                                                                                           \
            if (lane < half_n) tree[t] = JOIN(tree[t], tree[t + half_n * NEXT]);                                                 \
        }                                                                                                                        \
        memoryBarrierShared();                                                                                                   \
        barrier();                                                                                                               \
        value = tree[t - lane * NEXT];                                                                                           \
        barrier(); /* nobody overwrites the tree before all have read */                                                         \
        return value;                                                                                                            \
    }
#else
#define OF_LINE(NAME, JOIN)                                                                                                      \
    HELD NAME(HELD value, uint lane)                                                                                             \
    {                                                                                                                            \
        return value;                                                                                                            \
    }
#endif

#ifdef MAXIMUM
OF_LINE(line_max, max)
#endif
#define PLUS(a, b) ((a) + (b))
OF_LINE(line_sum, PLUS)
#undef PLUS
