// Of neighbours t.x and t.y of y, which holds halves, both or the first: in a word of their own, or one by one.
#define STORE_TWO(at, both, t)                                                                                                   \
    if ((both) && ((at) & 1u) == 0u) {                                                                                           \
        halves_put2(y, at, t);                                                                                                   \
    } else {                                                                                                                     \
        y[at] = t.x;                                                                                                             \
        if (both) y[at + 1u] = t.y;                                                                                              \
    }
