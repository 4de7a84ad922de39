/* How a pen writes the ten digits: the material from which digits.c draws. */
#ifndef ESKER_DATA_DIGIT_STROKES_H
#define ESKER_DATA_DIGIT_STROKES_H

#include <stdint.h>

/**
 * A point the pen passes, in font units: a digit is 100 high, y from -50 at its top to 50 at its foot, x from about -32
 * to 32. The pen moves smoothly; a point that appears twice in a row is a corner.
 */
typedef struct esker__pen_point {
    int8_t x, y;
} esker__pen_point;

/** Instead of a point: the pen is lifted, the next point begins a new stroke. */
#define ESKER__PEN_LIFT 127

/** The most points of one way of writing. */
#define ESKER__PEN_MAX_POINTS 24

typedef struct esker__pen_glyph {
    int digit;
    int n_points;
    esker__pen_point points[ESKER__PEN_MAX_POINTS];
} esker__pen_glyph;

/** Sorted by digit; every digit has at least one. */
extern const esker__pen_glyph esker__pen_glyphs[];
extern const int esker__n_pen_glyphs;

#endif
