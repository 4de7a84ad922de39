// The end of conv/tiled's main() where results are stored as they are: CH channels from f on, of PX columns of row u.
    if (u >= rows || column >= columns || image >= images) return;
    uint at = (image * f_out + f) * y_channel + y_first + u * y_u + column * y_v; // with PHASES y_v is 2
#if SPLIT
    at += split * n_elems;
#endif
#if BIAS
#define ADD_BIAS(I, S, T)                                                                                                        \
    S += bias[(f + I) * bias_step];                                                                                              \
    T += bias[(f + I) * bias_step];
#else
#define ADD_BIAS(I, S, T)
#endif
#if EVEN
#define INSIDE(I) true
#define SECOND_INSIDE true
#else
#define INSIDE(I) (f + I < f_out)
#define SECOND_INSIDE (column + 4u < columns)
#endif
    // With vec4 all that the tail reads is read before anything is written: compilers cannot know that these never are the same.
#if PHASES && VY
#define TAILED(I, S, T)                                                                                                           \
    if (INSIDE(I)) {                                                                                                         \
        ADD_BIAS(I, S, T)                                                                                                        \
        vec4 four = vec4(S.x, T.x, S.y, T.y);                                                                                    \
        T = vec4(S.z, T.z, S.w, T.w);                                                                                            \
        S = tail4(four, at + I * y_channel);                                                                                     \
        if (column + 2u < columns) T = tail4(T, at + I * y_channel + 4u);                                                        \
    }
#define STORE(I, S, T)                                                                                                           \
    if (INSIDE(I)) {                                                                                                         \
        y[(at + I * y_channel) >> 2] = S;                                                                                        \
        if (column + 2u < columns) y[((at + I * y_channel) >> 2) + 1u] = T;                                                      \
    }
#elif PHASES
#define TAILED(I, S, T)
#define STORE(I, S, T)                                                                                                           \
    if (INSIDE(I)) {                                                                                                         \
        ADD_BIAS(I, S, T)                                                                                                        \
        store8(at + I * y_channel, column, S, T);                                                                                \
    }
#elif VY
#define TAILED(I, S, T)                                                                                                           \
    if (INSIDE(I)) {                                                                                                         \
        ADD_BIAS(I, S, T)                                                                                                        \
        S = tail4(S, at + I * y_channel);                                                                                        \
        if (PX == 8 && SECOND_INSIDE) T = tail4(T, at + I * y_channel + 4u);                                             \
    }
#define STORE(I, S, T)                                                                                                           \
    if (INSIDE(I)) {                                                                                                         \
        y[(at + I * y_channel) >> 2] = S;                                                                                        \
        if (PX == 8 && SECOND_INSIDE) y[((at + I * y_channel) >> 2) + 1u] = T;                                           \
    }
#else
#define TAILED(I, S, T)
#define STORE(I, S, T)                                                                                                           \
    if (INSIDE(I)) {                                                                                                         \
        ADD_BIAS(I, S, T)                                                                                                        \
        store4(at + I * y_channel, column, S);                                                                                   \
        if (PX == 8) store4(at + I * y_channel + 4u * y_v, column + 4u, T);                                                      \
    }
#endif
    TAILED(0u, s0, t0)
    TAILED(1u, s1, t1)
    TAILED(2u, s2, t2)
    TAILED(3u, s3, t3)
#if CH == 8
    TAILED(4u, s4, t4)
    TAILED(5u, s5, t5)
    TAILED(6u, s6, t6)
    TAILED(7u, s7, t7)
#endif
    STORE(0u, s0, t0)
    STORE(1u, s1, t1)
    STORE(2u, s2, t2)
    STORE(3u, s3, t3)
#if CH == 8
    STORE(4u, s4, t4)
    STORE(5u, s5, t5)
    STORE(6u, s6, t6)
    STORE(7u, s7, t7)
#endif
