/* What the board says of itself in /proc and /sys: each fact is asked for in the places where boards are known to keep it.
 */
#include "board.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PATH_BYTES 768

/* The first bytes of a small file, zeros and newlines at the end cut off. False if it cannot be read or is empty. */
static bool read_text(const char *root, const char *path, char *out, size_t room)
{
    char full[PATH_BYTES];
    out[0] = 0;
    if (snprintf(full, sizeof full, "%s%s", root, path) >= (int)sizeof full) return false;
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, out, room - 1);
    close(fd);
    if (n < 0) n = 0; /* sensors of sleeping hardware answer with an error */
    while (n > 0 && (out[n - 1] == 0 || isspace((unsigned char)out[n - 1]))) n--;
    out[n] = 0;
    return n > 0;
}

static bool read_number(const char *root, const char *path, double *out)
{
    char text[64], *end;
    if (!read_text(root, path, text, sizeof text)) return false;
    *out = strtod(text, &end);
    return end != text;
}

/* Call `visit` for each entry of a folder; the order is the folder's, so visitors must not depend on it. */
typedef void (*visit_fn)(const char *root, const char *folder, const char *entry, void *user);

static void each_entry(const char *root, const char *folder, visit_fn visit, void *user)
{
    char full[PATH_BYTES];
    if (snprintf(full, sizeof full, "%s%s", root, folder) >= (int)sizeof full) return;
    DIR *dir = opendir(full);
    if (!dir) return;
    struct dirent *entry;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.') visit(root, folder, entry->d_name, user);
    closedir(dir);
}

static void copy_name(char out[ESKER_NAME_BYTES], const char *text)
{
    snprintf(out, ESKER_NAME_BYTES, "%.*s", ESKER_NAME_BYTES - 1, text);
}

static void read_model(const char *root, char out[ESKER_NAME_BYTES])
{
    static const char *const paths[] = {"/proc/device-tree/model", "/sys/firmware/devicetree/base/model",
                                        "/sys/class/dmi/id/product_name", "/sys/class/dmi/id/board_name"};
    char text[ESKER_NAME_BYTES];
    out[0] = 0;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (!read_text(root, paths[i], text, sizeof text)) continue;
        /* What PC makers leave in when they fill in nothing. */
        if (!strcasecmp(text, "To Be Filled By O.E.M.") || !strcasecmp(text, "System Product Name") ||
            !strcasecmp(text, "Default string"))
            continue;
        copy_name(out, text);
        return;
    }
}

/* Arm cores tell only numbers; these are the ones on boards with an ES 3.1 GPU (Arm's part numbers, MIDR_EL1 bits 15 to 4).
 */
static const char *arm_part_name(unsigned implementer, unsigned part)
{
    static const struct {
        unsigned short part;
        const char *name;
    } arm[] = {{0xc07, "Cortex-A7"},    {0xc08, "Cortex-A8"},   {0xc09, "Cortex-A9"},   {0xc0e, "Cortex-A17"},
               {0xc0f, "Cortex-A15"},   {0xd01, "Cortex-A32"},  {0xd03, "Cortex-A53"},  {0xd04, "Cortex-A35"},
               {0xd05, "Cortex-A55"},   {0xd07, "Cortex-A57"},  {0xd08, "Cortex-A72"},  {0xd09, "Cortex-A73"},
               {0xd0a, "Cortex-A75"},   {0xd0b, "Cortex-A76"},  {0xd0d, "Cortex-A77"},  {0xd41, "Cortex-A78"},
               {0xd42, "Cortex-A78AE"}, {0xd44, "Cortex-X1"},   {0xd46, "Cortex-A510"}, {0xd47, "Cortex-A710"},
               {0xd48, "Cortex-X2"},    {0xd4b, "Cortex-A78C"}, {0xd4d, "Cortex-A715"}, {0xd4e, "Cortex-X3"},
               {0xd80, "Cortex-A520"},  {0xd81, "Cortex-A720"}, {0xd82, "Cortex-X4"}};
    if (implementer == 0x51) { /* Qualcomm's own names for Arm designs */
        if (part == 0x800 || part == 0x802 || part == 0x804) return "Kryo Gold";
        if (part == 0x801 || part == 0x803 || part == 0x805) return "Kryo Silver";
        return NULL;
    }
    if (implementer != 0x41) return NULL;
    for (size_t i = 0; i < sizeof arm / sizeof arm[0]; i++)
        if (arm[i].part == part) return arm[i].name;
    return NULL;
}

#define MAX_CLUSTERS 4

struct cpu_facts {
    char model[ESKER_NAME_BYTES], hardware[ESKER_NAME_BYTES];
    int n_cores, n_clusters;
    unsigned implementer;
    struct {
        unsigned implementer, part;
        int n;
    } clusters[MAX_CLUSTERS];
};

static void add_core(struct cpu_facts *facts, unsigned part)
{
    for (int i = 0; i < facts->n_clusters; i++) {
        if (facts->clusters[i].part != part || facts->clusters[i].implementer != facts->implementer) continue;
        facts->clusters[i].n++;
        return;
    }
    if (facts->n_clusters == MAX_CLUSTERS) return;
    facts->clusters[facts->n_clusters].implementer = facts->implementer;
    facts->clusters[facts->n_clusters].part = part;
    facts->clusters[facts->n_clusters++].n = 1;
}

static void read_cpuinfo_line(struct cpu_facts *facts, char *line)
{
    char *colon = strchr(line, ':');
    if (!colon) return;
    char *value = colon + 1 + strspn(colon + 1, " \t");
    value[strcspn(value, "\n")] = 0;
    while (colon > line && isspace((unsigned char)colon[-1])) colon--;
    *colon = 0;
    if (!strcmp(line, "processor"))
        facts->n_cores++;
    else if (!strcmp(line, "model name") && !facts->model[0])
        copy_name(facts->model, value);
    else if (!strcmp(line, "Hardware"))
        copy_name(facts->hardware, value);
    else if (!strcmp(line, "CPU implementer"))
        facts->implementer = (unsigned)strtoul(value, NULL, 16);
    else if (!strcmp(line, "CPU part"))
        add_core(facts, (unsigned)strtoul(value, NULL, 16));
}

/* "4x Cortex-A76 + 4x Cortex-A55"; 32-bit Arm kernels say "ARMv7 Processor rev 3 (v7l)", which is worth less. */
static void name_cpu(const struct cpu_facts *facts, char out[ESKER_NAME_BYTES])
{
    out[0] = 0;
    size_t n = 0;
    for (int i = 0; i < facts->n_clusters; i++) {
        const char *name = arm_part_name(facts->clusters[i].implementer, facts->clusters[i].part);
        char number[48];
        if (!name) {
            snprintf(number, sizeof number, "Arm core %#x part %#x", facts->clusters[i].implementer,
                     facts->clusters[i].part);
            name = number;
        }
        int wrote = facts->n_clusters > 1
                        ? snprintf(out + n, ESKER_NAME_BYTES - n, "%s%dx %s", i ? " + " : "", facts->clusters[i].n, name)
                        : snprintf(out + n, ESKER_NAME_BYTES - n, "%s", name);
        if (wrote < 0 || (size_t)wrote >= ESKER_NAME_BYTES - n) return;
        n += (size_t)wrote;
    }
    if (!out[0]) copy_name(out, facts->model[0] ? facts->model : facts->hardware);
}

static void read_cpu(const char *root, esker_board_info *out)
{
    char full[PATH_BYTES], line[512];
    struct cpu_facts facts = {0};
    out->cpu_cores = -1;
    if (snprintf(full, sizeof full, "%s/proc/cpuinfo", root) >= (int)sizeof full) return;
    FILE *file = fopen(full, "re");
    if (file) {
        /* A line longer than this (the flags of x86) comes in pieces without a known name. */
        while (fgets(line, sizeof line, file)) read_cpuinfo_line(&facts, line);
        fclose(file);
    }
    name_cpu(&facts, out->cpu);
    if (facts.n_cores > 0)
        out->cpu_cores = facts.n_cores;
    else if (!root[0])
        out->cpu_cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
}

static void read_memory(const char *root, esker_board_info *out)
{
    char full[PATH_BYTES], line[256];
    if (snprintf(full, sizeof full, "%s/proc/meminfo", root) >= (int)sizeof full) return;
    FILE *file = fopen(full, "re");
    if (!file) return;
    while (fgets(line, sizeof line, file)) { /* "MemTotal:   4142112 kB" */
        if (!strncmp(line, "MemTotal:", 9))
            out->memory_total_bytes = strtod(line + 9, NULL) * 1024;
        else if (!strncmp(line, "MemAvailable:", 13))
            out->memory_available_bytes = strtod(line + 13, NULL) * 1024;
    }
    fclose(file);
}

/* A temperature with how well its sensor's name fits; the best fit wins, then the hottest. */
struct heat {
    int cpu_fit, gpu_fit;
    double cpu_celsius, gpu_celsius;
};

static int fit(const char *name, const char *const *words, int n)
{
    for (int i = 0; i < n; i++)
        if (strcasestr(name, words[i])) return n - i;
    return 0;
}

static void note_heat(struct heat *heat, const char *name, double millidegrees)
{
    static const char *const gpu_words[] = {"gpu", "mali", "v3d", "amdgpu", "radeon", "nouveau"};
    static const char *const cpu_words[] = {"cpu",        "x86_pkg_temp", "coretemp", "k10temp", "bigcore",
                                            "littlecore", "soc",          "package",  "acpitz"};
    double celsius = millidegrees / 1000;
    if (celsius < -50 || celsius > 200) return; /* sensors that are off report nonsense */
    int gpu = fit(name, gpu_words, 6), cpu = gpu ? 0 : fit(name, cpu_words, 9);
    /* All names of a GPU mean it equally; a CPU has several cores' zones, of which the hottest counts. */
    gpu = gpu > 0;
    if (gpu > heat->gpu_fit || (gpu && celsius > heat->gpu_celsius)) heat->gpu_celsius = celsius;
    if (gpu > heat->gpu_fit) heat->gpu_fit = gpu;
    if (cpu > heat->cpu_fit || (cpu && cpu == heat->cpu_fit && celsius > heat->cpu_celsius)) heat->cpu_celsius = celsius;
    if (cpu > heat->cpu_fit) heat->cpu_fit = cpu;
}

static void visit_thermal(const char *root, const char *folder, const char *entry, void *user)
{
    char path[PATH_BYTES], type[64];
    double millidegrees;
    if (strncmp(entry, "thermal_zone", 12) != 0) return;
    snprintf(path, sizeof path, "%s/%s/type", folder, entry);
    if (!read_text(root, path, type, sizeof type)) return;
    snprintf(path, sizeof path, "%s/%s/temp", folder, entry);
    if (read_number(root, path, &millidegrees)) note_heat(user, type, millidegrees);
}

static void visit_hwmon(const char *root, const char *folder, const char *entry, void *user)
{
    char path[PATH_BYTES], name[64];
    double millidegrees;
    snprintf(path, sizeof path, "%s/%s/name", folder, entry);
    if (!read_text(root, path, name, sizeof name)) return;
    snprintf(path, sizeof path, "%s/%s/temp1_input", folder, entry);
    if (read_number(root, path, &millidegrees)) note_heat(user, name, millidegrees);
}

static void read_heat(const char *root, esker_board_info *out)
{
    struct heat heat = {.cpu_celsius = -1, .gpu_celsius = -1};
    each_entry(root, "/sys/class/thermal", visit_thermal, &heat);
    each_entry(root, "/sys/class/hwmon", visit_hwmon, &heat);
    out->cpu_celsius = heat.cpu_celsius;
    out->gpu_celsius = heat.gpu_celsius;
}

static void visit_cpu_clock(const char *root, const char *folder, const char *entry, void *user)
{
    char path[PATH_BYTES];
    double khz, *fastest = user;
    if (strncmp(entry, "cpu", 3) != 0 || !isdigit((unsigned char)entry[3])) return;
    snprintf(path, sizeof path, "%s/%s/cpufreq/scaling_cur_freq", folder, entry);
    if (read_number(root, path, &khz) && khz * 1e3 > *fastest) *fastest = khz * 1e3;
}

/* Mali and Adreno: "fb000000.gpu", "13000000.mali", "3d00000.gpu". */
static void visit_devfreq(const char *root, const char *folder, const char *entry, void *user)
{
    char path[PATH_BYTES];
    double hertz, *fastest = user;
    if (!strcasestr(entry, "gpu") && !strcasestr(entry, "mali") && !strcasestr(entry, "v3d")) return;
    snprintf(path, sizeof path, "%s/%s/cur_freq", folder, entry);
    if (read_number(root, path, &hertz) && hertz > *fastest) *fastest = hertz;
}

/* Intel: MHz in the card's folder, of the card itself and not of its connectors ("card0-HDMI-A-1"). */
static void visit_card(const char *root, const char *folder, const char *entry, void *user)
{
    char path[PATH_BYTES];
    double mhz, *fastest = user;
    if (strncmp(entry, "card", 4) != 0 || strchr(entry, '-')) return;
    snprintf(path, sizeof path, "%s/%s/gt_cur_freq_mhz", folder, entry);
    if (read_number(root, path, &mhz) && mhz * 1e6 > *fastest) *fastest = mhz * 1e6;
}

static void visit_hwmon_clock(const char *root, const char *folder, const char *entry, void *user)
{
    char path[PATH_BYTES], name[64];
    double hertz, *fastest = user;
    snprintf(path, sizeof path, "%s/%s/name", folder, entry);
    if (!read_text(root, path, name, sizeof name) || strcmp(name, "amdgpu") != 0) return;
    snprintf(path, sizeof path, "%s/%s/freq1_input", folder, entry);
    if (read_number(root, path, &hertz) && hertz > *fastest) *fastest = hertz;
}

static void read_clocks(const char *root, esker_board_info *out)
{
    out->cpu_hertz = out->gpu_hertz = -1;
    each_entry(root, "/sys/devices/system/cpu", visit_cpu_clock, &out->cpu_hertz);
    each_entry(root, "/sys/class/devfreq", visit_devfreq, &out->gpu_hertz);
    if (out->gpu_hertz < 0) each_entry(root, "/sys/class/drm", visit_card, &out->gpu_hertz);
    if (out->gpu_hertz < 0) each_entry(root, "/sys/class/hwmon", visit_hwmon_clock, &out->gpu_hertz);
}

void esker__board_read(const char *root, esker_board_info *out)
{
    *out = (esker_board_info){.memory_total_bytes = -1, .memory_available_bytes = -1};
    read_model(root, out->model);
    read_cpu(root, out);
    read_memory(root, out);
    read_heat(root, out);
    read_clocks(root, out);
}

void esker_board_get_info(esker_board_info *out)
{
    esker__board_read("", out);
}
