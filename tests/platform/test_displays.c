/* Displays: extension lists, names, errors, choosing, and two users of one display. */
#include "support/test.h"

#include <stdio.h>

#include "egl.h"

static void tokens_match_whole(void **state)
{
    (void)state;
    static const struct {
        const char *list, *name;
        bool want;
    } cases[] = {
        {NULL, "EGL_A", false},
        {"", "EGL_A", false},
        {"EGL_A", "EGL_A", true},
        {"EGL_A ", "EGL_A", true},
        {" EGL_A", "EGL_A", true},
        {"EGL_AB", "EGL_A", false},
        {"XEGL_A", "EGL_A", false},
        {"EGL_AB EGL_A", "EGL_A", true},
        {"EGL_A_EGL_A EGL_B", "EGL_A", false},
        {"EGL_B EGL_A EGL_C", "EGL_A", true},
        {"EGL_B EGL_A2 EGL_C", "EGL_A", false},
        {"EGL_A", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (esker__has_token(cases[i].list, cases[i].name) != cases[i].want)
            fail_msg("\"%s\" in \"%s\": wanted %d", cases[i].name, cases[i].list ? cases[i].list : "(null)", cases[i].want);
}

static void good_names_parse(void **state)
{
    (void)state;
    esker__wish wish;
    assert_ok(esker__wish_parse("gbm:/dev/dri/renderD129", &wish));
    assert_int_equal(wish.kind, ESKER_DISPLAY_GBM);
    assert_string_equal(wish.node, "/dev/dri/renderD129");
    assert_false(wish.any_of_kind);
    assert_ok(esker__wish_parse("gbm", &wish));
    assert_true(wish.any_of_kind && wish.kind == ESKER_DISPLAY_GBM);
    assert_ok(esker__wish_parse("device:12", &wish));
    assert_true(!wish.any_of_kind && wish.kind == ESKER_DISPLAY_DEVICE && wish.index == 12);
    assert_ok(esker__wish_parse("surfaceless", &wish));
    assert_true(wish.kind == ESKER_DISPLAY_SURFACELESS);
    assert_ok(esker__wish_parse(NULL, &wish));
    assert_true(wish.any_kind);
}

static void bad_names_name_the_forms(void **state)
{
    (void)state;
    char long_name[400] = "gbm:/";
    memset(long_name + 5, 'x', 300);
    const char *const names[] = {
        "",          "x11",         "gbm:",         "gbm:renderD128", "device:", "device:-1", "device:1x", "device:99999",
        "device: 1", "Surfaceless", "surfaceless ", "surfaceless:0",  long_name};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        esker_device *dev = (esker_device *)&dev;
        assert_fails(esker_device_open(&(esker_device_desc){.display = names[i]}, &dev), ESKER_ERR_INVALID,
                     "gbm:/dev/dri/renderD128");
        assert_null(dev);
    }
    setenv("ESKER_DISPLAY", "wayland", 1);
    esker_device *dev;
    assert_fails(esker_device_open(NULL, &dev), ESKER_ERR_INVALID, "ESKER_DISPLAY: display \"wayland\"");
    unsetenv("ESKER_DISPLAY");
}

static void missing_places_say_what_failed(void **state)
{
    (void)state;
    esker_device *dev;
    assert_fails(esker_device_open(&(esker_device_desc){.display = "gbm:/dev/dri/renderD999"}, &dev), ESKER_ERR_NO_DEVICE,
                 "gbm:/dev/dri/renderD999: open: No such file");
    assert_fails(esker_device_open(&(esker_device_desc){.display = "device:77"}, &dev), ESKER_ERR_NO_DEVICE, "device:77");
    assert_fails(esker_device_open(&(esker_device_desc){.display = "gbm:/dev/null"}, &dev), ESKER_ERR_NO_DEVICE,
                 "gbm:/dev/null: not a DRM device node");
}

static void list_is_ordered_and_openable(void **state)
{
    (void)state;
    test_device(); /* skips where there is no display */
    esker_display_info infos[16];
    int n, n_chosen = 0;
    assert_ok(esker_display_list(infos, 16, &n));
    assert_true(n >= 1);
    for (int i = 0; i < n && i < 16; i++) {
        print_message("%s: %s %s\n", infos[i].name, infos[i].usable ? infos[i].renderer : infos[i].reason,
                      infos[i].chosen ? "(chosen)" : "");
        n_chosen += infos[i].chosen;
        assert_true(infos[i].usable == (infos[i].reason[0] == 0));
        assert_true(infos[i].usable == (infos[i].renderer[0] != 0));
        if (i > 0) {
            int before = infos[i - 1].usable ? infos[i - 1].software : 2, here = infos[i].usable ? infos[i].software : 2;
            assert_true(before <= here);
            if (before == here) assert_true(infos[i - 1].kind <= infos[i].kind);
        }
        if (!infos[i].usable) continue;
        esker_device *dev;
        esker_device_info info;
        assert_ok(esker_device_open(&(esker_device_desc){.display = infos[i].name}, &dev));
        esker_device_get_info(dev, &info);
        assert_string_equal(info.display.name, infos[i].name);
        assert_string_equal(info.display.renderer, infos[i].renderer);
        esker_device_unref(dev);
    }
    assert_int_equal(n_chosen, 1);
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    for (int i = 0; i < n && i < 16; i++)
        if (infos[i].chosen) assert_string_equal(infos[i].name, info.display.name);
    /* Capacity is only how many are written. */
    int again;
    assert_ok(esker_display_list(infos, 1, &again));
    assert_int_equal(again, n);
}

static void list_follows_the_environment(void **state)
{
    (void)state;
    test_device();
    esker_display_info infos[16];
    int n;
    assert_ok(esker_display_list(infos, 16, &n));
    int last = -1;
    for (int i = 0; i < n && i < 16; i++)
        if (infos[i].usable) last = i;
    char name[ESKER_NAME_BYTES];
    strcpy(name, infos[last].name);
    setenv("ESKER_DISPLAY", name, 1);
    assert_ok(esker_display_list(infos, 16, &n));
    for (int i = 0; i < n && i < 16; i++) assert_int_equal(infos[i].chosen, !strcmp(infos[i].name, name));
    esker_device *dev;
    assert_ok(esker_device_open(NULL, &dev));
    esker_device_info info;
    esker_device_get_info(dev, &info);
    assert_string_equal(info.display.name, name);
    esker_device_unref(dev);
    setenv("ESKER_DISPLAY", "gbm:/dev/dri/renderD999", 1);
    assert_ok(esker_display_list(infos, 16, &n));
    bool found = false;
    for (int i = 0; i < n && i < 16; i++) {
        if (strcmp(infos[i].name, "gbm:/dev/dri/renderD999") != 0) continue;
        found = true;
        assert_false(infos[i].usable);
        assert_non_null(strstr(infos[i].reason, "open: No such file"));
    }
    assert_true(found);
    unsetenv("ESKER_DISPLAY");
}

static void two_devices_share_a_display(void **state)
{
    (void)state;
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    esker_device *a, *b;
    const esker_device_desc desc = {.display = info.display.name};
    assert_ok(esker_device_open(&desc, &a));
    assert_ok(esker_device_open(&desc, &b));
    assert_ok(esker_device_finish(a));
    assert_ok(esker_device_finish(b));
    esker_device_unref(a); /* must not end the display under b, nor under the test's own device */
    assert_ok(esker_device_finish(b));
    assert_non_null(eglQueryString(eglGetCurrentDisplay(), EGL_VERSION));
    esker_device_unref(b);
    assert_ok(esker_device_finish(test_device()));
}

static void listing_leaves_the_current_context(void **state)
{
    (void)state;
    assert_ok(esker_device_finish(test_device()));
    EGLContext before = eglGetCurrentContext();
    assert_ptr_not_equal(before, EGL_NO_CONTEXT);
    int n;
    esker_display_info info;
    assert_ok(esker_display_list(&info, 1, &n));
    assert_ptr_equal(eglGetCurrentContext(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_match_whole),           cmocka_unit_test(good_names_parse),
        cmocka_unit_test(bad_names_name_the_forms),     cmocka_unit_test(missing_places_say_what_failed),
        cmocka_unit_test(list_is_ordered_and_openable), cmocka_unit_test(list_follows_the_environment),
        cmocka_unit_test(two_devices_share_a_display),  cmocka_unit_test(listing_leaves_the_current_context),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
