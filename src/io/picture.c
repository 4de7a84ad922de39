/* Contact sheets as PNG. */
#include <esker/picture.h>

#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/font.h"

#ifdef ESKER_HAVE_PNG

#include <png.h>
#include <setjmp.h>

#define MAX_SIDE   32768
#define MARGIN     8 /* pixels around the sheet */
#define GAP        8 /* between cells */
#define FRAME      2 /* around the image of a wrong prediction */
#define LETTER_GAP 1
#define CAPTION    5  /* pixels above a caption */
#define USUAL_SIDE 84 /* of an image that is shown larger */

typedef struct color {
    unsigned char r, g, b;
} color;

static const color
    background = {250, 250, 248},
    tones[] = {[ESKER_TONE_PLAIN] = {60, 60, 60}, [ESKER_TONE_GOOD] = {20, 120, 50}, [ESKER_TONE_BAD] = {200, 30, 30}};

typedef struct sheet {
    const esker_picture_desc *desc;
    int columns, rows, zoom;
    int letter;                  /* pixels for each pixel of a letter */
    int cell_width, cell_height; /* without gaps */
    int width, height;
    unsigned char *pixels; /* width * height * 3 */
} sheet;

/* ---- Drawing ---- */

static void fill(sheet *s, int x, int y, int width, int height, color c)
{
    for (int j = y; j < y + height; j++) {
        unsigned char *p = s->pixels + ((size_t)j * (size_t)s->width + (size_t)x) * 3;
        for (int i = 0; i < width; i++, p += 3) {
            p[0] = c.r;
            p[1] = c.g;
            p[2] = c.b;
        }
    }
}

static void draw_image(sheet *s, int index, int x, int y)
{
    const esker_picture_desc *d = s->desc;
    size_t plane = (size_t)d->height * (size_t)d->width;
    const uint8_t *image = d->images + (size_t)index * (size_t)d->channels * plane;
    for (int j = 0; j < d->height; j++)
        for (int i = 0; i < d->width; i++) {
            const uint8_t *p = image + (size_t)j * (size_t)d->width + (size_t)i;
            color c = d->channels == 1 ? (color){p[0], p[0], p[0]} : (color){p[0], p[plane], p[2 * plane]};
            fill(s, x + i * s->zoom, y + j * s->zoom, s->zoom, s->zoom, c);
        }
}

/* Letters that fit under an image. */
static size_t caption_room(const sheet *s, int letter)
{
    return (size_t)((s->cell_width + LETTER_GAP * letter) / ((ESKER__GLYPH_WIDTH + LETTER_GAP) * letter));
}

static void draw_caption(sheet *s, const char *text, int x, int y, color c)
{
    int step = (ESKER__GLYPH_WIDTH + LETTER_GAP) * s->letter;
    size_t n = strlen(text), room = caption_room(s, s->letter);
    if (n > room) n = room;
    x += (s->cell_width - ((int)n * step - LETTER_GAP * s->letter)) / 2;
    for (size_t k = 0; k < n; k++, x += step) {
        const unsigned char *glyph = esker__glyph((unsigned char)text[k]);
        for (int row = 0; row < ESKER__GLYPH_HEIGHT; row++)
            for (int column = 0; column < ESKER__GLYPH_WIDTH; column++)
                if (glyph[row] >> (ESKER__GLYPH_WIDTH - 1 - column) & 1)
                    fill(s, x + column * s->letter, y + row * s->letter, s->letter, s->letter, c);
    }
}

static void draw(sheet *s)
{
    const esker_picture_desc *d = s->desc;
    int image_width = d->width * s->zoom, image_height = d->height * s->zoom;
    fill(s, 0, 0, s->width, s->height, background);
    for (int k = 0; k < d->n_images; k++) {
        int x = MARGIN + k % s->columns * (s->cell_width + GAP), y = MARGIN + k / s->columns * (s->cell_height + GAP);
        esker_tone tone = d->tones ? d->tones[k] : ESKER_TONE_PLAIN;
        int image_x = x + (s->cell_width - image_width) / 2;
        if (tone == ESKER_TONE_BAD)
            fill(s, image_x - FRAME, y - FRAME, image_width + 2 * FRAME, image_height + 2 * FRAME, tones[tone]);
        draw_image(s, k, image_x, y);
        if (d->captions && d->captions[k]) draw_caption(s, d->captions[k], x, y + image_height + CAPTION, tones[tone]);
    }
}

/* ---- Layout ---- */

static esker_status check(const esker_picture_desc *d)
{
    if (!d->images) return esker__fail(ESKER_ERR_INVALID, "picture: images is NULL");
    if (d->n_images < 1 || d->n_images > 65536)
        return esker__fail(ESKER_ERR_INVALID, "picture: %d images, 1 to 65536 are possible", d->n_images);
    if (d->channels != 1 && d->channels != 3)
        return esker__fail(ESKER_ERR_INVALID, "picture: %d channels, 1 and 3 are possible", d->channels);
    if (d->height < 1 || d->height > 4096 || d->width < 1 || d->width > 4096)
        return esker__fail(ESKER_ERR_INVALID, "picture: images of %d x %d pixels, 1 to 4096 are possible", d->width,
                           d->height);
    if (d->columns < 0 || d->zoom < 0 || d->zoom > 16)
        return esker__fail(ESKER_ERR_INVALID, "picture: columns %d (0 or more), zoom %d (0 to 16)", d->columns, d->zoom);
    for (int i = 0; d->tones && i < d->n_images; i++)
        if ((int)d->tones[i] < ESKER_TONE_PLAIN || (int)d->tones[i] > ESKER_TONE_BAD)
            return esker__fail(ESKER_ERR_INVALID, "picture: tone %d of image %d, 0 to 2 are possible", (int)d->tones[i], i);
    return ESKER_OK;
}

static esker_status lay_out(sheet *s, const esker_picture_desc *d)
{
    *s = (sheet){.desc = d, .zoom = d->zoom, .columns = d->columns};
    if (!s->zoom) {
        s->zoom = USUAL_SIDE / d->width;
        s->zoom = s->zoom < 1 ? 1 : s->zoom > 16 ? 16 : s->zoom;
    }
    s->cell_width = d->width * s->zoom;
    /* Large letters if every caption fits in them. */
    s->letter = 2;
    for (int i = 0; d->captions && i < d->n_images; i++)
        if (d->captions[i] && strlen(d->captions[i]) > caption_room(s, 2)) s->letter = 1;
    s->cell_height = d->height * s->zoom + (d->captions ? CAPTION + ESKER__GLYPH_HEIGHT * s->letter : 0);
    /* About as wide as high: the smallest number of columns that is wide enough. */
    for (int n = 1; !s->columns; n++) {
        int rows = (d->n_images + n - 1) / n;
        if ((int64_t)n * (s->cell_width + GAP) >= (int64_t)rows * (s->cell_height + GAP)) s->columns = n;
    }
    if (s->columns > d->n_images) s->columns = d->n_images;
    s->rows = (d->n_images + s->columns - 1) / s->columns;
    int64_t width = 2 * MARGIN - GAP + (int64_t)s->columns * (s->cell_width + GAP);
    int64_t height = 2 * MARGIN - GAP + (int64_t)s->rows * (s->cell_height + GAP);
    if (width > MAX_SIDE || height > MAX_SIDE)
        return esker__fail(ESKER_ERR_LIMIT, "picture: a sheet of %lld x %lld pixels, at most %d x %d are written",
                           (long long)width, (long long)height, MAX_SIDE, MAX_SIDE);
    s->width = (int)width;
    s->height = (int)height;
    return ESKER_OK;
}

/* ---- Writing: libpng's calls back, whose only way out is longjmp ---- */

typedef struct output {
    esker__file_writer *writer;
    esker_status status;
} output;

static void write_bytes(png_structp png, png_bytep data, size_t n_bytes)
{
    output *out = png_get_io_ptr(png);
    if (out->status == ESKER_OK) out->status = esker__file_writer_write(out->writer, data, n_bytes);
    if (out->status != ESKER_OK) png_error(png, "writing");
}

static void flush_bytes(png_structp png)
{
    (void)png;
}

static void on_error(png_structp png, png_const_charp message)
{
    output *out = png_get_error_ptr(png);
    if (out->status == ESKER_OK) out->status = esker__fail(ESKER_ERR_INTERNAL, "libpng: %s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    esker__log(ESKER_LOG_WARNING, "libpng: %s", message);
}

static void encode(const sheet *s, png_structp png, png_infop info)
{
    png_set_IHDR(png, info, (png_uint_32)s->width, (png_uint_32)s->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (int y = 0; y < s->height; y++) png_write_row(png, s->pixels + (size_t)y * (size_t)s->width * 3);
    png_write_end(png, info);
}

/* setjmp() is here alone, in a function without variables that change after it. */
static bool encode_or_fail(const sheet *s, png_structp png, png_infop info)
{
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    encode(s, png, info);
    return true;
}

static esker_status write_png(const sheet *s, esker__file_writer *writer)
{
    output out = {.writer = writer};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &out, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_write_struct(&png, NULL);
        return esker__fail(ESKER_ERR_NO_MEMORY, "%s: no host memory for libpng", writer->path);
    }
    png_set_write_fn(png, &out, write_bytes, flush_bytes);
    if (!encode_or_fail(s, png, info) && out.status == ESKER_OK) out.status = ESKER_ERR_INTERNAL;
    png_destroy_write_struct(&png, &info);
    return out.status;
}

esker_status esker_picture_write(const char *path, const esker_picture_desc *desc)
{
    sheet s = {0};
    esker__file_writer writer = {0};
    if (!path || !desc) return esker__fail(ESKER_ERR_INVALID, "picture: %s is NULL", path ? "desc" : "the path");
    esker_status st = check(desc);
    if (st == ESKER_OK) st = lay_out(&s, desc);
    if (st != ESKER_OK) return st;
    size_t n_bytes = (size_t)s.width * (size_t)s.height * 3;
    s.pixels = esker__malloc(n_bytes);
    if (!s.pixels) return esker__fail_memory(n_bytes, path);
    draw(&s);
    st = esker__file_writer_open(&writer, path);
    if (st == ESKER_OK) st = write_png(&s, &writer);
    if (st == ESKER_OK) st = esker__file_writer_commit(&writer);
    esker__file_writer_abort(&writer);
    esker__free(s.pixels);
    return st;
}

#else

esker_status esker_picture_write(const char *path, const esker_picture_desc *desc)
{
    (void)desc;
    return esker__fail(ESKER_ERR_UNSUPPORTED, "%s: pictures are PNG, and this library was built without libpng",
                       path ? path : "picture");
}

#endif
