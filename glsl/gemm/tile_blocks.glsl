// gemm/tiled: how blocks of 4 x 4 of the operands get into the tiles. READ_A(u, i, X, Y, Z, W) reads block u, the i-th of this invocation, as it lies in
// memory; WRITE_A turns it where it must, and puts it where it belongs; the same for b. They use i_first, j_first, next and end of main().
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

// A block: 4 rows of op(a) (columns of op(b)) from `i` on, by 4 values of p from `at` on. It is read as it lies in memory, and turned when it is
// written to the tile: a move waits for what it moves, and the arithmetic for nobody.
#if EVEN
#define WITHIN(i, last) (i)
#else
#define WITHIN(i, last) min(i, last)
#endif
#if WHOLE
#define ROW_OF(p) (p)
#else
#define ROW_OF(p) min(p, k - 1u)
#endif
void block_a(uint i, uint at, out vec4 x, out vec4 y, out vec4 z, out vec4 w)
{
#if TA
    x = load_a(at_a + ROW_OF(at) * m, i, m);
    y = load_a(at_a + ROW_OF(at + 1u) * m, i, m);
    z = load_a(at_a + ROW_OF(at + 2u) * m, i, m);
    w = load_a(at_a + ROW_OF(at + 3u) * m, i, m);
#else
    uint last = m - 1u;
    x = load_a(at_a + WITHIN(i, last) * k, at, k);
    y = load_a(at_a + WITHIN(i + 1u, last) * k, at, k);
    z = load_a(at_a + WITHIN(i + 2u, last) * k, at, k);
    w = load_a(at_a + WITHIN(i + 3u, last) * k, at, k);
#endif
}
void block_b(uint j, uint at, out vec4 x, out vec4 y, out vec4 z, out vec4 w)
{
#if !TB
    x = load_b(at_b + ROW_OF(at) * n, j, n);
    y = load_b(at_b + ROW_OF(at + 1u) * n, j, n);
    z = load_b(at_b + ROW_OF(at + 2u) * n, j, n);
    w = load_b(at_b + ROW_OF(at + 3u) * n, j, n);
#else
    uint last = n - 1u;
    x = load_b(at_b + WITHIN(j, last) * k, at, k);
    y = load_b(at_b + WITHIN(j + 1u, last) * k, at, k);
    z = load_b(at_b + WITHIN(j + 2u, last) * k, at, k);
    w = load_b(at_b + WITHIN(j + 3u, last) * k, at, k);
#endif
}

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
// Aligned operands of whole tiles: where this invocation's next block begins, in fours, and how far the next row of it, the next BK and its
// next block are.
#define FAST_A (VA && EVEN && WHOLE && N_HERE % (MR * TY) == 0 && 4 * N_HERE % BK == 0)
#define FAST_B (VB && EVEN && WHOLE && N_HERE % (NR * TX) == 0 && 4 * N_HERE % BK == 0)
#if TA
#define FIRST_PLACE_A(u) ((at_a + (next + ALONG_A(u) * 4u) * m + i_first) / 4u + ACROSS_A(u))
#define ROW_A (m / 4u)
#define TILE_OF_A (uint(BK / 4) * m)
#define FURTHER_A (uint(N_HERE / (MR * TY)) * m)
#else
#define FIRST_PLACE_A(u) ((at_a + (i_first + ACROSS_A(u) * 4u) * k + next) / 4u + ALONG_A(u))
#define ROW_A (k / 4u)
#define TILE_OF_A K4
#define FURTHER_A (uint(4 * N_HERE / BK) * k)
#endif
#if !TB
#define FIRST_PLACE_B(u) ((at_b + (next + ALONG_B(u) * 4u) * n + j_first) / 4u + ACROSS_B(u))
#define ROW_B (n / 4u)
#define TILE_OF_B (uint(BK / 4) * n)
#define FURTHER_B (uint(N_HERE / (NR * TX)) * n)
#else
#define FIRST_PLACE_B(u) ((at_b + (j_first + ACROSS_B(u) * 4u) * k + next) / 4u + ALONG_B(u))
#define ROW_B (k / 4u)
#define TILE_OF_B K4
#define FURTHER_B (uint(4 * N_HERE / BK) * k)
#endif
#if FAST_A
#define READ_A(u, i, X, Y, Z, W)                                                                                                \
    {                                                                                                                           \
        uint place = place_a + uint(i) * FURTHER_A;                                                                             \
        X = a[place];                                                                                                           \
        Y = a[place + row_a];                                                                                                   \
        Z = a[place + 2u * row_a];                                                                                              \
        W = a[place + 3u * row_a];                                                                                              \
    }
#else
#define READ_A(u, i, X, Y, Z, W) block_a(i_first + ACROSS_A(u) * 4u, next + ALONG_A(u) * 4u, X, Y, Z, W);
#endif
#if FAST_B
#define READ_B(u, i, X, Y, Z, W)                                                                                                \
    {                                                                                                                           \
        uint place = place_b + uint(i) * FURTHER_B;                                                                             \
        X = b[place];                                                                                                           \
        Y = b[place + row_b];                                                                                                   \
        Z = b[place + 2u * row_b];                                                                                              \
        W = b[place + 3u * row_b];                                                                                              \
    }
#else
#define READ_B(u, i, X, Y, Z, W) block_b(j_first + ACROSS_B(u) * 4u, next + ALONG_B(u) * 4u, X, Y, Z, W);
#endif

#if WHOLE
#define CUT(S, p) (S)
#else // zeros past the end of this split's part; by selection, since what lies there may be infinite
#define CUT(S, p) ((p) < end ? S : vec4(0.0))
#endif
#define TURNED(X, Y, Z, W, c) vec4(X.c, Y.c, Z.c, W.c)
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
#define WRITE_A(u, i, X, Y, Z, W)                                                                                               \
    {                                                                                                                           \
        uint to = to_a + ALONG_A(u) * 4u * ROWS4 + (ACROSS_A(u) ^ MIX_A(ALONG_A(u))), at = next + ALONG_A(u) * 4u;              \
        PUT_A(OF_A, to, ROWS4, at, X, Y, Z, W)                                                                                  \
    }
#define WRITE_B(u, i, X, Y, Z, W)                                                                                               \
    {                                                                                                                           \
        uint to = to_b + ALONG_B(u) * 4u * COLS4 + (ACROSS_B(u) ^ MIX_B(ALONG_B(u))), at = next + ALONG_B(u) * 4u;              \
        PUT_B(OF_B, to, COLS4, at, X, Y, Z, W)                                                                                  \
    }
