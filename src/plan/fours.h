/*
 * Channels in fours: [n, c, h, w] as [n, ceil(c / 4), h, w, 4], zero where there is no channel; channel c of a pixel is element c % 4 of the four c / 4. Four
 * channels of a pixel are then one read, whatever the width of a row. The layout is part of a value's shape; which values have it is decided in layout.c, and
 * these operations stand where it changes.
 */
#ifndef ESKER_PLAN_FOURS_H
#define ESKER_PLAN_FOURS_H

#include "graph/passes.h"

/** The shape of four axes in fours. */
esker_shape esker__fours_shape(const esker_shape *plain);

/** Where element `at` of [n, c, h, w] lies in fours: c and the pixels h w of a plane. */
static inline int64_t esker__fours_at(int64_t at, int64_t channels, int64_t pixels)
{
    int64_t pixel = at % pixels, c = at / pixels % channels, image = at / pixels / channels;
    return ((image * ((channels + 3) / 4) + c / 4) * pixels + pixel) * 4 + c % 4;
}

/** Record the change of layout: float32 of four axes into fours, and back, where there are `channels` of them. */
esker_node *esker__to_fours(esker_node *x);
esker_node *esker__from_fours(esker_node *x, int64_t channels);
/** Whether these must not be made. */
bool esker__fours_barred(const esker__fusing *how);

#endif
