/**
 * Contact sheets: a PNG of many small images with a caption under each, to look at what a model predicts.
 *
 * Threads    Any.
 */
#ifndef ESKER_PICTURE_H
#define ESKER_PICTURE_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The colour of a caption. */
typedef enum esker_tone {
    ESKER_TONE_PLAIN = 0,
    ESKER_TONE_GOOD, /* green: the prediction is right */
    ESKER_TONE_BAD   /* red: it is wrong; the image gets a frame, so that it shows without colours too */
} esker_tone;

typedef struct esker_picture_desc {
    const uint8_t *images; /* n_images * channels * height * width bytes, each image [channels, height, width] */
    int n_images;          /* 1 to 65536 */
    int channels;          /* 1 (gray) or 3 (red, green, blue) */
    int height, width;     /* 1 to 4096 */
    const char *const
        *captions;           /* n_images texts, each NULL for none; NULL: no captions. Too long ones are cut at the cell */
    const esker_tone *tones; /* n_images; NULL: all plain */
    int columns;             /* images in a row; 0: a sheet about as wide as high */
    int zoom;                /* pixels for each pixel, 1 to 16; 0: so that images are about 84 wide */
} esker_picture_desc;

/**
 * Write the sheet to `path`, beside it first and then renamed over it. Captions show letters, digits and common signs of
 * ASCII; any other byte shows as a box. Seven large letters fit under an image of 84 pixels; if one caption is longer,
 * all are written small, and fourteen fit.
 *
 * Errors     ESKER_ERR_INVALID: a NULL or a number out of its range.
 *            ESKER_ERR_LIMIT: a sheet over 32768 pixels wide or high.
 *            ESKER_ERR_UNSUPPORTED: built without libpng.
 *            ESKER_ERR_IO, ESKER_ERR_NO_MEMORY.
 *            An older file stays whole after any of them.
 */
ESKER_API esker_status esker_picture_write(const char *path, const esker_picture_desc *desc);

#ifdef __cplusplus
}
#endif
#endif
