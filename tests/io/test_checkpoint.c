/* Checkpoints: round trips, every way a file can be wrong, and old files that stay whole. Needs no device. */
#include <esker/checkpoint.h>

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "support/test.h"

static esker_model *new_model(void)
{
    esker_model *net;
    assert_ok(esker_model_create(&net));
    assert_ok(esker_model_set_name(net, "small"));
    esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {1, 5, 5}});
    x = esker_relu(esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 3, .kernel = {3, 3}}));
    x = esker_layer_linear(net, esker_flatten(x), &(esker_layer_linear_desc){.features = 2});
    assert_ok(esker_model_output(net, x));
    assert_ok(esker_params_init_values(esker_model_get_params(net), test_seed()));
    return net;
}

#ifdef ESKER_HAVE_CJSON

static void in_folder(char path[512], const char *name)
{
    snprintf(path, 512, "%s/%s", test_folder("checkpoint"), name);
}

static void write_file(const char *path, const void *data, size_t n_bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fwrite(data, 1, n_bytes, file) == n_bytes);
    assert_int_equal(fclose(file), 0);
}

static void assert_file_is(const char *path, const void *want, size_t n_bytes)
{
    unsigned char *data;
    size_t n_got;
    assert_ok(esker__file_read(path, (size_t)1 << 24, &data, &n_got));
    assert_int_equal(n_got, n_bytes);
    assert_memory_equal(data, want, n_bytes);
    esker__free(data);
}

static void assert_same_weights(esker_model *a, esker_model *b)
{
    esker_params *mine = esker_model_get_params(a), *its = esker_model_get_params(b);
    assert_int_equal(esker_params_count(mine), esker_params_count(its));
    for (int i = 0; i < esker_params_count(mine); i++) {
        float x[64], y[64];
        esker_param_info info, other;
        assert_ok(esker_params_get_info(mine, i, &info));
        assert_ok(esker_params_get_info(its, i, &other));
        assert_string_equal(info.name, other.name);
        assert_ok(esker_params_read(mine, i, x, info.n_elems));
        assert_ok(esker_params_read(its, i, y, info.n_elems));
        assert_memory_equal(x, y, (size_t)info.n_elems * sizeof *x); /* bits: NaN and -0 too */
    }
}

static void what_is_saved_loads_and_saves_the_same_bytes(void **state)
{
    (void)state;
    char path[512], again[512];
    in_folder(path, "a.safetensors");
    snprintf(again, sizeof again, "%.*sb.safetensors", (int)(strlen(path) - strlen("a.safetensors")), path);
    esker_model *net = new_model(), *loaded;
    float odd[3] = {NAN, -0.0f, INFINITY};
    assert_ok(esker_params_write(esker_model_get_params(net), 1, odd, 3));
    assert_ok(esker_model_set_metadata(net, "esker.step", "1200"));
    assert_ok(esker_model_set_metadata(net, "note", "quote \" backslash \\ tab \t \xc3\xa9 \xf0\x9f\x98\x80"));
    assert_ok(esker_model_save(net, path));
    assert_ok(esker_model_load(path, &loaded));
    assert_same_weights(net, loaded);
    assert_int_equal(esker_model_metadata_count(loaded), 2);
    assert_string_equal(esker_model_get_metadata(loaded, "esker.step"), "1200");
    assert_string_equal(esker_model_get_metadata(loaded, "note"), "quote \" backslash \\ tab \t \xc3\xa9 \xf0\x9f\x98\x80");
    assert_ok(esker_model_save(loaded, again));
    unsigned char *bytes;
    size_t n_bytes;
    assert_ok(esker__file_read(path, (size_t)1 << 24, &bytes, &n_bytes));
    assert_file_is(again, bytes, n_bytes);
    uint64_t n_header;
    memcpy(&n_header, bytes, 8);
    assert_int_equal(n_header % 8, 0);
    assert_int_equal(n_bytes, 8 + n_header + 4 * (27 + 3 + 54 + 2));
    esker__free(bytes);
    esker_model_destroy(loaded);
    esker_model_destroy(net);
}

static void weights_go_into_a_model_that_exists(void **state)
{
    (void)state;
    char path[512];
    in_folder(path, "a.safetensors");
    esker_model *net = new_model(), *other = new_model();
    assert_ok(esker_params_init_values(esker_model_get_params(other), 99));
    assert_ok(esker_model_set_metadata(other, "mine", "yes"));
    assert_ok(esker_model_set_metadata(net, "its", "yes"));
    assert_ok(esker_model_save(net, path));
    assert_ok(esker_model_load_weights(other, path));
    assert_same_weights(net, other);
    assert_int_equal(esker_model_metadata_count(other), 1);
    assert_string_equal(esker_model_get_metadata(other, "mine"), "yes");
    esker_model_destroy(other);
    esker_model_destroy(net);
}

/* ---- Wrong files: a header, and how many bytes of data follow ---- */

#define T(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define CONV_W T("conv1.weight", "F32", "[3,1,3,3]", "[0,108]")
#define CONV_B T("conv1.bias", "F32", "[3]", "[108,120]")
#define FC_W   T("fc1.weight", "F32", "[2,27]", "[120,336]")
#define FC_B   T("fc1.bias", "F32", "[2]", "[336,344]")
#define ALL    CONV_W "," CONV_B "," FC_W "," FC_B

static const struct wrong_file {
    const char *name, *header;
    int n_data;
    esker_status status;
    const char *message;
} wrong_files[] = {
    {"no JSON", "{\"a\" 1}", 0, ESKER_ERR_FORMAT, "not JSON: line 1, column"},
    {"an empty header", "", 0, ESKER_ERR_FORMAT, "not JSON: line 1, column 1: unexpected the end"},
    {"a list", "[1]", 0, ESKER_ERR_FORMAT, "the header is not a JSON object"},
    {"metadata of another type", "{\"__metadata__\":[]}", 0, ESKER_ERR_FORMAT, "__metadata__ is not an object"},
    {"a number in the metadata", "{\"__metadata__\":{\"step\":5}}", 0, ESKER_ERR_FORMAT,
     "__metadata__: step is 5, not a text"},
    {"a tensor of another type", "{\"x\":5}", 0, ESKER_ERR_FORMAT,
     "tensor x: dtype (a text), shape and data_offsets (lists)"},
    {"no dtype", "{\"x\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ESKER_ERR_FORMAT, "tensor x: dtype (a text)"},
    {"no offsets", "{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, ESKER_ERR_FORMAT, "tensor x: dtype (a text)"},
    {"unknown dtype", "{" T("x", "F31", "[1]", "[0,4]") "}", 4, ESKER_ERR_FORMAT, "tensor x: unknown dtype \"F31\""},
    {"negative size", "{" T("x", "F32", "[-1]", "[0,4]") "}", 4, ESKER_ERR_FORMAT,
     "tensor x: shape [-1] is not a list of sizes"},
    {"a fraction of a size", "{" T("x", "F32", "[1.5]", "[0,4]") "}", 4, ESKER_ERR_FORMAT, "shape [1.5] is not a list"},
    {"seven axes", "{" T("x", "F32", "[1,1,1,1,1,1,1]", "[0,4]") "}", 4, ESKER_ERR_LIMIT, "tensor x has 7 axes, at most 6"},
    {"more bytes than can be", "{" T("x", "F32", "[4294967296,4294967296]", "[0,4]") "}", 4, ESKER_ERR_FORMAT,
     "more bytes than 64 bits count"},
    {"offsets that do not fit the shape", "{" T("x", "F32", "[3]", "[0,8]") "}", 8, ESKER_ERR_FORMAT,
     "tensor x: F32 [3] has 12 bytes, its data_offsets [0, 8] say 8"},
    {"offsets backwards", "{" T("x", "F32", "[1]", "[4,0]") "}", 4, ESKER_ERR_FORMAT,
     "data_offsets [4, 0] are not [begin, end]"},
    {"three offsets", "{" T("x", "F32", "[1]", "[0,4,8]") "}", 4, ESKER_ERR_FORMAT, "data_offsets [0, 4, 8] are not"},
    {"one offset", "{" T("x", "F32", "[1]", "[0]") "}", 4, ESKER_ERR_FORMAT, "data_offsets [0] are not"},
    {"negative offset", "{" T("x", "F32", "[1]", "[-4,0]") "}", 4, ESKER_ERR_FORMAT, "data_offsets [-4, 0] are not"},
    {"out of the file", "{" T("x", "F32", "[2]", "[0,8]") "}", 7, ESKER_ERR_FORMAT,
     "tensor x: ends at byte 8, the file has 7 bytes of data"},
    {"overlap", "{" T("x", "F32", "[2]", "[0,8]") "," T("y", "F32", "[2]", "[4,12]") "}", 12, ESKER_ERR_FORMAT,
     "tensors x and y overlap: one ends at byte 8, the other begins at 4"},
    {"the same bytes twice", "{" T("x", "F32", "[2]", "[0,8]") "," T("y", "F32", "[2]", "[0,8]") "}", 8, ESKER_ERR_FORMAT,
     "overlap"},
    {"a gap in front", "{" T("x", "F32", "[1]", "[4,8]") "}", 8, ESKER_ERR_FORMAT,
     "4 bytes before tensor x belong to no tensor"},
    {"a gap between", "{" T("x", "F32", "[1]", "[0,4]") "," T("y", "F32", "[1]", "[8,12]") "}", 12, ESKER_ERR_FORMAT,
     "4 bytes before tensor y"},
    {"bytes after the last", "{" T("x", "F32", "[1]", "[0,4]") "}", 9, ESKER_ERR_FORMAT,
     "the tensors have 4 bytes, the file has 9 bytes of data"},
    {"a name twice", "{" T("x", "F32", "[1]", "[0,4]") "," T("x", "F32", "[1]", "[4,8]") "}", 8, ESKER_ERR_FORMAT,
     "the key \"x\" occurs twice"},
    /* Right by itself, but not this model's */
    {"a tensor is missing", "{" CONV_W "," CONV_B "," FC_W "}", 336, ESKER_ERR_FORMAT,
     "the model's parameter fc1.bias [2] is missing among 3 tensors"},
    {"a tensor too many", "{" ALL "," T("fc2.bias", "F32", "[1]", "[344,348]") "}", 348, ESKER_ERR_FORMAT,
     "tensor fc2.bias is no parameter of the model, which has 4"},
    {"another shape", "{" CONV_W "," CONV_B "," T("fc1.weight", "F32", "[27,2]", "[120,336]") "," FC_B "}", 344,
     ESKER_ERR_FORMAT, "tensor fc1.weight is [27, 2], the model's is [2, 27]"},
    {"another type",
     "{" CONV_W "," CONV_B
     "," T("fc1.weight", "BF16", "[2,27]", "[120,228]") "," T("fc1.bias", "F32", "[2]", "[228,236]") "}",
     236, ESKER_ERR_UNSUPPORTED, "tensor fc1.weight is of type BF16, only F32 is read"},
};

static void write_parts(const char *path, uint64_t n_said, const char *header, int n_data)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fwrite(&n_said, 8, 1, file) == 1);
    assert_true(fwrite(header, 1, strlen(header), file) == strlen(header));
    for (int i = 0; i < n_data; i++) assert_true(fputc(i, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void each_wrong_file_has_its_message(void **state)
{
    const struct wrong_file *c = *state;
    char path[512];
    in_folder(path, "wrong.safetensors");
    write_parts(path, strlen(c->header), c->header, c->n_data);
    esker_model *net = new_model(), *before = new_model(), *loaded;
    assert_fails(esker_model_load_weights(net, path), c->status, c->message);
    assert_non_null(strstr(esker_last_error(), "wrong.safetensors: "));
    assert_same_weights(net, before);
    /* As a checkpoint too: what is wrong with the file itself is found first, then that there is no model. */
    esker_status st = esker_model_load(path, &loaded);
    assert_true(st == ESKER_ERR_FORMAT || st == ESKER_ERR_LIMIT);
    assert_null(loaded);
    esker_model_destroy(before);
    esker_model_destroy(net);
}

static void weights_alone_are_no_checkpoint(void **state)
{
    (void)state;
    char path[512];
    in_folder(path, "weights.safetensors");
    write_parts(path, strlen("{" ALL "}"), "{" ALL "}", 344);
    esker_model *net = new_model(), *loaded;
    assert_ok(esker_model_load_weights(net, path));
    float bias[2];
    assert_ok(esker_params_read(esker_model_get_params(net), 3, bias, 2));
    unsigned char bytes[8];
    memcpy(bytes, bias, 8);
    for (int i = 0; i < 8; i++) assert_int_equal(bytes[i], (336 + i) & 255); /* the file counts its bytes */
    assert_fails(esker_model_load(path, &loaded), ESKER_ERR_FORMAT, "no esker.model in its metadata");
    esker_model_destroy(net);
}

static void a_wrong_model_inside_is_told(void **state)
{
    (void)state;
    char path[512];
    const char *header = "{\"__metadata__\":{\"esker.model\":\"{\\\"layers\\\":[]}\"}}";
    esker_model *loaded;
    in_folder(path, "wrong.safetensors");
    write_parts(path, strlen(header), header, 0);
    assert_fails(esker_model_load(path, &loaded), ESKER_ERR_FORMAT, "wrong.safetensors: key \"input\" is missing");
    assert_null(loaded);
}

static void lengths_are_checked(void **state)
{
    (void)state;
    char path[512];
    esker_model *loaded;
    in_folder(path, "wrong.safetensors");
    write_file(path, "", 0);
    assert_fails(esker_model_load(path, &loaded), ESKER_ERR_FORMAT, "0 bytes, a safetensors file begins with 8");
    write_file(path, "1234567", 7);
    assert_fails(esker_model_load(path, &loaded), ESKER_ERR_FORMAT, "7 bytes, a safetensors file begins with 8");
    write_parts(path, 100000001, "{}", 0);
    assert_fails(esker_model_load(path, &loaded), ESKER_ERR_FORMAT,
                 "the header's length is 100000001 bytes, at most 100000000 are possible");
    write_parts(path, UINT64_MAX, "{}", 0);
    assert_fails(esker_model_load(path, &loaded), ESKER_ERR_FORMAT, "the header's length is 18446744073709551615 bytes");
    write_parts(path, 3, "{}", 0);
    assert_fails(esker_model_load(path, &loaded), ESKER_ERR_FORMAT, "a header of 3 bytes in a file of 10: cut off?");
    in_folder(path, "none.safetensors");
    assert_fails(esker_model_load(path, &loaded), ESKER_ERR_IO, "none.safetensors: No such file");
    assert_fails(esker_model_load(test_folder("checkpoint"), &loaded), ESKER_ERR_IO, "not a regular file");
    assert_fails(esker_model_load(NULL, &loaded), ESKER_ERR_INVALID, "NULL");
    assert_null(loaded);
}

/* Cut anywhere, a checkpoint is refused, and with any byte of its header changed nothing goes wrong. */
static void damaged_files_are_refused_or_read(void **state)
{
    (void)state;
    char path[512];
    in_folder(path, "whole.safetensors");
    esker_model *net = new_model(), *loaded;
    assert_ok(esker_model_save(net, path));
    unsigned char *bytes;
    size_t n_bytes;
    uint64_t n_header;
    assert_ok(esker__file_read(path, (size_t)1 << 24, &bytes, &n_bytes));
    memcpy(&n_header, bytes, 8);
    for (size_t n = 0; n < n_bytes; n += n < 16 ? 1 : 37) {
        write_file(path, bytes, n);
        assert_true(esker_model_load(path, &loaded) == ESKER_ERR_FORMAT);
        assert_null(loaded);
    }
    for (size_t i = 0; i < 8 + n_header; i++) {
        unsigned char old = bytes[i];
        bytes[i] = (unsigned char)(old ^ (i % 2 ? 1 : 16));
        write_file(path, bytes, n_bytes);
        if (esker_model_load(path, &loaded) != ESKER_OK) assert_non_null(strstr(esker_last_error(), "whole.safetensors"));
        esker_model_destroy(loaded);
        bytes[i] = old;
    }
    esker__free(bytes);
    esker_model_destroy(net);
}

/* ---- Writing that fails ---- */

static int n_entries(const char *folder)
{
    char command[600];
    int n = -1;
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%d", &n), 1);
    pclose(pipe);
    return n;
}

static void a_file_that_cannot_be_written_is_told(void **state)
{
    (void)state;
    char path[512];
    const char *folder = test_folder("checkpoint");
    esker_model *net = new_model();
    snprintf(path, sizeof path, "%s/none/a.safetensors", folder);
    assert_fails(esker_model_save(net, path), ESKER_ERR_IO, "none/a.safetensors: cannot be written: No such file");
    assert_fails(esker_model_save(net, "/proc/a.safetensors"), ESKER_ERR_IO, "/proc/a.safetensors: cannot be written");
    assert_fails(esker_model_save(net, NULL), ESKER_ERR_INVALID, "NULL");
    /* A folder stands where the file should go: the last step fails, and leaves nothing behind. */
    snprintf(path, sizeof path, "%s/taken", folder);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_fails(esker_model_save(net, path), ESKER_ERR_IO, "taken: cannot be written");
    assert_int_equal(n_entries(folder), 1);
    esker_model_destroy(net);
}

static void an_old_file_stays_whole(void **state)
{
    (void)state;
    char path[512];
    in_folder(path, "old.safetensors");
    write_file(path, "precious", 8);
    esker_model *net;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {4}});
    assert_fails(esker_model_save(net, path), ESKER_ERR_INVALID, "old.safetensors: model model: not finished");
    assert_ok(esker_model_output(net, esker_relu(esker_expand(x, &(esker_shape){2, {1, 4}}))));
    assert_fails(esker_model_save(net, path), ESKER_ERR_UNSUPPORTED, "expand");
    assert_file_is(path, "precious", 8);
    esker_model_destroy(net);
}

/* The disk fills up while writing: in a child, since the limit on file sizes stays. */
static void a_full_disk_leaves_the_old_file(void **state)
{
    (void)state;
    char path[512], command[1200];
    in_folder(path, "old.safetensors");
    write_file(path, "precious", 8);
    snprintf(command, sizeof command, "trap '' XFSZ; ulimit -f 1; ESKER_TEST_SAVE='%s' /proc/%ld/exe", path,
             (long)getpid());
    int rc = system(command);
    assert_true(WIFEXITED(rc));
    assert_int_equal(WEXITSTATUS(rc), 42);
    assert_file_is(path, "precious", 8);
    path[strlen(path) - strlen("/old.safetensors")] = 0;
    assert_int_equal(n_entries(path), 1);
}

/* The child: save a model of more than 1024 bytes where no file may have more. */
static int save_where_told(const char *path)
{
    esker_model *net;
    if (esker_model_create(&net) != ESKER_OK) return 1;
    esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {1024}});
    x = esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 1024});
    if (esker_model_output(net, x) != ESKER_OK) return 2;
    esker_status st = esker_model_save(net, path);
    esker_model_destroy(net);
    return st == ESKER_ERR_IO && strstr(esker_last_error(), "File too large") ? 42 : 3;
}

int main(void)
{
    enum { N_WRONG = sizeof wrong_files / sizeof *wrong_files };
    if (getenv("ESKER_TEST_SAVE")) return save_where_told(getenv("ESKER_TEST_SAVE"));
    struct CMUnitTest tests[N_WRONG + 16] = {
        cmocka_unit_test(what_is_saved_loads_and_saves_the_same_bytes),
        cmocka_unit_test(weights_go_into_a_model_that_exists),
        cmocka_unit_test(weights_alone_are_no_checkpoint),
        cmocka_unit_test(a_wrong_model_inside_is_told),
        cmocka_unit_test(lengths_are_checked),
        cmocka_unit_test(damaged_files_are_refused_or_read),
        cmocka_unit_test(a_file_that_cannot_be_written_is_told),
        cmocka_unit_test(an_old_file_stays_whole),
        cmocka_unit_test(a_full_disk_leaves_the_old_file),
    };
    size_t n = 0;
    while (tests[n].name) n++;
    for (size_t i = 0; i < N_WRONG; i++)
        tests[n++] = (struct CMUnitTest){.name = wrong_files[i].name,
                                         .test_func = each_wrong_file_has_its_message,
                                         .initial_state = (void *)(uintptr_t)&wrong_files[i]};
    return test_finish(_cmocka_run_group_tests("checkpoint", tests, n, NULL, NULL));
}

#else

static void without_libcjson_files_are_written_alone(void **state)
{
    char path[512];
    (void)state;
    snprintf(path, sizeof path, "%s/a.safetensors", test_folder("checkpoint"));
    esker_model *net = new_model(), *loaded;
    assert_ok(esker_model_save(net, path));
    assert_fails(esker_model_load(path, &loaded), ESKER_ERR_UNSUPPORTED, "this library was built without libcjson");
    assert_null(loaded);
    assert_fails(esker_model_load_weights(net, path), ESKER_ERR_UNSUPPORTED,
                 "a.safetensors: safetensors files have a JSON header");
    esker_model_destroy(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_libcjson_files_are_written_alone)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}

#endif
