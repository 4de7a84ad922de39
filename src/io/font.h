/* A small bitmap font for captions, drawn for this project: ASCII letters, digits and common signs. */
#ifndef ESKER_IO_FONT_H
#define ESKER_IO_FONT_H

#define ESKER__GLYPH_WIDTH  5
#define ESKER__GLYPH_HEIGHT 8 /* seven above the line, one below */

/** ESKER__GLYPH_HEIGHT rows from the top, bit 4 leftmost; a box for a character without a glyph. Never NULL. */
const unsigned char *esker__glyph(unsigned char character);

#endif
