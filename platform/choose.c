/* Which display to take: what was asked for, else hardware before software, then GBM, EGL device, surfaceless. */
#include "platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "egl.h"

/* A NULL name means the environment's wish; an empty variable counts as unset. */
static esker_status parse_wish(const char *name, esker__wish *out)
{
    if (name) return esker__wish_parse(name, out);
    const char *environment = getenv("ESKER_DISPLAY");
    if (!environment || !environment[0]) return esker__wish_parse(NULL, out);
    esker_status st = esker__wish_parse(environment, out);
    if (st != ESKER_OK) esker__fail_prefix("ESKER_DISPLAY");
    return st;
}

static int find_wished(const esker__wish *wish, esker__place *out, int *out_n_all)
{
    int n = esker__places_find(out, ESKER__MAX_PLACES), n_kept = 0;
    *out_n_all = n;
    for (int i = 0; i < n; i++)
        if (esker__wish_matches(wish, &out[i])) out[n_kept++] = out[i];
    /* A node is opened as named, even if it has another name than the ones we look for. */
    if (n_kept == 0 && wish->node[0]) esker__place_of_node(wish->node, &out[n_kept++]);
    return n_kept;
}

static esker_status no_such_place(const esker__wish *wish, int n_all)
{
    if (wish->any_kind)
        return esker__fail(ESKER_ERR_NO_DEVICE,
                           "libEGL offers no display: no render node in /dev/dri that it can use, no EGL device, and no "
                           "surfaceless platform");
    if (wish->kind == ESKER_DISPLAY_DEVICE && !wish->any_of_kind)
        return esker__fail(ESKER_ERR_NO_DEVICE,
                           "device:%d: there is no such EGL device (%d displays of any kind were found)", wish->index,
                           n_all);
    const char *const names[] = {"gbm: no render node in /dev/dri, or EGL lacks EGL_KHR_platform_gbm",
                                 "device: EGL lists no device, or lacks EGL_EXT_platform_device",
                                 "surfaceless: EGL lacks EGL_MESA_platform_surfaceless"};
    return esker__fail(ESKER_ERR_NO_DEVICE, "%s (%d displays of any kind were found)", names[wish->kind], n_all);
}

esker_status esker__platform_open(const char *name, bool debug, esker__platform **out)
{
    *out = NULL;
    esker__wish wish;
    esker_status st = parse_wish(name, &wish);
    if (st != ESKER_OK) return st;
    esker__place places[ESKER__MAX_PLACES];
    int n_all, n = find_wished(&wish, places, &n_all);
    if (n == 0) return no_such_place(&wish, n_all);
    if (n == 1) return esker__platform_open_place(&places[0], debug, out);

    /* Only the renderer's name tells hardware from software, so a software display is held while the rest is tried. */
    esker__platform *software = NULL;
    esker__text tried = {0};
    for (int i = 0; i < n && !*out; i++) {
        if (software && places[i].software) continue;
        esker__platform *platform;
        st = esker__platform_open_place(&places[i], debug, &platform);
        if (st != ESKER_OK) {
            esker__text_add(&tried, "\n%s", esker_last_error());
            continue;
        }
        esker_display_info info;
        esker__platform_get_info(platform, &info);
        if (!info.software)
            *out = platform;
        else if (!software)
            software = platform;
        else
            esker__platform_close(platform);
    }
    if (*out) {
        esker__platform_close(software);
        st = esker__platform_make_current(*out);
    } else if (software) {
        *out = software;
        st = esker__platform_make_current(software);
    } else {
        st = esker__fail(ESKER_ERR_NO_DEVICE, "no display has OpenGL ES 3.1; %d were tried:%s", n,
                         tried.chars ? tried.chars : "");
    }
    esker__text_finish(&tried);
    if (st != ESKER_OK) {
        esker__platform_close(*out);
        *out = NULL;
    }
    return st;
}

static int rank(const esker_display_info *info)
{
    return !info->usable ? 2 : info->software ? 1 : 0;
}

/* Stable, and there are few: the places come in the right order within each rank. */
static void sort_by_rank(esker_display_info *infos, esker__place *places, int n)
{
    for (int i = 1; i < n; i++) {
        for (int k = i; k > 0 && rank(&infos[k]) < rank(&infos[k - 1]); k--) {
            esker_display_info info = infos[k];
            infos[k] = infos[k - 1];
            infos[k - 1] = info;
            esker__place place = places[k];
            places[k] = places[k - 1];
            places[k - 1] = place;
        }
    }
}

static void try_place(const esker__place *place, esker_display_info *out)
{
    esker__platform *platform;
    if (esker__platform_open_place(place, false, &platform) == ESKER_OK) {
        esker__platform_get_info(platform, out);
        esker__platform_close(platform);
        return;
    }
    *out = (esker_display_info){.kind = place->kind, .software = place->software};
    memcpy(out->name, place->name, sizeof out->name);
    /* The message starts with the display's name, which the reader of this struct has already. */
    const char *reason = esker_last_error();
    size_t n_name = strlen(place->name);
    if (!strncmp(reason, place->name, n_name) && !strncmp(reason + n_name, ": ", 2)) reason += n_name + 2;
    snprintf(out->reason, sizeof out->reason, "%s", reason);
}

esker_status esker_display_list(esker_display_info *out, int capacity, int *out_found)
{
    *out_found = 0;
    esker__place places[ESKER__MAX_PLACES];
    esker_display_info infos[ESKER__MAX_PLACES];
    esker__wish wish;
    bool wish_is_good = parse_wish(NULL, &wish) == ESKER_OK;
    int n = esker__places_find(places, ESKER__MAX_PLACES);
    if (wish_is_good && wish.node[0] && n < ESKER__MAX_PLACES) {
        bool listed = false;
        for (int i = 0; i < n; i++) listed |= esker__wish_matches(&wish, &places[i]);
        if (!listed) esker__place_of_node(wish.node, &places[n++]);
    }
    if (n == 0) return no_such_place(&(esker__wish){.any_kind = true}, 0);

    /* What this thread had current comes back afterwards: a program may draw with a context of its own. */
    EGLDisplay display = eglGetCurrentDisplay();
    EGLSurface draw = eglGetCurrentSurface(EGL_DRAW), read = eglGetCurrentSurface(EGL_READ);
    EGLContext context = eglGetCurrentContext();
    for (int i = 0; i < n; i++) try_place(&places[i], &infos[i]);
    if (context != EGL_NO_CONTEXT) eglMakeCurrent(display, draw, read, context);

    sort_by_rank(infos, places, n);
    for (int i = 0; i < n && wish_is_good; i++) {
        if (!infos[i].usable || !esker__wish_matches(&wish, &places[i])) continue;
        infos[i].chosen = true;
        break;
    }
    for (int i = 0; i < n && i < capacity; i++) out[i] = infos[i];
    *out_found = n;
    return ESKER_OK;
}
