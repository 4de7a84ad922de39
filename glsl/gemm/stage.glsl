// gemm/stage: one product of gemm/chain, whose number stands in place of @
//
// An invocation adds up ROWS x 4 elements over its share of k, one of SLICES_@, and then the slices are added, TURN rows at a time
// Order     slice s adds up blocks s, s + SLICES, ... of four values of p, each in order; then the slices are added in order: fixed by k, n and SIZE
// Product   t[i][j] = sum_p a(i, p) opb(p, j) + bias[j], K_@ values of p and N_@ of j, multiples of 4. K_PART_@ below K_@: a and b are pieces one behind
//           another, [m, K_PART] and [K_PART, N] each (TB: [N, K_PART]). N_PART_@ below N_@: b and the result are, [K, N_PART] (TB: [N_PART, K]) and
//           [m, N_PART] each; the bias then is that of every piece
// Norms     NORM_@ 0: y = t.    1: t, behind its tail, is normalised along its row: y = (t - mean) rstd weight + shift; rstd = 1 / sqrt(variance + eps).
//           2: t is the gradient of such a y, with respect to x, whose statistics are given: y = rstd (t' - mean(t') - h mean(t' h)), t' = t weight,
//           h = (x - mean) rstd; WRITES_AGAIN_@: that y is written once more, h weight + shift.    KIND_@ 0: mean and variance; 1: mean 0, and the mean square in place of the variance
//           TAIL_LAST_@: the tail is that of y, in place of that of t
// Functions a_1(at); b_@(at); bias_@(four), weight_@, shift_@; x_@(at), stats_@(row); write_t_@, write_y_@, write_again_@ (at, value), write_stats_@ (row, value): of those
//           that are there; Ahead_@ ahead_@(at) and vec4 tail_@(t, ahead, at): what the tail reads, and the tail
#define FOURS (N_@ / 4)
#define BLOCKS (K_@ / 4)
#define STEPS ((BLOCKS + SLICES_@ - 1) / SLICES_@)
#define FOURS_OF_PART (N_PART_@ / 4)
#define BLOCKS_OF_PART (K_PART_@ / 4)

Block block_@(uint four, uint q)
{
#if TB_@ // a column lies along p
    uint at = q / uint(BLOCKS_OF_PART) * uint(N_@ * BLOCKS_OF_PART) + four * uint(4 * BLOCKS_OF_PART) + q % uint(BLOCKS_OF_PART);
    vec4 c0 = b_@(at), c1 = b_@(at + uint(BLOCKS_OF_PART)), c2 = b_@(at + uint(2 * BLOCKS_OF_PART)),
         c3 = b_@(at + uint(3 * BLOCKS_OF_PART));
    return Block(vec4(c0.x, c1.x, c2.x, c3.x), vec4(c0.y, c1.y, c2.y, c3.y), vec4(c0.z, c1.z, c2.z, c3.z),
                 vec4(c0.w, c1.w, c2.w, c3.w));
#else
    uint at = (four / uint(FOURS_OF_PART) * uint(K_@) + 4u * q) * uint(FOURS_OF_PART) + four % uint(FOURS_OF_PART);
    return Block(b_@(at), b_@(at + uint(FOURS_OF_PART)), b_@(at + uint(2 * FOURS_OF_PART)),
                 b_@(at + uint(3 * FOURS_OF_PART)));
#endif
}

// The columns, and the slice, of an invocation; slices beyond the last are those of invocations that are left over.
uint four_@()
{
    return HERE / uint(NEAR_@) % uint(FOURS);
}
uint slice_@()
{
    return HERE % uint(NEAR_@) + HERE / uint(NEAR_@ * FOURS) * uint(NEAR_@);
}

// The first block of b is on its way while something else is done.
void begin_@()
{
    next = block_@(four_@(), min(slice_@(), uint(BLOCKS - 1)));
}

#if @ == 1
void bring_@(uint first)
{
    for (uint e = HERE; e < uint(ROWS * BLOCKS); e += uint(SIZE)) {
        uint i = min(first + e / uint(BLOCKS), m - 1u), q = e % uint(BLOCKS);
        rows[e] = a_@((q / uint(BLOCKS_OF_PART) * m + i) * uint(BLOCKS_OF_PART) + q % uint(BLOCKS_OF_PART));
    }
    SHARED
}
#endif

void multiply_@()
{
    uint four = four_@(), slice = slice_@();
#define CLEAR(r, S) S = vec4(0.0);
    EACH(CLEAR)
#define ADD(r, S)                                                                                                                \
    {                                                                                                                            \
        vec4 v = rows[uint(r * BLOCKS) + q];                                                                                     \
        S += v.x * of_b.x;                                                                                                       \
        S += v.y * of_b.y;                                                                                                       \
        S += v.z * of_b.z;                                                                                                       \
        S += v.w * of_b.w;                                                                                                       \
    }
#define STEP(t)                                                                                                                  \
    {                                                                                                                            \
        Block of_b = next;                                                                                                       \
        uint q = slice + uint(t * SLICES_@);                                                                                     \
        if (t + 1 < STEPS) next = block_@(four, min(q + uint(SLICES_@), uint(BLOCKS - 1)));                                      \
        if ((t + 1) * SLICES_@ <= BLOCKS || q < uint(BLOCKS)) {                                                                  \
            q = min(q, uint(BLOCKS - 1));                                                                                        \
            EACH(ADD)                                                                                                            \
        }                                                                                                                        \
    }
    WALK_@
#undef CLEAR
#undef ADD
#undef STEP
}

void end_@(uint first)
{
    // The elements that this invocation has in the end, if it has any: in each of TURNS turns four of one row.
    uint line = HERE / uint(FOURS), four = HERE % uint(FOURS);
    bool has = line < uint(TURN);
    uint row[TURNS], at[TURNS];
    vec4 t[TURNS], of_x[TURNS];
    vec2 statistics[TURNS];
    Ahead_@ ahead[TURNS];
    vec4 weights = vec4(1.0), shifts = vec4(0.0), biases = vec4(0.0);
    // What the end reads is read in the beginning: it is a chain of waits else.
#if BIAS_@
    biases = bias_@(four % uint(FOURS_OF_PART));
#endif
#if WEIGHT_@
    weights = weight_@(four);
#endif
#if SHIFT_@
    shifts = shift_@(four);
#endif
    for (int u = 0; u < TURNS; u++) {
        row[u] = min(line, uint(TURN - 1)) + uint(u * TURN);
        uint i = min(first + row[u], m - 1u);
        at[u] = (four / uint(FOURS_OF_PART) * m + i) * uint(FOURS_OF_PART) + four % uint(FOURS_OF_PART);
        ahead[u] = ahead_@(at[u]);
#if NORM_@ == 2
        of_x[u] = x_@(at[u]);
        statistics[u] = stats_@(i);
#endif
    }

    // TURN rows at a time: all slices share theirs, and who has elements of these rows adds them up.
    uint slice = slice_@(), column = four_@();
    for (int u = 0; u < TURNS; u++) {
#define GIVE(r, S)                                                                                                               \
    if (r / TURN == u) held[(uint(r % TURN) * uint(FOURS) + column) * uint(SLICES_@ + 1) + slice] = S;
        if (slice < uint(SLICES_@)) {
            EACH(GIVE)
        }
#undef GIVE
        SHARED
        t[u] = vec4(0.0);
        if (has)
            for (uint s = 0u; s < uint(SLICES_@); s++) t[u] += held[(line * uint(FOURS) + four) * uint(SLICES_@ + 1) + s];
        t[u] += biases;
#if !TAIL_LAST_@
        t[u] = tail_@(t[u], ahead[u], at[u], has && row[u] < uint(ROWS) && first + row[u] < m);
#endif
        SHARED
    }

#if NORM_@
    // What the row is like: from fours of it, then LANES of it, then all.
    for (int u = 0; u < TURNS; u++) {
#if NORM_@ == 1
#if KIND_@ == 0
        float mean4 = ((t[u].x + t[u].y) + (t[u].z + t[u].w)) * 0.25;
#else
        float mean4 = 0.0;
#endif
        vec4 d = t[u] - mean4;
        vec2 of_four = vec2(mean4, dot(d, d));
#else
        vec4 h = (of_x[u] - statistics[u].x) * inversesqrt(statistics[u].y + EPS_@);
        vec4 weighted = t[u] * weights;
        vec2 of_four = vec2(dot(weighted, h), (weighted.x + weighted.y) + (weighted.z + weighted.w));
#endif
        if (has && row[u] < uint(ROWS)) parts[row[u] * uint(FOURS) + four] = of_four;
    }
    SHARED
#define OF_LANE(l) float((uint(FOURS + LANES - 1) - uint(l)) / uint(LANES)) // fours
    uint lane = HERE % uint(LANES), of_row = HERE / uint(LANES);
    if (of_row < uint(ROWS)) {
        vec2 all = vec2(0.0);
        for (int e = 0; e < (FOURS + LANES - 1) / LANES; e++) {
            uint place = lane + uint(e * LANES);
            if (place < uint(FOURS)) all += parts[of_row * uint(FOURS) + place];
        }
#if NORM_@ == 1 && KIND_@ == 0
        all.x /= max(OF_LANE(lane), 1.0);
        for (int e = 0; e < (FOURS + LANES - 1) / LANES; e++) {
            uint place = lane + uint(e * LANES);
            float off = place < uint(FOURS) ? parts[of_row * uint(FOURS) + place].x - all.x : 0.0;
            all.y += 4.0 * off * off;
        }
#endif
        found[HERE] = all;
    }
    SHARED
#endif
    for (int u = 0; u < TURNS; u++) {
        bool mine = has && row[u] < uint(ROWS) && first + row[u] < m;
        vec4 result = t[u];
#if NORM_@
        vec2 all = vec2(0.0);
        uint from = min(row[u], uint(ROWS - 1)) * uint(LANES);
#if NORM_@ == 1 && KIND_@ == 0
        for (int l = 0; l < LANES; l++) all.x += found[from + uint(l)].x * OF_LANE(l);
        all.x /= float(FOURS);
        for (int l = 0; l < LANES; l++) {
            vec2 one = found[from + uint(l)];
            all.y += one.y + 4.0 * OF_LANE(l) * (one.x - all.x) * (one.x - all.x);
        }
#else
        for (int l = 0; l < LANES; l++) all += found[from + uint(l)];
#endif
        all /= vec2(NORM_@ == 2 ? float(N_@) : 1.0, float(N_@));
#if NORM_@ == 1
#if WRITES_STATS_@
        if (mine && four == 0u) write_stats_@(first + row[u], all);
#endif
        result = (t[u] - all.x) * inversesqrt(all.y + EPS_@) * weights + shifts;
#else
        vec4 h = (of_x[u] - statistics[u].x) * inversesqrt(statistics[u].y + EPS_@);
#if KIND_@ == 1
        all.y = 0.0;
#endif
        result = inversesqrt(statistics[u].y + EPS_@) * (t[u] * weights - all.y - h * all.x);
#if WRITES_AGAIN_@
        if (mine) write_again_@(at[u], h * weights + shifts);
#endif
#endif
#if TAIL_LAST_@
        result = tail_@(result, ahead[u], at[u], mine);
#endif
#if WRITES_T_@
        if (mine) write_t_@(at[u], t[u]);
#endif
#undef OF_LANE
#endif
#if WRITES_Y_@
        if (mine) write_y_@(at[u], result);
#endif
#if STAGES > @
        if (has && row[u] < uint(ROWS)) rows[row[u] * uint(FOURS) + four] = result;
#endif
    }
#if STAGES > @
#if SHARES
    groupMemoryBarrier();
#endif
    SHARED
#endif
}
#undef FOURS
#undef BLOCKS
#undef STEPS
#undef FOURS_OF_PART
#undef BLOCKS_OF_PART
