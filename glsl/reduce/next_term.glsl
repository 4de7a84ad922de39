// In main(), for each term: where the one TY further lies.
        at += reduced[REDUCED - 1].w;
#if REDUCED > 1
        for (int d = REDUCED - 1; d > 0; d--) {
            digit[d] += reduced[d].z; // below twice the length, with the carry
            if (digit[d] >= reduced[d].x) {
                digit[d] -= reduced[d].x;
                digit[d - 1]++;
                at += reduced[d - 1].y - reduced[d].x * reduced[d].y; // wraps as intended
            }
        }
        digit[0] += reduced[0].z;
#endif
