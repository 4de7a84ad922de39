/* device test: kernels compile or say where they fail, are found again, and their binaries are kept, checked and replaced.
 */
#include "gpu/kernels.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/internal.h"

/* A device of its own with an empty cache; `folder` is test_folder()'s, which has room for one, so it is copied. */
struct fixture {
    esker_device *dev;
    char glsl[1024], cache[1100];
};

static void fixture_open(struct fixture *f, const char *name)
{
    test_device();
    snprintf(f->glsl, sizeof f->glsl, "%s", test_kernel_folder(name));
    snprintf(f->cache, sizeof f->cache, "%s/cache/two-deep", f->glsl);
    assert_ok(esker_device_open(&(esker_device_desc){.cache_dir = f->cache}, &f->dev));
}

static void fixture_reopen(struct fixture *f)
{
    esker_device_unref(f->dev);
    assert_ok(esker_device_open(&(esker_device_desc){.cache_dir = f->cache}, &f->dev));
}

static void fixture_close(struct fixture *f)
{
    esker_device_unref(f->dev);
    unsetenv("ESKER_GLSL_DIR");
}

static esker_counters counters(const struct fixture *f)
{
    esker_counters c;
    esker_device_get_counters(f->dev, &c);
    return c;
}

static bool keeps_binaries(const struct fixture *f)
{
    esker_device_info info;
    esker_device_get_info(f->dev, &info);
    return info.program_binary;
}

/* The one file of the cache; fails unless there is exactly one. */
static void cache_file(const struct fixture *f, char *out, size_t room)
{
    int n = 0;
    DIR *dir = opendir(f->cache);
    assert_non_null(dir);
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.') continue;
        snprintf(out, room, "%s/%s", f->cache, entry->d_name);
        n++;
    }
    closedir(dir);
    assert_int_equal(n, 1);
}

static void asking_again_is_a_look_up(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "kernel-again");
    const esker__kernel *a, *b, *c;
    assert_ok(esker__kernel_get(f.dev, "scale", "SCALE 3u\n", &a));
    esker_counters before = counters(&f);
    assert_ok(esker__kernel_get(f.dev, "scale", "SCALE 3u\n", &b));
    esker_counters after = counters(&f);
    assert_ptr_equal(a, b);
    assert_string_equal(esker__kernel_name(a), "scale");
    assert_int_equal(after.compiles, before.compiles);
    assert_int_equal(after.gl_objects, before.gl_objects);
    assert_int_equal(after.heap_allocations, before.heap_allocations);
    assert_ok(esker__kernel_get(f.dev, "scale", "SCALE 4u\n", &c));
    assert_ptr_not_equal(a, c);
    /* "" and NULL are the same; the table grows past its first size and still finds everything. */
    assert_ok(esker__kernel_get(f.dev, "scale", "", &b));
    assert_ok(esker__kernel_get(f.dev, "scale", NULL, &c));
    assert_ptr_equal(b, c);
    for (int i = 0; i < 70; i++) {
        char defines[32];
        snprintf(defines, sizeof defines, "SCALE %du\n", 100 + i);
        assert_ok(esker__kernel_get(f.dev, "scale", defines, &c));
    }
    assert_ok(esker__kernel_get(f.dev, "scale", "SCALE 3u\n", &b));
    assert_ptr_equal(a, b);
    assert_int_equal(counters(&f).compiles, 73);
    fixture_close(&f);
}

static void names_are_checked(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "kernel-names");
    static const char *const bad[] = {"", "/etc/passwd", "../scale", "a b", "scale.comp", "scale.glsl"};
    const esker__kernel *kernel;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(esker__kernel_get(f.dev, bad[i], "", &kernel), ESKER_ERR_INVALID, "no kernel name");
    assert_fails(esker__kernel_get(f.dev, "no/such", "", &kernel), ESKER_ERR_INVALID, "glsl/no/such.comp");
    assert_null(kernel);
    fixture_close(&f);
}

#define HEAD "#version 310 es\n"
#define BODY_FROM_LINE_2 \
    "precision highp float;\nlayout(local_size_x = 1) in;\nlayout(std430, binding = 0) buffer B { float b[]; };\n"

static const struct broken_case {
    const char *name, *text, *defines, *want;
    esker_status status;
} broken[] = {
    {"an unknown name on line 6", HEAD BODY_FROM_LINE_2 "void main() {\n    b[0] = missing;\n}\n", "", "broken.comp:6",
     ESKER_ERR_COMPILE},
    {"the same with defines, which take no lines", HEAD BODY_FROM_LINE_2 "void main() {\n    b[0] = missing;\n}\n",
     "A 1\nB_ 2\nC 3\n", "broken.comp:6 with A 1;B_ 2;C 3: ", ESKER_ERR_COMPILE},
    {"an error in a define's value", HEAD BODY_FROM_LINE_2 "void main() {\n    b[0] = VALUE;\n}\n", "VALUE nothing_known\n",
     "broken.comp:6", ESKER_ERR_COMPILE},
    {"no version line", "void main() {}\n", "", "broken.comp:1: the first line must be #version", ESKER_ERR_COMPILE},
    {"an empty file", "", "", "broken.comp:1", ESKER_ERR_COMPILE},
    {"a binding beyond any launch",
     HEAD
     "layout(local_size_x = 1) in;\nlayout(std430, binding = 16) buffer Far { float b[]; };\nvoid main() { b[0] = 1.0; }\n",
     "", NULL, ESKER_OK},
    {"two blocks on one binding",
     HEAD "layout(local_size_x = 1) in;\nlayout(std430, binding = 0) buffer A { float a[]; };\n"
          "layout(std430, binding = 0) buffer B { float b[]; };\nvoid main() { b[0] = a[1]; }\n",
     "", "same binding", ESKER_ERR_COMPILE},
};

/* The same of kernels that include a piece. */
static const struct {
    const char *piece, *text, *want;
    esker_status status;
} pieces[] = {
    {"float given() { return 1.0; }\nfloat more() { return missing; }\n",
     HEAD BODY_FROM_LINE_2 "#include \"piece\"\nvoid main() { b[0] = given(); }\n", "piece.glsl:2: ", ESKER_ERR_COMPILE},
    {"float given() { return 1.0; }\n\n\n\n",
     HEAD BODY_FROM_LINE_2 "#include \"piece\"\nvoid main() {\n    b[0] = given() + missing;\n}\n",
     "broken.comp:7: ", ESKER_ERR_COMPILE},
    {"float given@() { return missing@; }\n",
     HEAD BODY_FROM_LINE_2 "#include \"piece\" 7\nvoid main() { b[0] = given7(); }\n", "missing7", ESKER_ERR_COMPILE},
    {"", HEAD BODY_FROM_LINE_2 "#include \"no/such\"\nvoid main() {}\n", "glsl/no/such.glsl", ESKER_ERR_INVALID},
};

static void broken_sources_name_file_and_line(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "kernel-broken");
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        const struct broken_case *c = &broken[i];
        test_write_text(f.glsl, "broken.comp", c->text);
        const esker__kernel *kernel = (const esker__kernel *)c;
        esker_status st = esker__kernel_get(f.dev, "broken", c->defines, &kernel);
        assert_null(kernel);
        if (c->want) {
            if (st != c->status || !strstr(esker_last_error(), c->want))
                fail_msg("%s: got %s \"%s\"", c->name, esker_status_name(st), esker_last_error());
        } else {
            assert_true(st != ESKER_OK); /* by the driver or by us, as its limits have it */
        }
        /* A failure leaves neither a table entry nor an error behind. */
        assert_ok(esker__gl_check(f.dev, c->name));
    }
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        const esker__kernel *kernel;
        test_write_text(f.glsl, "piece.glsl", pieces[i].piece);
        test_write_text(f.glsl, "broken.comp", pieces[i].text);
        assert_fails(esker__kernel_get(f.dev, "broken", "", &kernel), pieces[i].status, pieces[i].want);
    }
    test_write_text(f.glsl, "piece.glsl", "float given() { return 1.0; }\n");
    test_write_text(f.glsl, "broken.comp",
                    HEAD BODY_FROM_LINE_2 "#include \"piece\"\nvoid main() {\n    b[0] = given();\n}\n");
    const esker__kernel *kernel;
    assert_ok(esker__kernel_get(f.dev, "broken", "", &kernel));
    assert_int_equal(kernel->storage_mask, 1);
    assert_int_equal(kernel->uniform_mask, 0);
    fixture_close(&f);
}

/* Drivers that are not at hand. The shapes are written from memory of their logs, and none was run: what matters is that each is read. */
static void error_lines_are_found_in_all_dialects(void **state)
{
    (void)state;
    static const struct {
        const char *log;
        int want;
    } cases[] = {
        {"0:12(5): error: `x' undeclared", 12},                                         /* Mesa */
        {"0:3(1): warning: unused\n0:9(2): error: `y' undeclared\n", 9},                /* a warning comes first */
        {"0(17) : error C1503: undefined variable \"x\"", 17},                          /* NVIDIA */
        {"ERROR: 0:21: 'x' : undeclared identifier\nERROR: 1 compilation errors.", 21}, /* Adreno, PowerVR, ANGLE */
        {"0:8: L0002: Undeclared variable 'x'", 8},                                     /* Mali */
        {"10:30: error: of another source", 0},
        {"Compile failed.", 0},
        {"", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int got = esker__compile_error_line(cases[i].log);
        if (got != cases[i].want) fail_msg("\"%s\": line %d, want %d", cases[i].log, got, cases[i].want);
    }
}

static void kernels_keep_to_the_limits(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "kernel-limits");
    esker_device_unref(f.dev);
    assert_ok(esker_device_open(&(esker_device_desc){.limits = "es31", .cache_dir = f.cache}, &f.dev));
    test_write_text(f.glsl, "wide.comp",
                    HEAD "layout(local_size_x = 129) in;\nlayout(std430, binding = 0) buffer B { uint b[]; };\n"
                         "void main() { b[gl_GlobalInvocationID.x] = 1u; }\n");
    test_write_text(f.glsl, "five.comp",
                    HEAD "layout(local_size_x = 1) in;\nlayout(std430, binding = 0) buffer A { uint a[]; };\n"
                         "layout(std430, binding = 4) buffer Fifth { uint b[]; };\nvoid main() { b[0] = a[0]; }\n");
    const esker__kernel *kernel;
    esker_device_info info;
    esker_device_get_info(f.dev, &info);
    if (info.native_limits.group_invocations > 128)
        assert_fails(esker__kernel_get(f.dev, "wide", "", &kernel), ESKER_ERR_LIMIT, "129 x 1 x 1");
    if (info.native_limits.storage_blocks > 4)
        assert_fails(esker__kernel_get(f.dev, "five", "", &kernel), ESKER_ERR_LIMIT, "\"Fifth\" has binding 4");
    fixture_close(&f);
}

static void binaries_are_found_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "kernel-cache");
    const esker__kernel *kernel;
    assert_ok(esker__kernel_get(f.dev, "scale", "SCALE 3u\n", &kernel));
    assert_int_equal(counters(&f).binary_hits, 0);
    if (!keeps_binaries(&f)) {
        fixture_close(&f);
        skip();
    }
    uint32_t storage = kernel->storage_mask, texels = kernel->texel_mask, uniform = kernel->uniform_mask,
             bytes = kernel->uniform_bytes[0];
    fixture_reopen(&f);
    assert_ok(esker__kernel_get(f.dev, "scale", "SCALE 3u\n", &kernel));
    assert_int_equal(counters(&f).compiles, 1);
    assert_int_equal(counters(&f).binary_hits, 1);
    assert_int_equal(kernel->storage_mask, storage);
    assert_int_equal(kernel->texel_mask, texels);
    assert_int_equal(kernel->uniform_mask, uniform);
    assert_int_equal(kernel->uniform_bytes[0], bytes);
    assert_int_equal(storage | texels, 3);
    assert_int_equal(uniform, 1);
    /* Other defines, and the same name with another text, are other programs. */
    assert_ok(esker__kernel_get(f.dev, "scale", "SCALE 4u\n", &kernel));
    assert_int_equal(counters(&f).binary_hits, 1);
    fixture_reopen(&f);
    char text[sizeof kernel_scale + 20];
    snprintf(text, sizeof text, "%s// changed\n", kernel_scale);
    test_write_text(f.glsl, "scale.comp", text);
    assert_ok(esker__kernel_get(f.dev, "scale", "SCALE 3u\n", &kernel));
    assert_int_equal(counters(&f).binary_hits, 0);
    fixture_close(&f);
}

/* What is done to the file: bytes written over at `at` (from the end if negative), or a cut to `keep` bytes. */
static const struct damage_case {
    const char *name;
    long at, keep;
    const char *bytes;
    const char *want; /* what the log says */
} damages[] = {
    {"a flipped byte in the binary", -3, -1, "\x5a", "checksum"},
    {"a flipped byte in the source", 120, -1, "\x01", "checksum"},
    {"another magic word", 0, -1, "ELF!", "no program binary of ours"},
    {"another version", 4, -1, "\x63", "another version"},
    {"cut in half", 0, 300, "", "length"},
    {"cut inside the header", 0, 20, "", "too short"},
    {"empty", 0, 0, "", "too short"},
};

static void damage(const char *path, const struct damage_case *c)
{
    if (c->keep >= 0) {
        assert_int_equal(truncate(path, c->keep), 0);
        return;
    }
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, c->at, c->at < 0 ? SEEK_END : SEEK_SET), 0);
    assert_int_equal(fwrite(c->bytes, 1, strlen(c->bytes), file), strlen(c->bytes));
    assert_int_equal(fclose(file), 0);
}

struct heard {
    const char *want;
    int n;
};

static void listen(esker_log_level level, const char *message, void *user)
{
    struct heard *heard = user;
    (void)level;
    heard->n += strstr(message, heard->want) != NULL;
}

/* Load with a listener: was the binary used, and was `want` said? */
static void get_and_expect(struct fixture *f, const char *name, const char *want)
{
    const esker__kernel *kernel;
    struct heard heard = {.want = want};
    esker_log_set(listen, &heard, ESKER_LOG_DEBUG);
    esker_status st = esker__kernel_get(f->dev, "scale", "", &kernel);
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
    assert_ok(st);
    if (counters(f).binary_hits != 0) fail_msg("%s: the file was used", name);
    if (heard.n != 1) fail_msg("%s: \"%s\" was said %d times", name, want, heard.n);
}

static void bad_files_are_ignored_and_replaced(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "kernel-damage");
    const esker__kernel *kernel;
    assert_ok(esker__kernel_get(f.dev, "scale", "", &kernel));
    if (!keeps_binaries(&f)) {
        fixture_close(&f);
        skip();
    }
    char path[2048];
    cache_file(&f, path, sizeof path);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        damage(path, &damages[i]);
        fixture_reopen(&f);
        get_and_expect(&f, damages[i].name, damages[i].want);
        cache_file(&f, path, sizeof path);
        fixture_reopen(&f);
        assert_ok(esker__kernel_get(f.dev, "scale", "", &kernel));
        if (counters(&f).binary_hits != 1) fail_msg("%s: the file was not replaced", damages[i].name);
    }
    fixture_close(&f);
}

/* A whole and valid file, whose binary the driver does not know: the source way must take over. */
static void foreign_binaries_fall_back(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "kernel-foreign");
    if (!keeps_binaries(&f)) {
        fixture_close(&f);
        skip();
    }
    const esker__kernel *kernel;
    assert_ok(esker__kernel_get(f.dev, "scale", "", &kernel));
    char path[2048], text[sizeof kernel_scale + 32];
    size_t n_version = strcspn(kernel_scale, "\n") + 1;
    int n = snprintf(text, sizeof text, "%.*s#line 2\n%s", (int)n_version, kernel_scale, kernel_scale + n_version);
    static const struct {
        const char *name;
        uint32_t format;
        bool bytes_of_zero;
        uint32_t other_masks;
    } cases[] = {
        {"an unknown format", 0x1234, false, 0},
        {"bytes of zero in a known format", 0, true, 0},
        {"other bindings than the program has", 0, false, 6},
    };
    esker__text as_compiled = {0};
    esker__texel_blocks blocks;
    if (f.dev->texels)
        esker__texel_source(text, &as_compiled, &blocks);
    else
        esker__text_add_bytes(&as_compiled, text, (size_t)n);
    GLint formats[8] = {0}, n_formats = 0, n_bytes = 0;
    glGetIntegerv(GL_NUM_PROGRAM_BINARY_FORMATS, &n_formats);
    assert_in_range(n_formats, 1, 8);
    glGetIntegerv(GL_PROGRAM_BINARY_FORMATS, formats);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        glGetProgramiv(kernel->program, GL_PROGRAM_BINARY_LENGTH, &n_bytes);
        unsigned char *bytes = calloc(1, (size_t)n_bytes);
        GLenum format;
        GLsizei got = n_bytes;
        if (!cases[i].bytes_of_zero) glGetProgramBinary(kernel->program, n_bytes, &got, &format, bytes);
        esker__binary binary = {.bytes = bytes,
                                .n_bytes = (uint32_t)got,
                                .format = cases[i].format ? cases[i].format : (uint32_t)formats[0],
                                .storage_mask = kernel->storage_mask ^ cases[i].other_masks,
                                .uniform_mask = 1,
                                .texel_mask = kernel->texel_mask};
        esker__cache_store(f.dev, as_compiled.chars, as_compiled.n_chars, &binary);
        free(bytes);
        cache_file(&f, path, sizeof path); /* the same name as before: it was the same text */
        fixture_reopen(&f);
        get_and_expect(&f, cases[i].name, "does not take");
        fixture_reopen(&f);
        assert_ok(esker__kernel_get(f.dev, "scale", "", &kernel));
        if (counters(&f).binary_hits != 1) fail_msg("%s: the file was not replaced", cases[i].name);
    }
    /* The same file under another driver's name. */
    f.dev->driver[0] ^= 1;
    esker__binary binary;
    assert_false(esker__cache_load(f.dev, as_compiled.chars, as_compiled.n_chars, &binary));
    esker__text_finish(&as_compiled);
    fixture_close(&f);
}

static void an_unwritable_folder_only_logs(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "kernel-unwritable");
    if (!keeps_binaries(&f)) {
        fixture_close(&f);
        skip();
    }
    /* A file where a folder should be: refused for root as well, whom modes do not stop. */
    char dir[1100];
    snprintf(dir, sizeof dir, "%s/scale.comp/cache", f.glsl);
    esker_device_unref(f.dev);
    assert_ok(esker_device_open(&(esker_device_desc){.cache_dir = dir}, &f.dev));
    struct heard heard = {.want = "not kept"};
    const esker__kernel *kernel;
    esker_log_set(listen, &heard, ESKER_LOG_DEBUG);
    esker_status first = esker__kernel_get(f.dev, "scale", "", &kernel);
    esker_status second = esker__kernel_get(f.dev, "scale", "SCALE 2u\n", &kernel);
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
    assert_ok(first);
    assert_ok(second);
    assert_int_equal(heard.n, 1); /* not once a kernel */
    fixture_close(&f);
}

static void the_cache_folder_is_chosen_in_order(void **state)
{
    (void)state;
    const char *old = getenv("ESKER_CACHE_DIR");
    char *kept = old ? strdup(old) : NULL, *dir;
    setenv("ESKER_CACHE_DIR", "/c/esker", 1);
    setenv("XDG_CACHE_HOME", "/x", 1);
    setenv("HOME", "/h", 1);
    static const struct {
        const char *wanted, *unset, *want;
    } cases[] = {
        {"/mine", NULL, "/mine"},
        {"", NULL, ""},
        {NULL, NULL, "/c/esker"},
        {NULL, "ESKER_CACHE_DIR", "/x/esker"},
        {NULL, "XDG_CACHE_HOME", "/h/.cache/esker"},
        {NULL, "HOME", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (cases[i].unset) unsetenv(cases[i].unset);
        assert_ok(esker__cache_dir(cases[i].wanted, &dir));
        assert_string_equal(dir, cases[i].want);
        free(dir);
    }
    if (kept) setenv("ESKER_CACHE_DIR", kept, 1);
    free(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asking_again_is_a_look_up),          cmocka_unit_test(names_are_checked),
        cmocka_unit_test(broken_sources_name_file_and_line),  cmocka_unit_test(error_lines_are_found_in_all_dialects),
        cmocka_unit_test(kernels_keep_to_the_limits),         cmocka_unit_test(binaries_are_found_again),
        cmocka_unit_test(bad_files_are_ignored_and_replaced), cmocka_unit_test(foreign_binaries_fall_back),
        cmocka_unit_test(an_unwritable_folder_only_logs),     cmocka_unit_test(the_cache_folder_is_chosen_in_order),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
