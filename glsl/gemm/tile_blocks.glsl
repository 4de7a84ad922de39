// gemm/tiled: how blocks of 4 x 4 of the operands get into the tiles. READ_A(u, i, F) reads block u, the i-th of this invocation, as it lies in
// memory; WRITE_A(u, F) turns it where it must, and puts it where it belongs; the same for b. They use i_first, j_first, begin, next and end of main().
//
// The last tile ends where the sum does, and the first begins wherever that takes it: perhaps before p = 0, or where another split is at work. Only what is
// read in front of the loop over tiles needs to be cut.
// Where an operand is stored along p, neighbours take neighbouring fours of p of a row, so that they read whole lines; the fours of the tile
// are then exchanged within eights (fewer, where an invocation's are nearer to each other), by an amount that depends on p, so that the eight
// neighbours that write at once meet different banks.
#define MIX(p4, n4) ((p4) * max(8u / K4, 1u) & 7u & uint(n4 - 1))
#if TA
#define MIX_A(p4) 0u
#else
#define MIX_A(p4) MIX(p4, TY)
#endif
#if TB
#define MIX_B(p4) MIX(p4, TX)
#else
#define MIX_B(p4) 0u
#endif

// A block: 4 rows of op(a) (columns of op(b)) by 4 values of p, as it lies in memory: its rows, or the fours in which they begin and the next ones. It is
// turned when it is written to the tile: a move waits for what it moves, and the arithmetic for nobody.
struct Block { vec4 x, y, z, w, x2, y2, z2, w2; };

// How far from a four row r of a block begins, which is the same for all blocks of a matrix.
#if !VA
#define OFF_A(r) 0
#elif TA
#define OFF_A(r) ((AT_K + r) * AT_M & 3)
#else
#define OFF_A(r) ((r + 1) * AT_K & 3)
#endif
#if !VB
#define OFF_B(r) 0
#elif TB
#define OFF_B(r) ((r + 1) * AT_K & 3)
#else
#define OFF_B(r) ((AT_K + r) * AT_N & 3)
#endif
vec4 joined(vec4 s, vec4 t, int off)
{
    return off == 0 ? s : off == 1 ? vec4(s.yzw, t.x) : off == 2 ? vec4(s.zw, t.xy) : vec4(s.w, t.xyz);
}

#if !VA
Block block_a(uint i, uint at)
{
    Block f;
#if TA
    f.x = load_a(at_a + min(at, k - 1u) * m, i, m);
    f.y = load_a(at_a + min(at + 1u, k - 1u) * m, i, m);
    f.z = load_a(at_a + min(at + 2u, k - 1u) * m, i, m);
    f.w = load_a(at_a + min(at + 3u, k - 1u) * m, i, m);
#else
    f.x = load_a(at_a + min(i, m - 1u) * k, at, k);
    f.y = load_a(at_a + min(i + 1u, m - 1u) * k, at, k);
    f.z = load_a(at_a + min(i + 2u, m - 1u) * k, at, k);
    f.w = load_a(at_a + min(i + 3u, m - 1u) * k, at, k);
#endif
    return f;
}
#endif
#if !VB
Block block_b(uint j, uint at)
{
    Block f;
#if !TB
    f.x = load_b(at_b + min(at, k - 1u) * n, j, n);
    f.y = load_b(at_b + min(at + 1u, k - 1u) * n, j, n);
    f.z = load_b(at_b + min(at + 2u, k - 1u) * n, j, n);
    f.w = load_b(at_b + min(at + 3u, k - 1u) * n, j, n);
#else
    f.x = load_b(at_b + min(j, n - 1u) * k, at, k);
    f.y = load_b(at_b + min(j + 1u, n - 1u) * k, at, k);
    f.z = load_b(at_b + min(j + 2u, n - 1u) * k, at, k);
    f.w = load_b(at_b + min(j + 3u, n - 1u) * k, at, k);
#endif
    return f;
}
#endif

// Which block of the tile invocation (or invocation + N_HERE) `u` moves: its fours of rows or columns, and of p.
#if TA
#define ACROSS_A(u) ((u) % ROWS4)
#define ALONG_A(u) ((u) / ROWS4)
#else
#define ACROSS_A(u) ((u) / K4)
#define ALONG_A(u) ((u) % K4)
#endif
#if TB
#define ACROSS_B(u) ((u) / K4)
#define ALONG_B(u) ((u) % K4)
#else
#define ACROSS_B(u) ((u) % COLS4)
#define ALONG_B(u) ((u) / COLS4)
#endif
// Where this invocation's first block begins, in elements, and how long its rows are; in fours, how far the next tile and its next block are. Signed unless
// WHOLE: a tile that begins before p = 0 may begin before the matrix.
#if WHOLE
#define INDEX uint
#define PLACES uvec4
#else
#define INDEX int
#define PLACES ivec4
#endif
#if TA
#define FIRST_OF_A(u) INDEX(at_a + (next + ALONG_A(u) * 4u) * m + i_first + ACROSS_A(u) * 4u)
#define WIDTH_A INDEX(m)
#define TILE_OF_A INDEX(uint(BK / 4) * m)
#define FURTHER_A INDEX(uint(N_HERE / (MR * TY)) * m)
#else
#define FIRST_OF_A(u) INDEX(at_a + (i_first + ACROSS_A(u) * 4u) * k + next + ALONG_A(u) * 4u)
#define WIDTH_A INDEX(k)
#define TILE_OF_A INDEX(K4)
#define FURTHER_A INDEX(uint(4 * N_HERE / BK) * k)
#endif
#if !TB
#define FIRST_OF_B(u) INDEX(at_b + (next + ALONG_B(u) * 4u) * n + j_first + ACROSS_B(u) * 4u)
#define WIDTH_B INDEX(n)
#define TILE_OF_B INDEX(uint(BK / 4) * n)
#define FURTHER_B INDEX(uint(N_HERE / (NR * TX)) * n)
#else
#define FIRST_OF_B(u) INDEX(at_b + (j_first + ACROSS_B(u) * 4u) * k + next + ALONG_B(u) * 4u)
#define WIDTH_B INDEX(k)
#define TILE_OF_B INDEX(K4)
#define FURTHER_B INDEX(uint(4 * N_HERE / BK) * k)
#endif
#if (VA && (N_HERE % (MR * TY) || 4 * N_HERE % BK)) || (VB && (N_HERE % (NR * TX) || 4 * N_HERE % BK))
#error the blocks of an invocation are whole tiles of rows or of p apart
#endif
// Rows of a multiple of 4 are one place and a step apart; others have a place each, of which the steps are no whole fours.
#define ALIGNED_A (VA && ((TA && AT_M == 0) || (!TA && AT_K == 0)))
#define ALIGNED_B (VB && ((!TB && AT_N == 0) || (TB && AT_K == 0)))

// IN(place, last): where a four is that may lie outside of its operand, whose last is `last`; main() says what it takes.
#if ALIGNED_A
#define READ_A(u, i, F)                                                                                                         \
    {                                                                                                                           \
        INDEX place = place_a + INDEX(i) * FURTHER_A;                                                                           \
        F.x = a[IN(place, last_a)];                                                                                             \
        F.y = a[IN(place + row_a, last_a)];                                                                                     \
        F.z = a[IN(place + INDEX(2) * row_a, last_a)];                                                                          \
        F.w = a[IN(place + INDEX(3) * row_a, last_a)];                                                                          \
    }
#elif VA
#define READ_A(u, i, F)                                                                                                         \
    {                                                                                                                           \
        PLACES place = place_a + INDEX(i) * FURTHER_A;                                                                          \
        F.x = a[IN(place.x, last_a)];                                                                                           \
        F.y = a[IN(place.y, last_a)];                                                                                           \
        F.z = a[IN(place.z, last_a)];                                                                                           \
        F.w = a[IN(place.w, last_a)];                                                                                           \
        if (OFF_A(0) != 0) F.x2 = a[IN(place.x + INDEX(1), last_a)];                                                            \
        if (OFF_A(1) != 0) F.y2 = a[IN(place.y + INDEX(1), last_a)];                                                            \
        if (OFF_A(2) != 0) F.z2 = a[IN(place.z + INDEX(1), last_a)];                                                            \
        if (OFF_A(3) != 0) F.w2 = a[IN(place.w + INDEX(1), last_a)];                                                            \
    }
#else
#define READ_A(u, i, F) F = block_a(i_first + ACROSS_A(u) * 4u, next + ALONG_A(u) * 4u);
#endif
#if ALIGNED_B
#define READ_B(u, i, F)                                                                                                         \
    {                                                                                                                           \
        INDEX place = place_b + INDEX(i) * FURTHER_B;                                                                           \
        F.x = b[IN(place, last_b)];                                                                                             \
        F.y = b[IN(place + row_b, last_b)];                                                                                     \
        F.z = b[IN(place + INDEX(2) * row_b, last_b)];                                                                          \
        F.w = b[IN(place + INDEX(3) * row_b, last_b)];                                                                          \
    }
#elif VB
#define READ_B(u, i, F)                                                                                                         \
    {                                                                                                                           \
        PLACES place = place_b + INDEX(i) * FURTHER_B;                                                                          \
        F.x = b[IN(place.x, last_b)];                                                                                           \
        F.y = b[IN(place.y, last_b)];                                                                                           \
        F.z = b[IN(place.z, last_b)];                                                                                           \
        F.w = b[IN(place.w, last_b)];                                                                                           \
        if (OFF_B(0) != 0) F.x2 = b[IN(place.x + INDEX(1), last_b)];                                                            \
        if (OFF_B(1) != 0) F.y2 = b[IN(place.y + INDEX(1), last_b)];                                                            \
        if (OFF_B(2) != 0) F.z2 = b[IN(place.z + INDEX(1), last_b)];                                                            \
        if (OFF_B(3) != 0) F.w2 = b[IN(place.w + INDEX(1), last_b)];                                                            \
    }
#else
#define READ_B(u, i, F) F = block_b(j_first + ACROSS_B(u) * 4u, next + ALONG_B(u) * 4u);
#endif

// CUT(s, p): s, or zeros if p is none of this split's, by selection, since what lies there may be infinite; main() says which.
#define TURNED(X, Y, Z, W, e) vec4(X.e, Y.e, Z.e, W.e)
#define PUT(TILE, to, ROWS, at, X, Y, Z, W)                                                                                     \
    TILE(to) = CUT(X, at);                                                                                                      \
    TILE((to) + ROWS) = CUT(Y, at + 1u);                                                                                        \
    TILE((to) + 2u * ROWS) = CUT(Z, at + 2u);                                                                                   \
    TILE((to) + 3u * ROWS) = CUT(W, at + 3u);
#define PUT_TURNED(TILE, to, ROWS, at, X, Y, Z, W)                                                                              \
    PUT(TILE, to, ROWS, at, TURNED(X, Y, Z, W, x), TURNED(X, Y, Z, W, y), TURNED(X, Y, Z, W, z), TURNED(X, Y, Z, W, w))
#if TA
#define PUT_A PUT
#else
#define PUT_A PUT_TURNED
#endif
#if TB
#define PUT_B PUT_TURNED
#else
#define PUT_B PUT
#endif
#define WRITE_A(u, F)                                                                                                           \
    {                                                                                                                           \
        uint to = to_a + ALONG_A(u) * 4u * ROWS4 + (ACROSS_A(u) ^ MIX_A(ALONG_A(u))), at = next + ALONG_A(u) * 4u;              \
        vec4 x = joined(F.x, F.x2, OFF_A(0)), y = joined(F.y, F.y2, OFF_A(1));                                                  \
        vec4 z = joined(F.z, F.z2, OFF_A(2)), w = joined(F.w, F.w2, OFF_A(3));                                                  \
        PUT_A(OF_A, to, ROWS4, at, x, y, z, w)                                                                                  \
    }
#define WRITE_B(u, F)                                                                                                           \
    {                                                                                                                           \
        uint to = to_b + ALONG_B(u) * 4u * COLS4 + (ACROSS_B(u) ^ MIX_B(ALONG_B(u))), at = next + ALONG_B(u) * 4u;              \
        vec4 x = joined(F.x, F.x2, OFF_B(0)), y = joined(F.y, F.y2, OFF_B(1));                                                  \
        vec4 z = joined(F.z, F.z2, OFF_B(2)), w = joined(F.w, F.w2, OFF_B(3));                                                  \
        PUT_B(OF_B, to, COLS4, at, x, y, z, w)                                                                                  \
    }
