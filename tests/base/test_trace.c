/* Traces: tracks, spans, what they share, and the file, which is parsed again where there is a parser. */
#include "support/test.h"

#include <pthread.h>
#include <stdio.h>

#include <esker/trace.h>
#include "base/file.h"
#include "base/memory.h"
#ifdef ESKER_HAVE_CJSON
#include <cjson/cJSON.h>
#endif

static esker_trace *create(size_t max_spans)
{
    esker_trace *trace;
    assert_ok(esker_trace_create(&(esker_trace_desc){.max_spans = max_spans}, &trace));
    return trace;
}

static int track_of(esker_trace *trace, const char *group, const char *name)
{
    int track;
    assert_ok(esker_trace_track(trace, group, name, &track));
    return track;
}

static void add(esker_trace *trace, int track, const char *name, uint64_t begin_ns, uint64_t end_ns)
{
    assert_ok(esker_trace_add(trace, track, &(esker_span){.name = name, .begin_ns = begin_ns, .end_ns = end_ns}));
}

static void spans_are_kept_as_added(void **state)
{
    (void)state;
    esker_trace *trace = create(3);
    esker_trace_info info;
    esker_span span;
    int track, a = track_of(trace, "device", "GPU"), b = track_of(trace, "device", "CPU");
    assert_int_equal(a, 0);
    assert_int_equal(b, 1);
    assert_int_equal(track_of(trace, "program", "CPU"), 2);
    assert_int_equal(track_of(trace, "device", "CPU"), b);
    char name[] = "step";
    assert_ok(esker_trace_add(trace, b, &(esker_span){name, "forward", 7, 100, 200}));
    memcpy(name, "none", 4);
    assert_ok(esker_trace_get_span(trace, 0, &track, &span));
    assert_int_equal(track, b);
    assert_string_equal(span.name, "step");
    assert_string_equal(span.detail, "forward");
    assert_true(span.number == 7 && span.begin_ns == 100 && span.end_ns == 200);
    /* A text that was seen before costs no allocation, and a full trace is no error. */
    add(trace, a, "step", 0, 0);
    uint64_t before = esker__heap_allocations();
    for (int i = 0; i < 4; i++) assert_ok(esker_trace_add(trace, a, &(esker_span){"step", "forward", 1, 5, 6}));
    assert_int_equal(esker__heap_allocations(), before);
    esker_trace_get_info(trace, &info);
    assert_true(info.n_tracks == 3 && info.n_spans == 3 && info.max_spans == 3 && info.n_dropped == 3);
    esker_trace_unref(esker_trace_ref(trace));
    esker_trace_unref(trace);
    esker_trace_unref(NULL);
}

static void many_texts_are_told_apart(void **state)
{
    (void)state;
    enum { N = 500 };
    esker_trace *trace = create(2 * N);
    int track = track_of(trace, "", "");
    for (int i = 0; i < 2 * N; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i % N);
        add(trace, track, name, 0, 1);
    }
    for (int i = 0; i < 2 * N; i++) {
        char name[16];
        esker_span span;
        snprintf(name, sizeof name, "n%d", i % N);
        assert_ok(esker_trace_get_span(trace, (size_t)i, &track, &span));
        assert_string_equal(span.name, name);
        assert_null(span.detail);
    }
    esker_trace_unref(trace);
}

static void bad_spans_are_refused(void **state)
{
    (void)state;
    esker_trace *trace = create(0);
    esker_span span;
    uint64_t busy, both;
    int track = track_of(trace, "g", "t"), none = 5;
    assert_fails(esker_trace_add(trace, track, &(esker_span){.name = "back", .begin_ns = 30, .end_ns = 10}),
                 ESKER_ERR_INVALID, "span back ends 20 ns before it begins");
    assert_fails(esker_trace_add(trace, 1, &(esker_span){.name = "x"}), ESKER_ERR_INVALID, "track 1 of 1");
    assert_fails(esker_trace_add(trace, -1, &(esker_span){.name = "x"}), ESKER_ERR_INVALID, "track -1 of 1");
    assert_fails(esker_trace_add(trace, track, &(esker_span){.number = 1}), ESKER_ERR_INVALID, "needs a name");
    assert_fails(esker_trace_track(trace, NULL, "t", &none), ESKER_ERR_INVALID, "needs a group");
    assert_int_equal(none, -1);
    assert_fails(esker_trace_get_span(trace, 0, &none, &span), ESKER_ERR_INVALID, "span 0 of 0");
    assert_fails(esker_trace_get_overlap(trace, 0, 3, &busy, &both), ESKER_ERR_INVALID, "tracks 0 and 3, there are 1");
    assert_fails(esker_trace_write(trace, "/nowhere/at/all.json"), ESKER_ERR_IO, "/nowhere/at/all.json");
    assert_fails(esker_trace_create(&(esker_trace_desc){.max_spans = (size_t)1 << 40}, &trace), ESKER_ERR_LIMIT,
                 "1099511627776 spans");
    assert_null(trace);
}

/* Against counting every nanosecond. */
static void overlap_is_of_unions(void **state)
{
    (void)state;
    enum { N = 40, END = 512 };
    for (uint64_t round = 0; round < 8; round++) {
        esker_trace *trace = create(N);
        unsigned char busy[2][END] = {{0}};
        float at[2 * N];
        int tracks[2] = {track_of(trace, "g", "a"), track_of(trace, "g", "b")};
        test_uniform(at, 2 * N, 0, 1, round);
        for (int i = 0; i < N; i++) {
            uint64_t begin = (uint64_t)(at[2 * i] * (END - 20)), end = begin + (uint64_t)(at[2 * i + 1] * 20);
            add(trace, tracks[i % 2], "x", begin, end);
            memset(busy[i % 2] + begin, 1, (size_t)(end - begin));
        }
        uint64_t want_a = 0, want_both = 0, got_a, got_both;
        for (int i = 0; i < END; i++) {
            want_a += busy[0][i];
            want_both += busy[0][i] && busy[1][i];
        }
        assert_ok(esker_trace_get_overlap(trace, tracks[0], tracks[1], &got_a, &got_both));
        assert_int_equal(got_a, want_a);
        assert_int_equal(got_both, want_both);
        esker_trace_unref(trace);
    }
}

static void the_file_is_json(void **state)
{
    (void)state;
    char path[600];
    unsigned char *text;
    size_t n_bytes;
    snprintf(path, sizeof path, "%s/trace.json", test_folder("base-trace"));
    esker_trace *trace = create(2000);
    int track = track_of(trace, "device \"0\"", "GPU");
    uint64_t now = esker_now_ns();
    assert_ok(esker_trace_add(trace, track,
                              &(esker_span){"a\\b\n\x01\xff \xc3\xa9", "shape \"[1]\"", 1u << 31, now, now + 1234567}));
    add(trace, track_of(trace, "device \"0\"", "CPU"), "early", 0, 1001);
    for (int i = 0; i < 1500; i++) add(trace, track, "more", now, now); /* past what is gathered at once */
    assert_ok(esker_trace_write(trace, path));
    esker_trace_unref(trace);
    assert_ok(esker__file_read(path, 1 << 20, &text, &n_bytes));
    assert_non_null(strstr((char *)text, "\"dur\": 1234.567"));
    assert_non_null(strstr((char *)text, "\"dur\": 1.001"));
#ifdef ESKER_HAVE_CJSON
    cJSON *root = cJSON_ParseWithLength((char *)text, n_bytes);
    assert_non_null(root);
    const cJSON *events = cJSON_GetObjectItem(root, "traceEvents"), *e;
    int n_spans = 0, n_names = 0;
    cJSON_ArrayForEach(e, events)
    {
        const char *phase = cJSON_GetStringValue(cJSON_GetObjectItem(e, "ph"));
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(e, "name"));
        assert_non_null(phase);
        assert_non_null(name);
        n_names += !strcmp(name, "process_name") || !strcmp(name, "thread_name");
        if (strcmp(phase, "X") != 0) continue;
        if (n_spans++ > 0) continue;
        assert_string_equal(name, "a\\b\n\x01\xef\xbf\xbd \xc3\xa9");
        const cJSON *args = cJSON_GetObjectItem(e, "args");
        assert_true(cJSON_GetObjectItem(args, "number")->valuedouble == 2147483648.0);
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(args, "detail")), "shape \"[1]\"");
    }
    assert_int_equal(n_spans, 1502);
    assert_int_equal(n_names, 3);
    cJSON_Delete(root);
#endif
    esker__free(text);
}

#define N_THREADS 4
#define N_EACH    500

static void *add_many(void *user)
{
    int track;
    if (esker_trace_track(user, "program", "worker", &track) != ESKER_OK) return user;
    for (int i = 0; i < N_EACH; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i % 50);
        if (esker_trace_add(user, track, &(esker_span){.name = name}) != ESKER_OK) return user;
    }
    return NULL;
}

static void threads_add_at_once(void **state)
{
    (void)state;
    esker_trace *trace = create(N_THREADS * N_EACH);
    esker_trace_info info;
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, add_many, trace), 0);
    for (int i = 0; i < N_THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    esker_trace_get_info(trace, &info);
    assert_true(info.n_tracks == 1 && info.n_spans == N_THREADS * N_EACH && info.n_dropped == 0);
    esker_trace_unref(trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_are_kept_as_added), cmocka_unit_test(many_texts_are_told_apart),
        cmocka_unit_test(bad_spans_are_refused),   cmocka_unit_test(overlap_is_of_unions),
        cmocka_unit_test(the_file_is_json),        cmocka_unit_test(threads_add_at_once),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
