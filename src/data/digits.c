/*
 * The embedded digits: pen strokes, drawn by an unsteady hand, photographed badly.
 *
 * Everything here is integer arithmetic. Floats would give other low bits with another compiler, with contraction to fused
 * multiply-add or with another libm, and a rounded pixel would then differ between machines. Units: font units as in
 * digit_strokes.h times 16 before the hand's transform, 1/256 pixel after it, factors as multiples of 2^-14.
 */
#include "data/dataset.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/philox.h"
#include "data/digit_strokes.h"

enum {
    SIDE = 28,
    N_PIXELS = SIDE * SIDE,
    N_DIGITS = 10,
    FONT = 16,      /* font units carry this factor */
    PIXEL = 256,    /* and pixels this one */
    ONE = 1 << 14,  /* the factor 1.0 */
    SPAN_STEPS = 5, /* straight pieces between two points of a stroke */
    MAX_SAMPLES = 10000000
};

typedef struct point {
    int32_t x, y;
} point;

/* ---- Random choices ---- */

/*
 * Streams of Philox: the tag keeps them apart from all other uses of the same seed, the split and the purpose from each
 * other.
 */
enum purpose { PURPOSE_LABELS = 0, PURPOSE_IMAGE = 1 };

static void open_stream(esker__random *random, uint64_t seed, esker_split split, enum purpose purpose, int64_t index)
{
    const uint64_t tag = (uint64_t)0x64696769 << 32; /* "digi" */
    esker__random_init(random, seed, tag | (uint64_t)split << 31 | (uint64_t)purpose << 30 | (uint64_t)index);
}

/* Uniform in lo..hi. The bias of multiplying instead of rejecting is below 2^-16 for our ranges, and it never loops. */
static int32_t between(esker__random *random, int32_t lo, int32_t hi)
{
    return lo + (int32_t)((uint64_t)esker__random_next(random) * (uint32_t)(hi - lo + 1) >> 32);
}

/* In -spread..spread, the middle more often: people are mostly average. */
static int32_t around(esker__random *random, int32_t spread)
{
    return (between(random, -spread, spread) + between(random, -spread, spread)) / 2;
}

/* ---- The hand: how this writer deforms what the font says ---- */

typedef struct hand {
    int32_t unsteady;            /* font units * FONT by which single points miss */
    int32_t bend_x, bend_y, fan; /* x += bend_x * y^2, y += bend_y * x^2, x += fan * x * y; of a half-height, factors */
    int32_t slant;               /* x += slant * y, a factor */
    int32_t height;              /* of a digit, in 1/PIXEL pixels */
    int32_t aspect;              /* width over the font's, a factor */
    int32_t sine, cosine;        /* of the rotation, factors */
    point middle;                /* where the digit's middle comes to lie */
} hand;

static hand draw_hand(esker__random *random)
{
    hand h = {0};
    h.unsteady = between(random, 1 * FONT, 5 * FONT);
    h.bend_x = around(random, ONE * 22 / 100);
    h.bend_y = around(random, ONE * 14 / 100);
    h.fan = around(random, ONE * 24 / 100);
    h.slant = around(random, ONE * 50 / 100) - ONE * 8 / 100; /* most people lean to the right: y grows downwards */
    h.height = between(random, 16 * PIXEL, 22 * PIXEL);
    h.aspect = ONE + around(random, ONE * 30 / 100);
    /* At most 0.3 radians, where three terms of the series are exact to our unit. */
    int32_t a = around(random, ONE * 30 / 100), a2 = a * a / ONE;
    h.sine = a - a * (a2 / 6) / ONE;
    h.cosine = ONE - a2 / 2 + a2 * a2 / ONE / 24;
    h.middle.x = SIDE * PIXEL / 2 + around(random, PIXEL * 7 / 2);
    h.middle.y = SIDE * PIXEL / 2 + around(random, PIXEL * 7 / 2);
    return h;
}

/* A point of the font, already unsteady, in FONT units, to the picture. |x|, |y| are below 2^10: 32 bits suffice. */
static point place(const hand *h, int32_t x, int32_t y)
{
    const int32_t half = 50 * FONT;
    int32_t bent_x = x + h->bend_x * (y * y / half) / ONE + h->fan * (x * y / half) / ONE;
    int32_t bent_y = y + h->bend_y * (x * x / half) / ONE;
    /* Bowing moves the whole digit sideways; half of it back keeps the digit around its middle. */
    bent_x -= h->bend_x * (half / 2) / ONE;
    bent_x += h->slant * bent_y / ONE;
    int64_t px = (int64_t)bent_x * h->aspect / ONE * h->height / (2 * half), py = (int64_t)bent_y * h->height / (2 * half);
    point p;
    p.x = h->middle.x + (int32_t)((px * h->cosine - py * h->sine) / ONE);
    p.y = h->middle.y + (int32_t)((px * h->sine + py * h->cosine) / ONE);
    return p;
}

/* ---- The pen: distance of every pixel to the nearest stroke ---- */

typedef struct canvas {
    int32_t reach;              /* beyond this distance a stroke leaves nothing, in 1/PIXEL pixels; below 2^12 */
    int32_t nearest2[N_PIXELS]; /* squared distance to the nearest stroke, or reach^2 */
} canvas;

static void canvas_clear(canvas *c, int32_t radius)
{
    c->reach = radius + PIXEL / 2; /* the edge is a ramp of one pixel */
    for (int i = 0; i < N_PIXELS; i++) c->nearest2[i] = c->reach * c->reach;
}

static int clamp(int value, int lo, int hi)
{
    return value < lo ? lo : value > hi ? hi : value;
}

static void draw_piece(canvas *c, point a, point b)
{
    int32_t left = a.x < b.x ? a.x : b.x, right = a.x < b.x ? b.x : a.x;
    int32_t top = a.y < b.y ? a.y : b.y, bottom = a.y < b.y ? b.y : a.y;
    /* Division rounds towards zero; one pixel more on each side makes that harmless. */
    int x0 = clamp((left - c->reach) / PIXEL - 1, 0, SIDE), x1 = clamp((right + c->reach) / PIXEL + 1, 0, SIDE);
    int y0 = clamp((top - c->reach) / PIXEL - 1, 0, SIDE), y1 = clamp((bottom + c->reach) / PIXEL + 1, 0, SIDE);
    int64_t dx = b.x - a.x, dy = b.y - a.y, length2 = dx * dx + dy * dy;
    for (int y = y0; y < y1; y++) {
        for (int x = x0; x < x1; x++) {
            int64_t ax = x * PIXEL + PIXEL / 2 - a.x, ay = y * PIXEL + PIXEL / 2 - a.y;
            int64_t along = ax * dx + ay * dy, distance2;
            if (along <= 0) {
                distance2 = ax * ax + ay * ay;
            } else if (along >= length2) {
                distance2 = (ax - dx) * (ax - dx) + (ay - dy) * (ay - dy);
            } else {
                int64_t cross = ax * dy - ay * dx;
                distance2 = cross * cross / length2; /* along lies between: the length is not 0 */
            }
            int32_t *nearest2 = &c->nearest2[y * SIDE + x];
            if (distance2 < *nearest2) *nearest2 = (int32_t)distance2;
        }
    }
}

/* The span from p[1] to p[2] of a Catmull-Rom spline, as straight pieces. */
static void draw_span(canvas *c, const point p[4])
{
    const int32_t n = SPAN_STEPS;
    point from = p[1];
    for (int32_t k = 1; k <= n; k++) {
        int32_t w1 = k * n * n, w2 = k * k * n, w3 = k * k * k;
        point to;
        to.x = (2 * p[1].x * n * n * n + (p[2].x - p[0].x) * w1 + (2 * p[0].x - 5 * p[1].x + 4 * p[2].x - p[3].x) * w2 +
                (3 * p[1].x - p[0].x - 3 * p[2].x + p[3].x) * w3) /
               (2 * n * n * n);
        to.y = (2 * p[1].y * n * n * n + (p[2].y - p[0].y) * w1 + (2 * p[0].y - 5 * p[1].y + 4 * p[2].y - p[3].y) * w2 +
                (3 * p[1].y - p[0].y - 3 * p[2].y + p[3].y) * w3) /
               (2 * n * n * n);
        draw_piece(c, from, to);
        from = to;
    }
}

static void draw_glyph(canvas *c, const esker__pen_glyph *glyph, const hand *h, esker__random *random)
{
    point stroke[ESKER__PEN_MAX_POINTS];
    int n = 0;
    for (int i = 0; i <= glyph->n_points; i++) {
        const esker__pen_point *p = &glyph->points[i];
        if (i < glyph->n_points && p->x != ESKER__PEN_LIFT) {
            /* Both halves of a corner are one point, and miss together. */
            bool corner = n > 0 && p->x == p[-1].x && p->y == p[-1].y;
            if (corner) {
                stroke[n] = stroke[n - 1];
            } else {
                int32_t x = p->x * FONT + around(random, h->unsteady), y = p->y * FONT + around(random, h->unsteady);
                stroke[n] = place(h, x, y);
            }
            n++;
            continue;
        }
        for (int s = 0; s + 1 < n; s++) {
            if (stroke[s].x == stroke[s + 1].x && stroke[s].y == stroke[s + 1].y) continue;
            point span[4] = {stroke[s > 0 ? s - 1 : s], stroke[s], stroke[s + 1], stroke[s + 2 < n ? s + 2 : s + 1]};
            draw_span(c, span);
        }
        n = 0;
    }
}

static int32_t square_root(int32_t value)
{
    int32_t root = 0;
    for (int32_t bit = 1 << 15; bit; bit /= 2) {
        int64_t more = root + bit;
        if (more * more <= value) root += bit;
    }
    return root;
}

/* Put the canvas on the picture as ink of strength `peak`; where ink meets ink, the stronger stays. */
static void ink_canvas(int32_t levels[N_PIXELS], const canvas *c, int32_t peak)
{
    for (int i = 0; i < N_PIXELS; i++) {
        if (c->nearest2[i] >= c->reach * c->reach) continue;
        int32_t cover = clamp(c->reach - square_root(c->nearest2[i]), 0, PIXEL);
        int32_t level = cover * peak / PIXEL;
        if (level > levels[i]) levels[i] = level;
    }
}

/* ---- The picture ---- */

/* Dust and strokes of neighbours: small marks, mostly in the outer part of the picture. */
static void add_marks(int32_t levels[N_PIXELS], esker__random *random, canvas *scratch, int32_t ink)
{
    int32_t n_specks = between(random, 0, 3), n_scraps = clamp(between(random, -2, 2), 0, 2);
    for (int32_t i = 0; i < n_specks + n_scraps; i++) {
        bool scrap = i >= n_specks;
        canvas_clear(scratch, between(random, PIXEL * 3 / 10, PIXEL * 9 / 10));
        point a = {between(random, 0, SIDE * PIXEL), between(random, 0, SIDE * PIXEL)};
        if (scrap) {
            /* Near a border chosen at random. */
            int32_t depth = between(random, 0, 4 * PIXEL), side = between(random, 0, 3);
            if (side & 1) depth = SIDE * PIXEL - depth;
            if (side & 2)
                a.x = depth;
            else
                a.y = depth;
        }
        point b = a;
        if (scrap) {
            b.x += between(random, -6 * PIXEL, 6 * PIXEL);
            b.y += between(random, -6 * PIXEL, 6 * PIXEL);
        }
        draw_piece(scratch, a, b);
        ink_canvas(levels, scratch, ink * between(random, 30, 90) / 100);
    }
}

/* Each pixel gives `weight` of 256 parts to each neighbour in its row, then in its column. */
static void blur(int32_t levels[N_PIXELS], int32_t weight)
{
    for (int pass = 0; pass < 2; pass++) {
        int along = pass ? SIDE : 1, across = pass ? 1 : SIDE;
        for (int line = 0; line < SIDE; line++) {
            int32_t before = 0;
            for (int i = 0; i < SIDE; i++) {
                int32_t *here = &levels[line * across + i * along];
                int32_t after = i + 1 < SIDE ? here[along] : 0, old = *here;
                *here = (before * weight + old * (256 - 2 * weight) + after * weight) / 256;
                before = old;
            }
        }
    }
}

static void draw_image(uint8_t pixels[N_PIXELS], int digit, esker__random *random)
{
    int first = 0, n_ways = 0;
    for (int i = 0; i < esker__n_pen_glyphs; i++) {
        if (esker__pen_glyphs[i].digit < digit)
            first++;
        else if (esker__pen_glyphs[i].digit == digit)
            n_ways++;
    }
    const esker__pen_glyph *glyph = &esker__pen_glyphs[first + between(random, 0, n_ways - 1)];

    int32_t levels[N_PIXELS] = {0}; /* 0..255 times 16 */
    canvas c;
    hand h = draw_hand(random);
    canvas_clear(&c, between(random, PIXEL * 55 / 100, PIXEL * 145 / 100));
    draw_glyph(&c, glyph, &h, random);
    int32_t ink = between(random, 140 * 16, 250 * 16);
    ink_canvas(levels, &c, ink);
    add_marks(levels, random, &c, ink);
    blur(levels, between(random, 0, 64));

    /* An uneven ground: it brightens along a direction of its own. */
    int32_t ground = between(random, 0, 24 * 16), tilt_x = between(random, -16, 16), tilt_y = between(random, -16, 16);
    int32_t grain = between(random, 2, 20);
    for (int i = 0; i < N_PIXELS; i += 2) {
        uint32_t word = esker__random_next(random);
        for (int half = 0; half < 2; half++, word >>= 16) {
            int x = (i + half) % SIDE, y = (i + half) / SIDE;
            int32_t level = levels[i + half] + ground + tilt_x * (x - SIDE / 2) + tilt_y * (y - SIDE / 2);
            /* The difference of two uniform bytes, -255..255, is noise enough like a camera's. */
            int32_t noise = (int32_t)(word & 255) - (int32_t)(word >> 8 & 255);
            level += noise * grain * 16 / 104; /* 104 is its standard deviation */
            pixels[i + half] = (uint8_t)clamp((level + 8) / 16, 0, 255);
        }
    }
}

/* Ten labels in a row are the ten digits in random order. */
static void draw_labels(int32_t labels[N_DIGITS], uint64_t seed, esker_split split, int64_t decade)
{
    esker__random random;
    open_stream(&random, seed, split, PURPOSE_LABELS, decade);
    for (int i = 0; i < N_DIGITS; i++) {
        int32_t j = between(&random, 0, i);
        if (j != i) labels[i] = labels[j];
        labels[j] = i;
    }
}

esker_status esker_dataset_digits(const esker_digits_desc *desc, esker_dataset **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_dataset_digits: out is NULL");
    *out = NULL;
    esker_digits_desc d = desc ? *desc : (esker_digits_desc){0};
    if (d.split != ESKER_SPLIT_TRAIN && d.split != ESKER_SPLIT_TEST)
        return esker__fail(ESKER_ERR_INVALID, "digits: split %d is neither training (0) nor test (1)", (int)d.split);
    if (d.n_samples == 0) d.n_samples = d.split == ESKER_SPLIT_TRAIN ? 12000 : 2000;
    if (d.n_samples < 1 || d.n_samples > MAX_SAMPLES)
        return esker__fail(ESKER_ERR_INVALID, "digits: %lld images asked, it can be 1 to %d", (long long)d.n_samples,
                           MAX_SAMPLES);

    size_t n_images = (size_t)d.n_samples; /* 10 million * 784 may exceed a 32-bit address: checked */
    size_t n_pixel_bytes = 0;
    uint8_t *pixels = NULL;
    int32_t *labels = esker__malloc(n_images * sizeof *labels);
    if (esker__mul_size(n_images, N_PIXELS, &n_pixel_bytes)) pixels = esker__malloc(n_pixel_bytes);
    if (!pixels || !labels) {
        esker__free(pixels);
        esker__free(labels);
        return esker__fail_memory(n_images * (N_PIXELS + sizeof *labels), "digits");
    }
    for (size_t i = 0; i < n_images; i++) {
        int32_t decade[N_DIGITS];
        if (i % N_DIGITS == 0) {
            draw_labels(decade, d.seed, d.split, (int64_t)(i / N_DIGITS));
            size_t n_left = n_images - i;
            memcpy(labels + i, decade, sizeof *labels * (n_left < N_DIGITS ? n_left : N_DIGITS));
        }
        esker__random random;
        open_stream(&random, d.seed, d.split, PURPOSE_IMAGE, (int64_t)i);
        draw_image(pixels + i * N_PIXELS, labels[i], &random);
    }

    char name[64];
    snprintf(name, sizeof name, "digits:seed=%llu %s", (unsigned long long)d.seed,
             d.split == ESKER_SPLIT_TRAIN ? "train" : "test");
    return esker__dataset_adopt(&(esker_dataset_desc){.name = name,
                                                      .sample_dtype = ESKER_DTYPE_U8,
                                                      .sample_shape = {3, {1, SIDE, SIDE}},
                                                      .n_samples = d.n_samples,
                                                      .n_classes = N_DIGITS,
                                                      .class_names = esker__digit_names},
                                pixels, labels, out);
}
