// The end of gemm/tiled's main(): the slices are added where there are several, and the results stored, or what they update updated.
#if SLICES > 1
    // Four rows (of NR blocks of columns) of each invocation at a time: all slices share theirs, then each invocation adds up some of them in order.
#define EACH uint(4 * NR * TX * TY)
#define GIVE(d, N, S) tiles[slice * EACH + (ty * 4u + d) * COLS4 + uint(N * TX) + tx] = S;
#if NR == 1
#define ALL(S0, S1, S2, S3, T0, T1, T2, T3) GIVE(0u, 0, S0) GIVE(1u, 0, S1) GIVE(2u, 0, S2) GIVE(3u, 0, S3)
#else
#define ALL(S0, S1, S2, S3, T0, T1, T2, T3)                                                                                      \
    GIVE(0u, 0, S0) GIVE(1u, 0, S1) GIVE(2u, 0, S2) GIVE(3u, 0, S3) GIVE(0u, 1, T0) GIVE(1u, 1, T1) GIVE(2u, 1, T2) GIVE(3u, 1, T3)
#endif
#define JOIN(R, S0, S1, S2, S3, T0, T1, T2, T3)                                                                                  \
    memoryBarrierShared();                                                                                                       \
    barrier();                                                                                                                   \
    ALL(S0, S1, S2, S3, T0, T1, T2, T3)                                                                                          \
    memoryBarrierShared();                                                                                                       \
    barrier();                                                                                                                   \
    for (uint e = here; e < EACH; e += uint(N_HERE)) {                                                                           \
        vec4 sum = tiles[e];                                                                                                     \
        for (uint s = 1u; s < uint(SLICES); s++) sum += tiles[s * EACH + e];                                                     \
        store4(i_first + uint(R * 4 * TY) + e / COLS4, j_first + e % COLS4 * 4u, sum);                                           \
    }
    JOIN(0, s0, s1, s2, s3, t0, t1, t2, t3)
#if MR >= 2
    JOIN(1, s4, s5, s6, s7, t4, t5, t6, t7)
#endif
#if MR == 4
    JOIN(2, s8, s9, s10, s11, t8, t9, t10, t11)
    JOIN(3, s12, s13, s14, s15, t12, t13, t14, t15)
#endif
    LEAVE
    return;
#endif

#define ROW_AT(r, d) (row + uint(r * 4 * TY + d))
#if EARLY
    if (row < m && column < n) {
        uint first = ((group.z * m + row) * n + column) >> 2;
        update_fetched(first, s0, kept_0);
        if (row + 1u < m) update_fetched(first + (n >> 2), s1, kept_1);
        if (row + 2u < m) update_fetched(first + (n >> 1), s2, kept_2);
        if (row + 3u < m) update_fetched(first + 3u * (n >> 2), s3, kept_3);
    }
#elif UPDATE
#define COLUMN_AT(r) (column + uint(r * 4 * TX))
    store_block(ROW_AT(0, 0), column, s0, s1, s2, s3);
#if NR >= 2
    store_block(ROW_AT(0, 0), COLUMN_AT(1), t0, t1, t2, t3);
#endif
#if MR >= 2
    store_block(ROW_AT(1, 0), column, s4, s5, s6, s7);
#if NR >= 2
    store_block(ROW_AT(1, 0), COLUMN_AT(1), t4, t5, t6, t7);
#endif
#endif
#if MR == 4
    store_block(ROW_AT(2, 0), column, s8, s9, s10, s11);
    store_block(ROW_AT(3, 0), column, s12, s13, s14, s15);
#if NR >= 2
    store_block(ROW_AT(2, 0), COLUMN_AT(1), t8, t9, t10, t11);
    store_block(ROW_AT(3, 0), COLUMN_AT(1), t12, t13, t14, t15);
#endif
#endif
#else
    SAVE(ROW_AT(0, 0), s0, t0)
    SAVE(ROW_AT(0, 1), s1, t1)
    SAVE(ROW_AT(0, 2), s2, t2)
    SAVE(ROW_AT(0, 3), s3, t3)
#if MR >= 2
    SAVE(ROW_AT(1, 0), s4, t4)
    SAVE(ROW_AT(1, 1), s5, t5)
    SAVE(ROW_AT(1, 2), s6, t6)
    SAVE(ROW_AT(1, 3), s7, t7)
#endif
#if MR == 4
    SAVE(ROW_AT(2, 0), s8, t8)
    SAVE(ROW_AT(2, 1), s9, t9)
    SAVE(ROW_AT(2, 2), s10, t10)
    SAVE(ROW_AT(2, 3), s11, t11)
    SAVE(ROW_AT(3, 0), s12, t12)
    SAVE(ROW_AT(3, 1), s13, t13)
    SAVE(ROW_AT(3, 2), s14, t14)
    SAVE(ROW_AT(3, 3), s15, t15)
#endif
#endif
    LEAVE
