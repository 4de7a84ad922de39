/* esker info: displays, the device, its limits, the board. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DISPLAYS = 64 };

static const char *const kinds[] = {"gbm", "device", "surfaceless"};

typedef struct facts {
    esker_display_info displays[MAX_DISPLAYS];
    int n_displays;
    esker_device *device; /* NULL: none could be opened */
    esker_device_info info;
    esker_board_info board;
    char error[1024]; /* why there is no device */
} facts;

static void gather(facts *f)
{
    esker_board_get_info(&f->board);
    if (esker_display_list(f->displays, MAX_DISPLAYS, &f->n_displays) != ESKER_OK) f->n_displays = 0;
    if (f->n_displays > MAX_DISPLAYS) f->n_displays = MAX_DISPLAYS;
    if (esker_device_open(NULL, &f->device) == ESKER_OK)
        esker_device_get_info(f->device, &f->info);
    else
        snprintf(f->error, sizeof f->error, "%s", esker_last_error());
}

/* ---- JSON ---- */

static void known_number(cli_json *json, const char *key, double value)
{
    cli_json_number(json, key, value >= 0 ? value : (double)NAN);
}

static void add_display(cli_json *json, const esker_display_info *d)
{
    cli_json_open(json, NULL, '{');
    cli_json_text(json, "name", d->name);
    cli_json_text(json, "kind", kinds[d->kind]);
    cli_json_bool(json, "usable", d->usable);
    cli_json_bool(json, "software", d->software);
    cli_json_bool(json, "chosen", d->chosen);
    cli_json_text(json, "vendor", d->vendor);
    cli_json_text(json, "renderer", d->renderer);
    cli_json_text(json, "version", d->version);
    cli_json_text(json, "reason", d->reason);
    cli_json_close(json, '}');
}

static void add_words(cli_json *json, const char *key, const char *words)
{
    cli_json_open(json, key, '[');
    while (*words) {
        char word[128];
        size_t n = strcspn(words, " ");
        if (n && n < sizeof word) {
            memcpy(word, words, n);
            word[n] = 0;
            cli_json_text(json, NULL, word);
        }
        words += n + (words[n] == ' ');
    }
    cli_json_close(json, ']');
}

static void add_device(cli_json *json, const esker_device_info *info)
{
    cli_json_open(json, "device", '{');
    cli_json_text(json, "display", info->display.name);
    cli_json_bool(json, "software", info->display.software);
    cli_json_text(json, "vendor", info->display.vendor);
    cli_json_text(json, "renderer", info->display.renderer);
    cli_json_text(json, "version", info->display.version);
    cli_json_text(json, "glsl_version", info->glsl_version);
    cli_json_int(json, "es_major", info->es_major);
    cli_json_int(json, "es_minor", info->es_minor);
    cli_json_bool(json, "robust", info->robust);
    cli_json_bool(json, "buffer_storage", info->buffer_storage);
    cli_json_bool(json, "program_binary", info->program_binary);
    cli_json_bool(json, "timer_query", info->timer_query);
    cli_json_bool(json, "debug", info->debug);
    add_words(json, "extensions", info->extensions);
    cli_json_text(json, "cache_dir", info->cache_dir);
    cli_json_bool(json, "limits_capped", info->limits_capped);
    cli_json_close(json, '}');
    cli_json_limits(json, "limits", &info->limits);
    cli_json_limits(json, "native_limits", &info->native_limits);
}

static int print_json(const cli_command *command, const facts *f)
{
    cli_json json = {0};
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "version", esker_version());
    cli_json_open(&json, "displays", '[');
    for (int i = 0; i < f->n_displays; i++) add_display(&json, &f->displays[i]);
    cli_json_close(&json, ']');
    if (f->device) {
        add_device(&json, &f->info);
    } else {
        cli_json_text(&json, "device", NULL);
        cli_json_text(&json, "error", f->error);
    }
    const esker_board_info *b = &f->board;
    cli_json_open(&json, "board", '{');
    cli_json_text(&json, "model", b->model);
    cli_json_text(&json, "cpu", b->cpu);
    cli_json_int(&json, "cpu_cores", b->cpu_cores);
    known_number(&json, "memory_total_bytes", b->memory_total_bytes);
    known_number(&json, "memory_available_bytes", b->memory_available_bytes);
    known_number(&json, "cpu_celsius", b->cpu_celsius);
    known_number(&json, "gpu_celsius", b->gpu_celsius);
    known_number(&json, "cpu_hertz", b->cpu_hertz);
    known_number(&json, "gpu_hertz", b->gpu_hertz);
    cli_json_close(&json, '}');
    cli_json_close(&json, '}');
    return cli_json_print(&json, command);
}

/* ---- For people ---- */

static void print_displays(const facts *f)
{
    printf("displays\n");
    if (!f->n_displays) printf("  none\n");
    for (int i = 0; i < f->n_displays; i++) {
        const esker_display_info *d = &f->displays[i];
        printf("  %s %-28s %s%s\n", d->chosen ? "*" : " ", d->name, d->usable ? d->renderer : d->reason,
               d->usable && d->software ? " (software)" : "");
    }
}

static void print_limits(const esker_limits *l, const char *title)
{
    char block[CLI_NUMBER_BYTES], shared[CLI_NUMBER_BYTES];
    printf("%s\n", title);
    printf("  groups               %u x %u x %u\n", l->groups[0], l->groups[1], l->groups[2]);
    printf("  group size           %u x %u x %u, %u invocations\n", l->group_size[0], l->group_size[1], l->group_size[2],
           l->group_invocations);
    printf("  shared memory        %s\n", cli_bytes_text(l->shared_bytes, shared));
    printf("  storage blocks       %u of %s, aligned to %u\n", l->storage_blocks,
           cli_bytes_text((double)l->storage_block_bytes, block), l->storage_align);
    printf("  uniform block        %u bytes, aligned to %u\n", l->uniform_block_bytes, l->uniform_align);
    printf("  resets are reported  %s\n", l->reports_reset ? "yes" : "no");
}

static void print_device(const esker_device_info *info)
{
    printf("device\n");
    printf("  display              %s\n", info->display.name);
    printf("  renderer             %s\n", info->display.renderer);
    printf("  vendor               %s\n", info->display.vendor);
    printf("  version              %s (ES %d.%d, GLSL %s)\n", info->display.version, info->es_major, info->es_minor,
           info->glsl_version);
    printf("  mapped buffers       %s\n", info->buffer_storage ? "persistent" : "mapped for each use");
    printf("  robust context       %s\n", info->robust ? "yes" : "no");
    printf("  timers               %s\n", info->timer_query ? "yes" : "no");
    printf("  compiled kernels     %s\n", !info->program_binary ? "not kept: the driver has no binaries"
                                          : info->cache_dir[0]  ? info->cache_dir
                                                                : "not kept");
    printf("  extensions in use    %s\n", info->extensions[0] ? info->extensions : "none");
    print_limits(&info->limits, info->limits_capped ? "limits, capped to the minimum of OpenGL ES 3.1" : "limits");
    if (info->limits_capped) print_limits(&info->native_limits, "limits that the driver reports");
}

static void print_known(const char *what, double value, double unit, const char *unit_name)
{
    if (value >= 0) printf("  %-20s %.1f %s\n", what, value / unit, unit_name);
}

static void print_board(const esker_board_info *b)
{
    char total[CLI_NUMBER_BYTES], available[CLI_NUMBER_BYTES];
    printf("board\n");
    if (b->model[0]) printf("  %-20s %s\n", "model", b->model);
    if (b->cpu[0]) printf("  %-20s %s\n", "cpu", b->cpu);
    if (b->cpu_cores > 0) printf("  %-20s %d\n", "cpu cores", b->cpu_cores);
    if (b->memory_total_bytes >= 0)
        printf("  %-20s %s, %s available\n", "memory", cli_bytes_text(b->memory_total_bytes, total),
               b->memory_available_bytes >= 0 ? cli_bytes_text(b->memory_available_bytes, available) : "?");
    print_known("cpu temperature", b->cpu_celsius, 1, "degrees Celsius");
    print_known("gpu temperature", b->gpu_celsius, 1, "degrees Celsius");
    print_known("cpu frequency", b->cpu_hertz, 1e6, "MHz");
    print_known("gpu frequency", b->gpu_hertz, 1e6, "MHz");
}

static int run(const cli_command *command, int argc, char **argv)
{
    static facts f;
    bool as_json = false;
    int status;
    cli_option options[] = {CLI_OPTION_JSON(&as_json)};
    if (!cli_parse(command, options, sizeof options / sizeof options[0], argc, argv, NULL, &status)) return status;
    gather(&f);
    if (as_json) {
        status = print_json(command, &f);
    } else {
        status = CLI_DONE;
        printf("esker %s\n", esker_version());
        print_displays(&f);
        if (f.device) print_device(&f.info);
        print_board(&f.board);
    }
    if (!f.device) status = cli_error(command, "%s", f.error);
    esker_device_unref(f.device);
    return status;
}

const cli_command cli_info = {
    .name = "info",
    .summary = "Show the displays of this machine, the device that would be used, its limits, and the board.",
    .details = "The display marked * is used; ESKER_DISPLAY chooses another. What is under \"limits\" in the JSON can be "
               "given to\n"
               "esker plan --limits. The exit status is 1 if no device can be opened.\n",
    .run = run,
};
