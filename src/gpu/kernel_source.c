/*
 * The sources of kernels: finding them, and putting together what a driver gets.
 *
 * A kernel's file may have lines `#include "gemm/loads"`, each of which becomes the text of that piece, glsl/gemm/loads.glsl. Pieces include
 * none. With a number behind it, `#include "gemm/stage" 2`, that stands in place of each @ of the piece. Besides, a definition may ask for text in front of a kernel's (parts, below).
 */
#include "gpu/internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"

#define MAX_SOURCE_BYTES ((size_t)1 << 20)
#define PIECE            ".glsl" /* how the names of pieces end, in the table of embedded sources, too; kernels' have no end */
#define INCLUDE          "#include \""
#define LINES_OF_A_FILE \
    2000 /* the lines of the second file of a kernel are numbered from here on, and so forth: drivers forget source numbers */

/** A file as it stands. */
typedef struct file {
    char path[512]; /* for messages: "glsl/gemm/direct.comp", or the file under ESKER_GLSL_DIR */
    unsigned char *memory;
    const char *text;
    size_t n_bytes;
    bool registered; /* a program brought it along: it may say anything */
} file;

static bool is_piece(const char *name)
{
    size_t n = strlen(name), n_end = strlen(PIECE);
    return n > n_end && strcmp(name + n - n_end, PIECE) == 0;
}

static bool is_good_name(const char *name)
{
    size_t n = strlen(name) - (is_piece(name) ? strlen(PIECE) : 0);
    if (n == 0 || name[0] == '/' || n > 200) return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("_-/", name[i])) return false;
    return true;
}

bool esker__is_registered_name(const char *name)
{
    return strncmp(name, ESKER__REGISTERED, strlen(ESKER__REGISTERED)) == 0;
}

static esker_status find_file(const char *name, file *out)
{
    *out = (file){0};
    const char *folder = getenv("ESKER_GLSL_DIR"), *end = is_piece(name) ? "" : ".comp";
    if (!is_good_name(name)) return esker__fail(ESKER_ERR_INVALID, "\"%s\" is no kernel name, such as gemm/direct", name);
    if (folder && folder[0]) {
        int n = snprintf(out->path, sizeof out->path, "%s/%s%s", folder, name, end);
        if (n >= (int)sizeof out->path)
            return esker__fail(ESKER_ERR_INVALID, "ESKER_GLSL_DIR: the path %s/%s%s is too long", folder, name, end);
        if (access(folder, F_OK) != 0)
            return esker__fail(ESKER_ERR_INVALID, "ESKER_GLSL_DIR: %.300s: %s", folder, strerror(errno));
        /* A kernel that is not there comes from the built-in ones: the folder need only hold what is being worked on. */
        if (access(out->path, F_OK) == 0) {
            esker_status st = esker__file_read(out->path, MAX_SOURCE_BYTES, &out->memory, &out->n_bytes);
            out->text = (const char *)out->memory;
            return st;
        }
    }
    if (esker__is_registered_name(name)) {
        char *copy;
        esker_status st = esker__kernel_registered_text(name, &copy);
        if (st != ESKER_OK) return st;
        snprintf(out->path, sizeof out->path, "%s", name);
        out->memory = (unsigned char *)copy;
        out->text = copy;
        out->n_bytes = strlen(copy);
        out->registered = true;
        return ESKER_OK;
    }
    for (int i = 0; i < esker__n_kernel_sources; i++) {
        if (strcmp(esker__kernel_sources[i].name, name) != 0) continue;
        snprintf(out->path, sizeof out->path, "glsl/%s%s", name, end);
        out->text = (const char *)esker__kernel_sources[i].text;
        out->n_bytes = esker__kernel_sources[i].n_bytes;
        return ESKER_OK;
    }
    return esker__fail(ESKER_ERR_INVALID, "there is no kernel glsl/%s%s among the %d files built in%s%s", name, end,
                       esker__n_kernel_sources, folder && folder[0] ? ", nor in ESKER_GLSL_DIR " : "",
                       folder && folder[0] ? folder : "");
}

/* Kernels whose text a definition puts in front of another's. */
static const struct part {
    const char *define, *name;
} parts[] = {{"FUNCTIONS 1", "elementwise/functions"}, {"CLIPPING 1", "optim/clipping"}, {"RULES 1", "optim/rules"}};
enum { N_PARTS = sizeof parts / sizeof parts[0] };

static size_t length_of_line(const char *text, size_t n_bytes)
{
    const char *newline = memchr(text, '\n', n_bytes);
    return newline ? (size_t)(newline - text) + 1 : n_bytes;
}

/* With `number` in place of each @, if it is above 0. */
static void add_text(const char *text, size_t n_bytes, int number, esker__text *out)
{
    for (const char *at; number > 0 && (at = memchr(text, '@', n_bytes));) {
        esker__text_add_bytes(out, text, (size_t)(at - text));
        esker__text_add(out, "%d", number);
        n_bytes -= (size_t)(at + 1 - text);
        text = at + 1;
    }
    esker__text_add_bytes(out, text, n_bytes);
}

/* All of a file, a kernel's without its #version. */
static esker_status add_file(const char *name, int number, esker__full_source *out)
{
    file f;
    esker_status st = find_file(name, &f);
    if (st != ESKER_OK) return st;
    if (out->n_files == ESKER__KERNEL_FILES) {
        esker__free(f.memory);
        return esker__fail(ESKER_ERR_LIMIT, "%s: made of more than %d files", out->paths[0], ESKER__KERNEL_FILES);
    }
    size_t first = is_piece(name) ? 0 : length_of_line(f.text, f.n_bytes);
    snprintf(out->paths[out->n_files], sizeof out->paths[0], "%s", f.path);
    esker__text_add(&out->text, "#line %d\n", LINES_OF_A_FILE * out->n_files++ + (first ? 2 : 1));
    add_text(f.text + first, f.n_bytes - first, number, &out->text);
    esker__free(f.memory);
    return ESKER_OK;
}

/* The lines of a kernel behind its first. */
static esker_status add_lines(const file *from, size_t first, esker__full_source *out)
{
    size_t n_include = strlen(INCLUDE);
    int line = 2;
    esker__text_add(&out->text, "#line 2\n");
    for (size_t at = first, n; at < from->n_bytes; at += n, line++) {
        const char *text = from->text + at;
        n = length_of_line(text, from->n_bytes - at);
        if (n <= n_include || memcmp(text, INCLUDE, n_include) != 0 || from->registered) {
            esker__text_add_bytes(&out->text, text, n);
            continue;
        }
        char name[200];
        int n_name = (int)strcspn(text + n_include, "\"\n");
        if (snprintf(name, sizeof name, "%.*s" PIECE, n_name, text + n_include) >= (int)sizeof name)
            return esker__fail(ESKER_ERR_COMPILE, "%s:%d: a name of %d characters is too long", from->path, line, n_name);
        const char *behind = text + n_include + n_name;
        esker_status st = add_file(name, *behind == '"' ? atoi(behind + 1) : 0, out);
        if (st != ESKER_OK) return st;
        esker__text_add(&out->text, "#line %d\n", line + 1);
    }
    return ESKER_OK;
}

/* "#version" stays line one, the defines follow it, and "#line 2" makes the driver count as our file does. */
static esker_status assemble(const file *from, const char *defines, esker__full_source *out)
{
    size_t first = length_of_line(from->text, from->n_bytes);
    unsigned wanted = 0; /* bit i: parts[i] */
    snprintf(out->paths[0], sizeof out->paths[0], "%s", from->path);
    out->n_files = 1;
    if (!first || from->text[first - 1] != '\n' || strncmp(from->text, "#version ", 9) != 0)
        return esker__fail(ESKER_ERR_COMPILE, "%s:1: the first line must be #version 310 es", from->path);
    esker__text_add_bytes(&out->text, from->text, first);
    for (const char *line = defines; *line;) {
        size_t n = strcspn(line, "\n");
        if (n) esker__text_add(&out->text, "#define %.*s\n", (int)n, line);
        for (int i = 0; i < N_PARTS; i++)
            if (n == strlen(parts[i].define) && !memcmp(line, parts[i].define, n)) wanted |= 1u << i;
        line += n + (line[n] == '\n');
    }
    for (int i = 0; i < N_PARTS; i++) {
        esker_status st = wanted >> i & 1 ? add_file(parts[i].name, 0, out) : ESKER_OK;
        if (st != ESKER_OK) return st;
    }
    esker_status st = add_lines(from, first, out);
    if (st != ESKER_OK) return st;
    return out->text.failed ? esker__fail_memory(from->n_bytes + strlen(defines), from->path) : ESKER_OK;
}

/* With what the file has to say of halves, not of a FLOAT16 among the definitions. */
static esker_status init_as_written(esker__full_source *source, const char *name, const char *defines)
{
    file from;
    *source = (esker__full_source){0};
    if (is_piece(name)) return esker__fail(ESKER_ERR_INVALID, "\"%s\" is no kernel name: it is a piece of some", name);
    esker_status st = find_file(name, &from);
    if (st == ESKER_OK) st = assemble(&from, defines, source);
    esker__free(from.memory);
    return st;
}

esker_status esker__full_source_init(esker__full_source *source, const char *name, const char *defines)
{
    esker_status st = init_as_written(source, name, defines);
    uint32_t halves;
    if (st == ESKER_OK && esker__wants_halves(defines, &halves)) {
        esker__text changed = {0};
        st = esker__half_source(name, source->text.chars, halves, &changed);
        esker__text_finish(st == ESKER_OK ? &source->text : &changed);
        if (st == ESKER_OK) source->text = changed;
    }
    return st;
}

void esker__full_source_finish(esker__full_source *source)
{
    esker__text_finish(&source->text);
}

esker_status esker__kernel_text(const char *name, const char *defines, esker__text *out)
{
    esker__full_source source;
    esker_status st = esker__full_source_init(&source, name, defines ? defines : "");
    if (st == ESKER_OK)
        *out = source.text;
    else
        esker__full_source_finish(&source);
    return st;
}

esker_status esker__kernel_as_written(const char *name, const char *defines, esker__text *out)
{
    esker__full_source source;
    esker_status st = init_as_written(&source, name, defines);
    if (st == ESKER_OK)
        *out = source.text;
    else
        esker__full_source_finish(&source);
    return st;
}

esker_status esker__kernels_hash(uint64_t *out)
{
    *out = ESKER__HASH_START;
    for (int i = 0; i < esker__n_kernel_sources; i++) {
        file from;
        esker_status st = find_file(esker__kernel_sources[i].name, &from);
        if (st != ESKER_OK) return st;
        *out = esker__hash_long(*out, from.text, from.n_bytes);
        esker__free(from.memory);
    }
    return ESKER_OK;
}

/*
 * Drivers write "0:12(5): error", "0(12) : error", "ERROR: 0:12:", "0:12: L0001": a source number, which is always 0 here, one of
 * ":" and "(", and the line.
 */
int esker__compile_error_line(const char *log)
{
    int first = 0;
    for (const char *line = log; line[0];) {
        size_t n = strcspn(line, "\n");
        for (size_t i = 0; i + 2 < n; i++) {
            bool starts = line[i] == '0' && (i == 0 || !isalnum((unsigned char)line[i - 1]));
            if (!starts || (line[i + 1] != ':' && line[i + 1] != '(') || !isdigit((unsigned char)line[i + 2])) continue;
            int number = (int)strtol(line + i + 2, NULL, 10);
            char lower[8] = "";
            bool is_error = false;
            for (size_t k = 0; k + 5 <= n && !is_error; k++) {
                for (int c = 0; c < 5; c++) lower[c] = (char)tolower((unsigned char)line[k + (size_t)c]);
                is_error = !strcmp(lower, "error");
            }
            if (is_error) return number;
            if (!first) first = number; /* warnings, or a driver that does not say "error" */
            break;
        }
        line += n + (line[n] == '\n');
    }
    return first;
}

const char *esker__full_source_place(const esker__full_source *source, int *line)
{
    int which = *line / LINES_OF_A_FILE;
    if (which >= source->n_files) return source->paths[0];
    *line -= which * LINES_OF_A_FILE;
    return source->paths[which];
}
