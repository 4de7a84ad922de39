// In main(): output `o`, of which this is lane `lane` in column `column`, its terms r = first + lane, ... below `end`, and where, `at`, the first of them lies.
    uvec3 group = gl_WorkGroupID + group_base;
    uint me = gl_LocalInvocationID.x;
#if ROWS == 1 // neighbours read neighbouring addresses: along the terms, or along the outputs
    uint lane = me % uint(TY);
    uint column = me / uint(TY);
#else
    uint lane = me / uint(TX);
    uint column = me % uint(TX);
#endif
    uint o = (group.y * groups_x + group.x) * uint(TX) + column;
    uint at = 0u;
#if KEPT > 0
    uint left = min(o, n_out - 1u); // past the end: the last output again, not stored
    for (int d = KEPT - 1; d > 0; d--) {
        uint above = left / kept[d].x;
        at += (left - above * kept[d].x) * kept[d].y;
        left = above;
    }
    at += left * kept[0].y;
#endif

    uint first = group.z * chunk;
    uint end = min(first + chunk, n_terms);
    uint r = first + lane;
    uint start = min(r, end - 1u);
#if REDUCED > 1
    uint digit[REDUCED];
    for (int d = REDUCED - 1; d > 0; d--) {
        uint above = start / reduced[d].x;
        digit[d] = start - above * reduced[d].x;
        at += digit[d] * reduced[d].y;
        start = above;
    }
    digit[0] = start;
#endif
    at += start * reduced[0].y;
