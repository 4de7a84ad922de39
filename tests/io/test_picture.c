/* Contact sheets: pixels read back, limits, and old files that stay whole. Needs no device. */
#include <esker/picture.h>

#include <stdio.h>
#ifdef ESKER_HAVE_PNG
#include <png.h>
#endif

#include "io/font.h"
#include "support/test.h"

#ifdef ESKER_HAVE_PNG

typedef struct pixels {
    unsigned width, height;
    unsigned char *rgb;
} pixels;

static pixels read_png(const char *path)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_file(&image, path));
    image.format = PNG_FORMAT_RGB;
    pixels p = {image.width, image.height, malloc(PNG_IMAGE_SIZE(image))};
    assert_non_null(p.rgb);
    assert_true(png_image_finish_read(&image, NULL, p.rgb, 0, NULL));
    return p;
}

static const unsigned char *at(const pixels *p, unsigned x, unsigned y)
{
    assert_true(x < p->width && y < p->height);
    return p->rgb + ((size_t)y * p->width + x) * 3;
}

static void assert_color(const pixels *p, unsigned x, unsigned y, int r, int g, int b)
{
    const unsigned char *c = at(p, x, y);
    if (c[0] != r || c[1] != g || c[2] != b)
        fail_msg("pixel %u, %u is %d %d %d, should be %d %d %d", x, y, c[0], c[1], c[2], r, g, b);
}

/* How many pixels of a rectangle have this colour. */
static int count_color(const pixels *p, unsigned x0, unsigned y0, unsigned width, unsigned height, int r, int g, int b)
{
    int n = 0;
    for (unsigned y = y0; y < y0 + height; y++)
        for (unsigned x = x0; x < x0 + width; x++) {
            const unsigned char *c = at(p, x, y);
            n += c[0] == r && c[1] == g && c[2] == b;
        }
    return n;
}

static int glyph_pixels(char c)
{
    int n = 0;
    for (int i = 0; i < ESKER__GLYPH_HEIGHT; i++) n += __builtin_popcount(esker__glyph((unsigned char)c)[i]);
    return n;
}

static void pixels_frames_and_captions_are_where_they_belong(void **state)
{
    (void)state;
    char path[512];
    uint8_t images[3 * 4 * 10];
    for (int i = 0; i < 3 * 4 * 10; i++) images[i] = (uint8_t)(2 * i);
    static const char *const captions[] = {"7", NULL, "1"};
    static const esker_tone tones[] = {ESKER_TONE_GOOD, ESKER_TONE_PLAIN, ESKER_TONE_BAD};
    snprintf(path, sizeof path, "%s/gray.png", test_folder("picture"));
    assert_ok(esker_picture_write(path, &(esker_picture_desc){.images = images,
                                                              .n_images = 3,
                                                              .channels = 1,
                                                              .height = 4,
                                                              .width = 10,
                                                              .captions = captions,
                                                              .tones = tones,
                                                              .columns = 2,
                                                              .zoom = 2}));
    pixels p = read_png(path);
    /* Cells of 20 x (8 + 5 + 16), 8 apart and around. */
    assert_int_equal(p.width, 8 + 20 + 8 + 20 + 8);
    assert_int_equal(p.height, 8 + 29 + 8 + 29 + 8);
    for (unsigned y = 0; y < 8; y++)
        for (unsigned x = 0; x < 20; x++) {
            int first = 2 * (int)(y / 2 * 10 + x / 2);
            assert_color(&p, 8 + x, 8 + y, first, first, first);
            assert_color(&p, 36 + x, 8 + y, first + 80, first + 80, first + 80);
            assert_color(&p, 8 + x, 45 + y, first + 160, first + 160, first + 160);
        }
    /* Large letters, each pixel four times, in the tone's colour; nothing under the second, nothing in the empty cell. */
    assert_int_equal(count_color(&p, 8, 16, 20, 21, 20, 120, 50), 4 * glyph_pixels('7'));
    assert_int_equal(count_color(&p, 8, 53, 20, 21, 200, 30, 30) - 20 * 2, 4 * glyph_pixels('1'));
    assert_int_equal(count_color(&p, 36, 16, 20, 21, 250, 250, 248), 20 * 21);
    assert_int_equal(count_color(&p, 36, 45, 20, 29, 250, 250, 248), 20 * 29);
    /* The wrong one is framed, the right one is not. */
    assert_color(&p, 6, 43, 200, 30, 30);
    assert_color(&p, 29, 54, 200, 30, 30);
    assert_color(&p, 6, 6, 250, 250, 248);
    free(p.rgb);
}

static void colors_are_planes(void **state)
{
    (void)state;
    char path[512];
    static const uint8_t image[] = {10, 20, 30, 40, 50, 60}; /* [3, 1, 2] */
    snprintf(path, sizeof path, "%s/rgb.png", test_folder("picture"));
    assert_ok(esker_picture_write(
        path, &(esker_picture_desc){.images = image, .n_images = 1, .channels = 3, .height = 1, .width = 2, .zoom = 1}));
    pixels p = read_png(path);
    assert_int_equal(p.width, 18);
    assert_int_equal(p.height, 17);
    assert_color(&p, 8, 8, 10, 30, 50);
    assert_color(&p, 9, 8, 20, 40, 60);
    free(p.rgb);
}

static void long_captions_are_small_and_cut(void **state)
{
    (void)state;
    char path[512];
    static const uint8_t image[28 * 28];
    static const char *const captions[] = {"abcdefghijklmnopqrstuvwxyz"};
    snprintf(path, sizeof path, "%s/long.png", test_folder("picture"));
    assert_ok(esker_picture_write(
        path, &(esker_picture_desc){
                  .images = image, .n_images = 1, .channels = 1, .height = 28, .width = 28, .captions = captions}));
    pixels p = read_png(path);
    assert_int_equal(p.width, 8 + 84 + 8);
    assert_int_equal(p.height, 8 + 84 + 5 + 8 + 8);
    int n_letters = 0;
    for (const char *c = "abcdefghijklmn"; *c; c++) n_letters += glyph_pixels(*c);
    assert_int_equal(count_color(&p, 8, 92, 84, 13, 60, 60, 60), n_letters);
    assert_int_equal(count_color(&p, 0, 92, 8, 13, 250, 250, 248), 8 * 13);
    free(p.rgb);
}

static void wrong_descriptions_leave_an_old_file_whole(void **state)
{
    static const uint8_t image[4];
    static const esker_tone odd_tone[] = {(esker_tone)7};
    static const struct {
        esker_picture_desc desc;
        esker_status status;
        const char *message;
    } cases[] = {
        {{.n_images = 1, .channels = 1, .height = 2, .width = 2}, ESKER_ERR_INVALID, "images is NULL"},
        {{.images = image, .channels = 1, .height = 2, .width = 2}, ESKER_ERR_INVALID, "0 images, 1 to 65536"},
        {{.images = image, .n_images = 65537, .channels = 1, .height = 1, .width = 1}, ESKER_ERR_INVALID, "65537 images"},
        {{.images = image, .n_images = 1, .channels = 2, .height = 1, .width = 1},
         ESKER_ERR_INVALID,
         "2 channels, 1 and 3"},
        {{.images = image, .n_images = 1, .channels = 1, .height = 0, .width = 2},
         ESKER_ERR_INVALID,
         "images of 2 x 0 pixels"},
        {{.images = image, .n_images = 1, .channels = 1, .height = 2, .width = 4097}, ESKER_ERR_INVALID, "4097 x 2 pixels"},
        {{.images = image, .n_images = 1, .channels = 1, .height = 2, .width = 2, .zoom = 17},
         ESKER_ERR_INVALID,
         "zoom 17"},
        {{.images = image, .n_images = 1, .channels = 1, .height = 2, .width = 2, .columns = -1},
         ESKER_ERR_INVALID,
         "columns -1"},
        {{.images = image, .n_images = 1, .channels = 1, .height = 2, .width = 2, .tones = odd_tone},
         ESKER_ERR_INVALID,
         "tone 7 of image 0"},
        {{.images = image, .n_images = 4, .channels = 1, .height = 1, .width = 4096, .zoom = 8},
         ESKER_ERR_LIMIT,
         "at most 32768 x 32768 are written"},
    };
    (void)state;
    char path[512], text[16] = "";
    snprintf(path, sizeof path, "%s/old.png", test_folder("picture"));
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs("precious", file) >= 0);
    assert_int_equal(fclose(file), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(esker_picture_write(path, &cases[i].desc), cases[i].status, cases[i].message);
    assert_fails(esker_picture_write(path, NULL), ESKER_ERR_INVALID, "desc is NULL");
    file = fopen(path, "rb");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_string_equal(text, "precious");
    assert_fails(esker_picture_write(NULL, &cases[0].desc), ESKER_ERR_INVALID, "the path is NULL");
    assert_fails(
        esker_picture_write("/proc/a.png",
                            &(esker_picture_desc){.images = image, .n_images = 1, .channels = 1, .height = 2, .width = 2}),
        ESKER_ERR_IO, "/proc/a.png: cannot be written");
}

#else

static void without_libpng_there_are_no_pictures(void **state)
{
    static const uint8_t image[1];
    (void)state;
    assert_fails(
        esker_picture_write("a.png",
                            &(esker_picture_desc){.images = image, .n_images = 1, .channels = 1, .height = 1, .width = 1}),
        ESKER_ERR_UNSUPPORTED, "a.png: pictures are PNG, and this library was built without libpng");
}

#endif

static void every_letter_has_a_shape_of_its_own(void **state)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.,:;!?'\"()/+=_%&#<>*| ";
    (void)state;
    const unsigned char *box = esker__glyph(0);
    for (size_t i = 0; i < sizeof letters - 1; i++) {
        const unsigned char *glyph = esker__glyph((unsigned char)letters[i]);
        assert_memory_not_equal(glyph, box, ESKER__GLYPH_HEIGHT);
        for (int row = 0; row < ESKER__GLYPH_HEIGHT; row++) assert_true(glyph[row] < 1 << ESKER__GLYPH_WIDTH);
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(glyph, esker__glyph((unsigned char)letters[k]), ESKER__GLYPH_HEIGHT);
    }
    for (int c = 1; c < 256; c++)
        if (!strchr(letters, c)) assert_ptr_equal(esker__glyph((unsigned char)c), box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef ESKER_HAVE_PNG
        cmocka_unit_test(pixels_frames_and_captions_are_where_they_belong),
        cmocka_unit_test(colors_are_planes),
        cmocka_unit_test(long_captions_are_small_and_cut),
        cmocka_unit_test(wrong_descriptions_leave_an_old_file_whole),
#else
        cmocka_unit_test(without_libpng_there_are_no_pictures),
#endif
        cmocka_unit_test(every_letter_has_a_shape_of_its_own),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
