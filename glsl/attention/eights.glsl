// attention/eights and attention/grad_eights: products of eight rows of an invocation's own with eight others, and of those pairs with the others' rows.
// WHOLE: the others are a multiple of eight.
struct Eight { vec4 r0, r1, r2, r3, r4, r5, r6, r7; };

// Where eight rows from `first` on begin, those past the last one moved onto it.
#define PLACES(I0, I1, BASE, ROW, FIRST, LAST, STRIDE)                                                                           \
    uvec4 I0 = (BASE) + ((ROW) + min((FIRST) + uvec4(0u, 1u, 2u, 3u), uvec4(LAST)) * (STRIDE)) * uint(D4),                      \
          I1 = (BASE) + ((ROW) + min((FIRST) + uvec4(4u, 5u, 6u, 7u), uvec4(LAST)) * (STRIDE)) * uint(D4);

// S: each own row with others 0 to 3, T: with others 4 to 7.
#define PAIR_ROW(R, A)                                                                                                           \
    S_.R += vec4(dot(A, b0), dot(A, b1), dot(A, b2), dot(A, b3));                                                                \
    T_.R += vec4(dot(A, b4), dot(A, b5), dot(A, b6), dot(A, b7));
#define PRODUCTS(S, T, OWN, I0, I1, OTHER, J0, J1)                                                                               \
    {                                                                                                                            \
        Eight S_, T_;                                                                                                            \
        S_.r0 = S_.r1 = S_.r2 = S_.r3 = S_.r4 = S_.r5 = S_.r6 = S_.r7 = vec4(0.0);                                               \
        T_.r0 = T_.r1 = T_.r2 = T_.r3 = T_.r4 = T_.r5 = T_.r6 = T_.r7 = vec4(0.0);                                               \
        for (uint c = 0u; c < d4; c++) {                                                                                         \
            vec4 b0 = OTHER(J0.x + c), b1 = OTHER(J0.y + c), b2 = OTHER(J0.z + c), b3 = OTHER(J0.w + c);                         \
            vec4 b4 = OTHER(J1.x + c), b5 = OTHER(J1.y + c), b6 = OTHER(J1.z + c), b7 = OTHER(J1.w + c);                         \
            vec4 a0 = OWN(I0.x + c), a1 = OWN(I0.y + c), a2 = OWN(I0.z + c), a3 = OWN(I0.w + c);                                 \
            vec4 a4 = OWN(I1.x + c), a5 = OWN(I1.y + c), a6 = OWN(I1.z + c), a7 = OWN(I1.w + c);                                 \
            PAIR_ROW(r0, a0)                                                                                                     \
            PAIR_ROW(r1, a1)                                                                                                     \
            PAIR_ROW(r2, a2)                                                                                                     \
            PAIR_ROW(r3, a3)                                                                                                     \
            PAIR_ROW(r4, a4)                                                                                                     \
            PAIR_ROW(r5, a5)                                                                                                     \
            PAIR_ROW(r6, a6)                                                                                                     \
            PAIR_ROW(r7, a7)                                                                                                     \
        }                                                                                                                        \
        S = S_;                                                                                                                  \
        T = T_;                                                                                                                  \
    }

// Sums of eight rows: D4 columns each, in registers or where a CPU keeps those that it has none for. Indices are constants.
#define EACH_COLUMN(DO)                                                                                                          \
    DO(0) MORE_1(DO) MORE_2(DO) MORE_3(DO) MORE_4(DO) MORE_5(DO) MORE_6(DO) MORE_7(DO)                                           \
    MORE_8(DO) MORE_9(DO) MORE_10(DO) MORE_11(DO) MORE_12(DO) MORE_13(DO) MORE_14(DO) MORE_15(DO)
#if D4 > 1
#define MORE_1(DO) DO(1)
#else
#define MORE_1(DO)
#endif
#if D4 > 2
#define MORE_2(DO) DO(2)
#else
#define MORE_2(DO)
#endif
#if D4 > 3
#define MORE_3(DO) DO(3)
#else
#define MORE_3(DO)
#endif
#if D4 > 4
#define MORE_4(DO) DO(4)
#else
#define MORE_4(DO)
#endif
#if D4 > 5
#define MORE_5(DO) DO(5)
#else
#define MORE_5(DO)
#endif
#if D4 > 6
#define MORE_6(DO) DO(6)
#else
#define MORE_6(DO)
#endif
#if D4 > 7
#define MORE_7(DO) DO(7)
#else
#define MORE_7(DO)
#endif
#if D4 > 8
#define MORE_8(DO) DO(8)
#else
#define MORE_8(DO)
#endif
#if D4 > 9
#define MORE_9(DO) DO(9)
#else
#define MORE_9(DO)
#endif
#if D4 > 10
#define MORE_10(DO) DO(10)
#else
#define MORE_10(DO)
#endif
#if D4 > 11
#define MORE_11(DO) DO(11)
#else
#define MORE_11(DO)
#endif
#if D4 > 12
#define MORE_12(DO) DO(12)
#else
#define MORE_12(DO)
#endif
#if D4 > 13
#define MORE_13(DO) DO(13)
#else
#define MORE_13(DO)
#endif
#if D4 > 14
#define MORE_14(DO) DO(14)
#else
#define MORE_14(DO)
#endif
#if D4 > 15
#define MORE_15(DO) DO(15)
#else
#define MORE_15(DO)
#endif

// A: an array of 8 D4. Pairs P with four rows of others, from places `at` on, are added to it.
#define AT(R, C) (R * D4 + C)
#define CLEAR_COLUMN(A, C)                                                                                                       \
    A[AT(0, C)] = A[AT(1, C)] = A[AT(2, C)] = A[AT(3, C)] = vec4(0.0);                                                           \
    A[AT(4, C)] = A[AT(5, C)] = A[AT(6, C)] = A[AT(7, C)] = vec4(0.0);
#define ADD_TO(TO, ROW) TO += P.ROW.x * x0 + P.ROW.y * x1 + P.ROW.z * x2 + P.ROW.w * x3;
#define ADD_COLUMN(A, C, READ)                                                                                                   \
    {                                                                                                                            \
        vec4 x0 = READ(at.x + uint(C)), x1 = READ(at.y + uint(C)), x2 = READ(at.z + uint(C)), x3 = READ(at.w + uint(C));         \
        CUT(x0, x1, x2, x3)                                                                                                      \
        ADD_TO(A[AT(0, C)], r0)                                                                                                  \
        ADD_TO(A[AT(1, C)], r1)                                                                                                  \
        ADD_TO(A[AT(2, C)], r2)                                                                                                  \
        ADD_TO(A[AT(3, C)], r3)                                                                                                  \
        ADD_TO(A[AT(4, C)], r4)                                                                                                  \
        ADD_TO(A[AT(5, C)], r5)                                                                                                  \
        ADD_TO(A[AT(6, C)], r6)                                                                                                  \
        ADD_TO(A[AT(7, C)], r7)                                                                                                  \
    }
#if WHOLE
#define CUT(X0, X1, X2, X3)
#else // zeros behind the last row, as 0 times what was read in their place might be NaN
#define CUT(X0, X1, X2, X3)                                                                                                      \
    X0 = left_ > 0u ? X0 : vec4(0.0);                                                                                            \
    X1 = left_ > 1u ? X1 : vec4(0.0);                                                                                            \
    X2 = left_ > 2u ? X2 : vec4(0.0);                                                                                            \
    X3 = left_ > 3u ? X3 : vec4(0.0);
#endif
#define PICK(R, S, T) P.R = h == 0u ? S.R : T.R;
// The pairs S and T with rows of which LEFT are before the end; DO(C) is ADD_COLUMN, with what it takes.
#define ADD_PAIRS(S, T, J0, J1, LEFT, DO)                                                                                              \
    for (uint h = 0u; h < 2u; h++) {                                                                                             \
        Eight P;                                                                                                                 \
        PICK(r0, S, T)                                                                                                           \
        PICK(r1, S, T)                                                                                                           \
        PICK(r2, S, T)                                                                                                           \
        PICK(r3, S, T)                                                                                                           \
        PICK(r4, S, T)                                                                                                           \
        PICK(r5, S, T)                                                                                                           \
        PICK(r6, S, T)                                                                                                           \
        PICK(r7, S, T)                                                                                                           \
        uvec4 at = h == 0u ? J0 : J1;                                                                                            \
        uint left_ = (LEFT)-min(LEFT, 4u * h);                                                                                   \
        EACH_COLUMN(DO)                                                                                                          \
    }
