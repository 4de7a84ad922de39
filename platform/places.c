/* Which displays this machine has, and how ESKER_DISPLAY names them. */
#include "egl.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

#define RENDER_NODES "/dev/dri"

static esker_status bad_name(const char *text)
{
    return esker__fail(
        ESKER_ERR_INVALID,
        "display \"%s\" means nothing; the forms are gbm:/dev/dri/renderD128 (one render node), gbm (the best "
        "node), device:0 (one EGL device), device (the best one), surfaceless",
        text);
}

esker_status esker__wish_parse(const char *text, esker__wish *out)
{
    *out = (esker__wish){0};
    if (!text) {
        out->any_kind = true;
        return ESKER_OK;
    }
    if (!strcmp(text, "gbm") || !strcmp(text, "device") || !strcmp(text, "surfaceless")) {
        out->kind = text[0] == 'g' ? ESKER_DISPLAY_GBM : text[0] == 'd' ? ESKER_DISPLAY_DEVICE : ESKER_DISPLAY_SURFACELESS;
        out->any_of_kind = true;
        return ESKER_OK;
    }
    if (!strncmp(text, "gbm:", 4)) {
        const char *node = text + 4;
        /* The name of the place, "gbm:" and the node, must fit as well. */
        if (node[0] != '/' || strlen(text) >= sizeof out->node) return bad_name(text);
        out->kind = ESKER_DISPLAY_GBM;
        snprintf(out->node, sizeof out->node, "%s", node);
        return ESKER_OK;
    }
    if (!strncmp(text, "device:", 7)) {
        char *end;
        const char *digits = text + 7;
        if (digits[0] < '0' || digits[0] > '9') return bad_name(text);
        long index = strtol(digits, &end, 10);
        if (*end || index > 9999) return bad_name(text);
        out->kind = ESKER_DISPLAY_DEVICE;
        out->index = (int)index;
        return ESKER_OK;
    }
    return bad_name(text);
}

bool esker__wish_matches(const esker__wish *wish, const esker__place *place)
{
    if (wish->any_kind) return true;
    if (wish->kind != place->kind) return false;
    if (wish->any_of_kind) return true;
    if (wish->kind == ESKER_DISPLAY_GBM) return !strcmp(wish->node, place->node);
    return wish->index == place->index;
}

void esker__place_of_node(const char *node, esker__place *out)
{
    *out = (esker__place){.kind = ESKER_DISPLAY_GBM};
    snprintf(out->node, sizeof out->node, "%s", node);
    snprintf(out->name, sizeof out->name, "gbm:%.*s", (int)(sizeof out->name - 5), node);
}

static int compare_numbers(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static int find_nodes(esker__place *out, int capacity)
{
    DIR *dir = opendir(RENDER_NODES);
    if (!dir) return 0;
    int numbers[ESKER__MAX_PLACES], n = 0;
    struct dirent *entry;
    while (n < ESKER__MAX_PLACES && (entry = readdir(dir))) {
        char *end;
        if (strncmp(entry->d_name, "renderD", 7) != 0) continue;
        long number = strtol(entry->d_name + 7, &end, 10);
        if (end != entry->d_name + 7 && !*end && number >= 0 && number < 100000) numbers[n++] = (int)number;
    }
    closedir(dir);
    qsort(numbers, (size_t)n, sizeof numbers[0], compare_numbers);
    if (n > capacity) n = capacity;
    for (int i = 0; i < n; i++) {
        char node[ESKER_NAME_BYTES];
        snprintf(node, sizeof node, RENDER_NODES "/renderD%d", numbers[i]);
        esker__place_of_node(node, &out[i]);
    }
    return n;
}

static int find_devices(const char *client, esker__place *out, int capacity)
{
    bool base = esker__has_token(client, "EGL_EXT_device_base");
    if (!esker__has_token(client, "EGL_EXT_platform_device")) return 0;
    if (!base && !esker__has_token(client, "EGL_EXT_device_enumeration")) return 0;
    PFNEGLQUERYDEVICESEXTPROC query_devices = (PFNEGLQUERYDEVICESEXTPROC)eglGetProcAddress("eglQueryDevicesEXT");
    PFNEGLQUERYDEVICESTRINGEXTPROC query_string = NULL;
    if (base || esker__has_token(client, "EGL_EXT_device_query"))
        query_string = (PFNEGLQUERYDEVICESTRINGEXTPROC)eglGetProcAddress("eglQueryDeviceStringEXT");
    EGLDeviceEXT devices[ESKER__MAX_PLACES];
    EGLint n = 0;
    if (!query_devices || !query_devices(ESKER__MAX_PLACES, devices, &n)) {
        (void)eglGetError();
        return 0;
    }
    if (n > capacity) n = capacity;
    for (int i = 0; i < n; i++) {
        const char *extensions = query_string ? query_string(devices[i], EGL_EXTENSIONS) : NULL;
        out[i] = (esker__place){.kind = ESKER_DISPLAY_DEVICE,
                                .index = i,
                                .device = devices[i],
                                .software = esker__has_token(extensions, "EGL_MESA_device_software")};
        snprintf(out[i].name, sizeof out[i].name, "device:%d", i);
    }
    return n;
}

int esker__places_find(esker__place *out, int capacity)
{
    const char *client = esker__egl_client_extensions();
    int n = 0;
    if (esker__has_token(client, "EGL_KHR_platform_gbm") || esker__has_token(client, "EGL_MESA_platform_gbm"))
        n += find_nodes(out, capacity);
    n += find_devices(client, out + n, capacity - n);
    if (n < capacity && esker__has_token(client, "EGL_MESA_platform_surfaceless")) {
        out[n] = (esker__place){.kind = ESKER_DISPLAY_SURFACELESS, .name = "surfaceless"};
        n++;
    }
    return n;
}
