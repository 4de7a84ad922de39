// attention/blocks and attention/grad_blocks: products of 64 rows by 64 rows, and of 64 x 64 by 64 rows, from tiles in shared memory.
// An invocation has rows 4 ty to 4 ty + 3 of a group's own (and those 4 TY further, if EIGHT_ROWS), and of what they are multiplied with the others
// j = tx, tx + 16, tx + 32, tx + 48, one vec4 (and those TX further, if EIGHT_OTHERS), or the columns of vec4 tx (and TX further, if TWO_COLUMNS).
#define N_HERE (TX * TY)
#define EIGHT_ROWS (TY == 8)
#define EIGHT_OTHERS (TX == 8)
#define TWO_COLUMNS (COLS == 2 * TX)
#define D4_HERE (N_HERE / 16) // columns of vec4 of each operand in a tile: a block of 4 rows for each invocation
#if N_HERE / COLS >= 8 // of 64, whose rows are in a tile at a time
#define OTHERS_HERE 32
#define ROW_LOADS (32 * COLS / N_HERE)
#else
#define OTHERS_HERE 16
#define ROW_LOADS (16 * COLS / N_HERE)
#endif
const uint SECOND = uint(64 * D4_HERE); // where the second operand's begins: others, by columns
const uint ROWS_AT = uint(16 * OTHERS_HERE); // the same, of rows of others
#if 128 * D4_HERE > OTHERS_HERE * (16 + COLS)
#define TILE (128 * D4_HERE)
#else
#define TILE (OTHERS_HERE * (16 + COLS))
#endif

shared vec4 tile[TILE];

struct Four { vec4 x, y, z, w; }; // rows
#if EIGHT_ROWS
struct Sums { Four a, b; };
#define EACH_FOUR(DO) DO(a) DO(b)
#define ADD(S, V)                                                                                                                \
    S.a.x += a0.x * V, S.a.y += a0.y * V, S.a.z += a0.z * V, S.a.w += a0.w * V;                                                  \
    S.b.x += a1.x * V, S.b.y += a1.y * V, S.b.z += a1.z * V, S.b.w += a1.w * V;
#define CLEAR(S) S.a.x = S.a.y = S.a.z = S.a.w = S.b.x = S.b.y = S.b.z = S.b.w = vec4(0.0);
#define OWN_FOURS(P) vec4 a0 = tile[16u * (P) + ty], a1 = tile[16u * (P) + ty + uint(TY)];
#else
struct Sums { Four a; };
#define EACH_FOUR(DO) DO(a)
#define ADD(S, V) S.a.x += a0.x * V, S.a.y += a0.y * V, S.a.z += a0.z * V, S.a.w += a0.w * V;
#define CLEAR(S) S.a.x = S.a.y = S.a.z = S.a.w = vec4(0.0);
#define OWN_FOURS(P) vec4 a0 = tile[16u * (P) + ty];
#endif

#define STEP_1(P, AT, S, T)                                                                                                      \
    {                                                                                                                            \
        OWN_FOURS(P)                                                                                                             \
        vec4 b0 = tile[(AT) + tx];                                                                                               \
        ADD(S, b0)                                                                                                               \
    }
#define STEP_2(P, AT, S, T)                                                                                                      \
    {                                                                                                                            \
        OWN_FOURS(P)                                                                                                             \
        vec4 b0 = tile[(AT) + tx], b1 = tile[(AT) + tx + uint(TX)];                                                              \
        ADD(S, b0)                                                                                                               \
        ADD(T, b1)                                                                                                               \
    }
#if EIGHT_OTHERS
#define STEP_OTHERS STEP_2
#define BOTH_OTHERS(DO, S, T) DO(S, 0u) DO(T, 8u)
#else
#define STEP_OTHERS STEP_1
#define BOTH_OTHERS(DO, S, T) DO(S, 0u)
#endif
#if TWO_COLUMNS
#define STEP_COLUMNS STEP_2
#define BOTH_COLUMNS(DO, S, T) DO(S, 0u) DO(T, uint(TX))
#else
#define STEP_COLUMNS STEP_1
#define BOTH_COLUMNS(DO, S, T) DO(S, 0u)
#endif

// The products of a tile's columns, and those of the pairs in a tile with the rows of others in it.
#define ADD_OTHERS(S, T)                                                                                                         \
    for (uint p = 0u; p < uint(4 * D4_HERE); p += 4u) {                                                                          \
        STEP_OTHERS(p, SECOND + 16u * p, S, T)                                                                                   \
        STEP_OTHERS(p + 1u, SECOND + 16u * p + 16u, S, T)                                                                        \
        STEP_OTHERS(p + 2u, SECOND + 16u * p + 32u, S, T)                                                                        \
        STEP_OTHERS(p + 3u, SECOND + 16u * p + 48u, S, T)                                                                        \
    }
#define ADD_ROWS(S, T)                                                                                                           \
    for (uint p = 0u; p < uint(OTHERS_HERE); p += 4u) {                                                                          \
        STEP_COLUMNS(p, ROWS_AT + p * uint(COLS), S, T)                                                                          \
        STEP_COLUMNS(p + 1u, ROWS_AT + (p + 1u) * uint(COLS), S, T)                                                              \
        STEP_COLUMNS(p + 2u, ROWS_AT + (p + 2u) * uint(COLS), S, T)                                                              \
        STEP_COLUMNS(p + 3u, ROWS_AT + (p + 3u) * uint(COLS), S, T)                                                              \
    }

// A block of four rows by four columns, as it lies in memory, goes into the tile by columns: at vec4 `at` and 16 further, for each.
void write_block(uint at, Four f)
{
    tile[at] = vec4(f.x.x, f.y.x, f.z.x, f.w.x);
    tile[at + 16u] = vec4(f.x.y, f.y.y, f.z.y, f.w.y);
    tile[at + 32u] = vec4(f.x.z, f.y.z, f.z.z, f.w.z);
    tile[at + 48u] = vec4(f.x.w, f.y.w, f.z.w, f.w.w);
}

// Four rows `step` apart from vec4 `at` on, those past the last one that again; READ(i) reads, and columns past the last are zeros.
#define READ_FOUR(F, READ, ROW, STRIDE, BASE, FIRST, STEP, LAST, COLUMN)                                                         \
    {                                                                                                                            \
        uint c_ = min((COLUMN), d4 - 1u), r_ = (FIRST);                                                                          \
        F.x = READ((BASE) + ((ROW) + min(r_, LAST) * (STRIDE)) * d4 + c_);                                                       \
        F.y = READ((BASE) + ((ROW) + min(r_ + (STEP), LAST) * (STRIDE)) * d4 + c_);                                              \
        F.z = READ((BASE) + ((ROW) + min(r_ + 2u * (STEP), LAST) * (STRIDE)) * d4 + c_);                                         \
        F.w = READ((BASE) + ((ROW) + min(r_ + 3u * (STEP), LAST) * (STRIDE)) * d4 + c_);                                         \
        if ((COLUMN) >= d4) F.x = F.y = F.z = F.w = vec4(0.0);                                                                   \
    }

// What an invocation brings of OTHERS_HERE whole rows from FIRST on; zeros behind the last, as 0 times what was read in their place might be NaN.
#define READ_ROW(X, READ, ROW, STRIDE, BASE, R, N)                                                                               \
    X = READ((BASE) + ((ROW) + min(R, (N)-1u) * (STRIDE)) * d4 + c_);                                                            \
    if (t % uint(COLS) >= d4 || (R) >= (N)) X = vec4(0.0);
#define READ_ROWS_OF(F, READ, ROW, STRIDE, BASE, FIRST, N)                                                                       \
    {                                                                                                                            \
        uint c_ = min(t % uint(COLS), d4 - 1u), r_ = (FIRST) + t / uint(COLS);                                                   \
        READ_ROW(F.x, READ, ROW, STRIDE, BASE, r_, N)                                                                            \
        READ_ROW(F.y, READ, ROW, STRIDE, BASE, r_ + uint(N_HERE / COLS), N)                                                      \
        READ_ROW(F.z, READ, ROW, STRIDE, BASE, r_ + uint(2 * N_HERE / COLS), N)                                                  \
        READ_ROW(F.w, READ, ROW, STRIDE, BASE, r_ + uint(3 * N_HERE / COLS), N)                                                  \
    }

// Pairs of an invocation's rows with others `h` OTHERS_HERE to (h + 1) OTHERS_HERE - 1 of 64, into the tile: by others.
#define PUT(AT, F, C) tile[AT] = vec4(F.x.C, F.y.C, F.z.C, F.w.C);
#define PUT_TWO(F, AT)                                                                                                           \
    if (h == 0u) {                                                                                                               \
        PUT(AT, F, x)                                                                                                            \
        PUT((AT) + 256u, F, y)                                                                                                   \
    } else {                                                                                                                     \
        PUT(AT, F, z)                                                                                                            \
        PUT((AT) + 256u, F, w)                                                                                                   \
    }
#define PUT_ONE(F, AT)                                                                                                           \
    if (h == 0u)                                                                                                                 \
        PUT(AT, F, x)                                                                                                            \
    else if (h == 1u)                                                                                                            \
        PUT(AT, F, y)                                                                                                            \
    else if (h == 2u)                                                                                                            \
        PUT(AT, F, z)                                                                                                            \
    else                                                                                                                         \
        PUT(AT, F, w)
#if OTHERS_HERE == 32
#define PUT_FOUR PUT_TWO
#else
#define PUT_FOUR PUT_ONE
#endif
#if EIGHT_ROWS
#define PUT_PAIRS(S, J)                                                                                                          \
    PUT_FOUR(S.a, 16u * (tx + (J)) + ty)                                                                                         \
    PUT_FOUR(S.b, 16u * (tx + (J)) + ty + uint(TY))
#else
#define PUT_PAIRS(S, J) PUT_FOUR(S.a, 16u * (tx + (J)) + ty)
#endif
#define WRITE_ROWS(F)                                                                                                            \
    tile[ROWS_AT + t] = F.x;                                                                                                     \
    if (ROW_LOADS > 1) tile[ROWS_AT + t + uint(N_HERE)] = F.y;                                                                   \
    if (ROW_LOADS > 2) tile[ROWS_AT + t + uint(2 * N_HERE)] = F.z;                                                               \
    if (ROW_LOADS > 2) tile[ROWS_AT + t + uint(3 * N_HERE)] = F.w;
