/* The board's facts, from made-up /proc and /sys trees of boards we know, and from none. */
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "board.h"

struct file {
    const char *path, *text;
};

#define A55 "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\n"
#define A76 "processor\t: 4\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n"

static const struct board_case {
    const char *name;
    struct file files[14];
    esker_board_info want;
} cases[] = {
    {"nothing at all",
     {{0}},
     {.model = "",
      .cpu = "",
      .cpu_cores = -1,
      .memory_total_bytes = -1,
      .memory_available_bytes = -1,
      .cpu_celsius = -1,
      .gpu_celsius = -1,
      .cpu_hertz = -1,
      .gpu_hertz = -1}},
    {"a Pi 5: one zone, no GPU clock",
     {{"/proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0"},
      {"/proc/cpuinfo", A76 A76 A76 A76 "Revision\t: c04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"},
      {"/proc/meminfo", "MemTotal:        4142112 kB\nMemFree:  1 kB\nMemAvailable:    3500000 kB\n"},
      {"/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"},
      {"/sys/class/thermal/thermal_zone0/temp", "48950\n"},
      {"/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1500000\n"},
      {"/sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq", "2400000\n"},
      {"/sys/devices/system/cpu/cpufreq/scaling_cur_freq", "9900000\n"}},
     {.model = "Raspberry Pi 5 Model B Rev 1.0",
      .cpu = "Cortex-A76",
      .cpu_cores = 4,
      .memory_total_bytes = 4142112.0 * 1024,
      .memory_available_bytes = 3500000.0 * 1024,
      .cpu_celsius = 48.95,
      .gpu_celsius = -1,
      .cpu_hertz = 2.4e9,
      .gpu_hertz = -1}},
    {"an RK3588: two kinds of core, zones by name, devfreq of GPU and memory",
     {{"/proc/device-tree/model", "Radxa ROCK 5B"},
      {"/proc/cpuinfo", A55 A55 A55 A55 A76 A76 A76 A76},
      {"/sys/class/thermal/thermal_zone0/type", "soc-thermal"},
      {"/sys/class/thermal/thermal_zone0/temp", "90000"},
      {"/sys/class/thermal/thermal_zone1/type", "bigcore0-thermal"},
      {"/sys/class/thermal/thermal_zone1/temp", "55000"},
      {"/sys/class/thermal/thermal_zone2/type", "littlecore-thermal"},
      {"/sys/class/thermal/thermal_zone2/temp", "51000"},
      {"/sys/class/thermal/thermal_zone5/type", "gpu-thermal"},
      {"/sys/class/thermal/thermal_zone5/temp", "53500"},
      {"/sys/class/devfreq/fb000000.gpu/cur_freq", "1000000000\n"},
      {"/sys/class/devfreq/dmc/cur_freq", "2112000000\n"}},
     {.model = "Radxa ROCK 5B",
      .cpu = "4x Cortex-A55 + 4x Cortex-A76",
      .cpu_cores = 8,
      .memory_total_bytes = -1,
      .memory_available_bytes = -1,
      .cpu_celsius = 55,
      .gpu_celsius = 53.5,
      .cpu_hertz = -1,
      .gpu_hertz = 1e9}},
    {"a phone: several zones of each, the hottest counts; two sensors report nonsense",
     {{"/proc/cpuinfo", "processor: 0\nCPU implementer: 0x51\nCPU part: 0x802\nHardware: Qualcomm SDM845\n"},
      {"/sys/class/thermal/thermal_zone1/type", "cpu0-thermal"},
      {"/sys/class/thermal/thermal_zone1/temp", "40000"},
      {"/sys/class/thermal/thermal_zone2/type", "cpu7-thermal"},
      {"/sys/class/thermal/thermal_zone2/temp", "44000"},
      {"/sys/class/thermal/thermal_zone3/type", "gpu-top-thermal"},
      {"/sys/class/thermal/thermal_zone3/temp", "39000"},
      {"/sys/class/thermal/thermal_zone4/type", "gpu-bottom-thermal"},
      {"/sys/class/thermal/thermal_zone4/temp", "41500"},
      {"/sys/class/thermal/thermal_zone5/type", "cpu3-thermal"},
      {"/sys/class/thermal/thermal_zone5/temp", "-274000"},
      {"/sys/class/thermal/thermal_zone6/type", "cpu4-thermal"},
      {"/sys/class/thermal/thermal_zone6/temp", "255000"},
      {"/sys/class/devfreq/5000000.gpu/cur_freq", "710000000"}},
     {.model = "",
      .cpu = "Kryo Gold",
      .cpu_cores = 1,
      .memory_total_bytes = -1,
      .memory_available_bytes = -1,
      .cpu_celsius = 44,
      .gpu_celsius = 41.5,
      .cpu_hertz = -1,
      .gpu_hertz = 7.1e8}},
    {"a PC with an AMD GPU: DMI without a product name, hwmon",
     {{"/sys/class/dmi/id/product_name", "To Be Filled By O.E.M.\n"},
      {"/sys/class/dmi/id/board_name", "B450M Pro4\n"},
      {"/proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD Ryzen 5 3600\nprocessor\t: 1\nmodel name\t: AMD Ryzen 5 3600\n"},
      {"/sys/class/hwmon/hwmon0/name", "k10temp\n"},
      {"/sys/class/hwmon/hwmon0/temp1_input", "61250\n"},
      {"/sys/class/hwmon/hwmon1/name", "amdgpu\n"},
      {"/sys/class/hwmon/hwmon1/temp1_input", "47000\n"},
      {"/sys/class/hwmon/hwmon1/freq1_input", "1340000000\n"},
      {"/sys/class/drm/card0-HDMI-A-1/gt_cur_freq_mhz", "9999\n"}},
     {.model = "B450M Pro4",
      .cpu = "AMD Ryzen 5 3600",
      .cpu_cores = 2,
      .memory_total_bytes = -1,
      .memory_available_bytes = -1,
      .cpu_celsius = 61.25,
      .gpu_celsius = 47,
      .cpu_hertz = -1,
      .gpu_hertz = 1.34e9}},
    {"an Intel laptop: the package counts before acpitz",
     {{"/sys/class/dmi/id/product_name", "20Q0000GE\n"},
      {"/sys/class/thermal/thermal_zone0/type", "acpitz"},
      {"/sys/class/thermal/thermal_zone0/temp", "70000"},
      {"/sys/class/thermal/thermal_zone9/type", "x86_pkg_temp"},
      {"/sys/class/thermal/thermal_zone9/temp", "58000"},
      {"/sys/class/drm/card0/gt_cur_freq_mhz", "350\n"}},
     {.model = "20Q0000GE",
      .cpu = "",
      .cpu_cores = -1,
      .memory_total_bytes = -1,
      .memory_available_bytes = -1,
      .cpu_celsius = 58,
      .gpu_celsius = -1,
      .cpu_hertz = -1,
      .gpu_hertz = 3.5e8}},
};

static void write_file(const char *root, const struct file *file)
{
    char path[1200];
    snprintf(path, sizeof path, "%s%s", root, file->path);
    for (char *at = path + strlen(root) + 1; *at; at++) {
        if (*at != '/') continue;
        *at = 0;
        if (mkdir(path, 0777) != 0) assert_int_equal(errno, EEXIST);
        *at = '/';
    }
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    fputs(file->text, out);
    if (strstr(file->path, "device-tree")) fputc(0, out); /* as the kernel ends it */
    fclose(out);
}

static bool near(double got, double want)
{
    return got - want <= 1e-9 * (want < 0 ? 1 : want) && want - got <= 1e-9 * (want < 0 ? 1 : want);
}

static void boards_are_read(void **state)
{
    const struct board_case *c = *state;
    char root[1024];
    snprintf(root, sizeof root, "%s", test_folder("board"));
    for (int i = 0; c->files[i].path; i++) write_file(root, &c->files[i]);
    esker_board_info got;
    esker__board_read(root, &got);
    assert_string_equal(got.model, c->want.model);
    assert_string_equal(got.cpu, c->want.cpu);
    assert_int_equal(got.cpu_cores, c->want.cpu_cores);
    const double pairs[][2] = {{got.memory_total_bytes, c->want.memory_total_bytes},
                               {got.memory_available_bytes, c->want.memory_available_bytes},
                               {got.cpu_celsius, c->want.cpu_celsius},
                               {got.gpu_celsius, c->want.gpu_celsius},
                               {got.cpu_hertz, c->want.cpu_hertz},
                               {got.gpu_hertz, c->want.gpu_hertz}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (!near(pairs[i][0], pairs[i][1]))
            fail_msg("%s: number %zu is %g, want %g", c->name, i, pairs[i][0], pairs[i][1]);
}

static void this_machine_has_cores_and_memory(void **state)
{
    (void)state;
    esker_board_info info;
    esker_board_get_info(&info);
    assert_true(info.cpu_cores >= 1);
    assert_true(info.memory_total_bytes > 1e6);
    assert_true(info.memory_available_bytes > 0 && info.memory_available_bytes <= info.memory_total_bytes);
}

int main(void)
{
    enum { N = sizeof cases / sizeof cases[0] };
    struct CMUnitTest tests[N + 1] = {cmocka_unit_test(this_machine_has_cores_and_memory)};
    for (int i = 0; i < N; i++)
        tests[i + 1] = (struct CMUnitTest){
            .name = cases[i].name, .test_func = boards_are_read, .initial_state = (void *)(uintptr_t)&cases[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
