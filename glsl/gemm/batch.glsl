// In main(): from `rest`, the number of a product in its batch of BATCH axes, how far its operands are moved, added to at_a and at_b.
#define AXIS(d)                                                                                                                  \
    {                                                                                                                            \
        uint further = rest / lengths.d;                                                                                         \
        rest -= further * lengths.d;                                                                                             \
        at_a += rest * step_a.d;                                                                                                 \
        at_b += rest * step_b.d;                                                                                                 \
        rest = further;                                                                                                          \
    }
#define LAST(d)                                                                                                                  \
    {                                                                                                                            \
        at_a += rest * step_a.d;                                                                                                 \
        at_b += rest * step_b.d;                                                                                                 \
    }
#if BATCH == 1
    LAST(x)
#elif BATCH == 2
    AXIS(x) LAST(y)
#elif BATCH == 3
    AXIS(x) AXIS(y) LAST(z)
#else
    AXIS(x) AXIS(y) AXIS(z) LAST(w)
#endif
