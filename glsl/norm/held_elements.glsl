// In main(): the line and the chunk of it that this group has, and where the HELD elements of an invocation lie, of which those are any that are LIVE.
    uint line = gl_WorkGroupID.x + group_base.x;
    uint t = gl_LocalInvocationIndex;
#if PART == 0
    uint chunk = 0u;
#else
    uint chunk = gl_WorkGroupID.z + group_base.z;
#endif
    uint first = chunk * chunk_n + t;
    uint end = min(n, chunk * chunk_n + chunk_n);
    uint outer = line / inner_lines;
    uint s = line - outer * inner_lines;

    uint at[HELD];
    uint b = first % width;
    uint next = outer * slab + s * width + first / width * row + b;
    for (int i = 0; i < HELD; i++) {
        at[i] = next;
        b += step_b;
        next += step_at;
        if (b >= width) {
            b -= width;
            next += row - width; // wraps as intended
        }
    }
#if FULL
#define LIVE(i) true
#else
#define LIVE(i) (first + uint(i) * uint(WG) < end)
#endif
