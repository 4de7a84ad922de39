/* Options, texts, and random numbers. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "characters.h"

static const char *program;

const char usage[] = "The text's file comes first, then options, each with a number:\n"
                     "  --steps --batch --lr --seed      the training\n"
                     "  --layers --width --context --dropout      the network; a GPT has --heads too\n"
                     "  --eval-every      steps between measurements on held-out text\n"
                     "  --sample --temperature      how many characters to write at the end, and how boldly";

bool fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", program);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return false;
}

bool read_options(int argc, char **argv, settings *s)
{
    const char *slash = strrchr(argv[0], '/');
    program = slash ? slash + 1 : argv[0];
    if (argc < 2 || argv[1][0] == '-') return fail("which text?\n%s", usage);
    const struct {
        const char *name;
        int64_t *whole;
        double *real, lo, hi;
    } options[] = {
        {"--steps", &s->steps, NULL, 1, 1e7},     {"--batch", &s->batch, NULL, 1, 4096},
        {"--seed", &s->seed, NULL, 0, 1e15},      {"--eval-every", &s->eval_every, NULL, 1, 1e7},
        {"--layers", &s->layers, NULL, 1, 64},    {"--heads", &s->heads, NULL, 1, 64},
        {"--width", &s->width, NULL, 1, 4096},    {"--context", &s->context, NULL, 1, 4096},
        {"--sample", &s->sample, NULL, 0, 1e6},   {"--lr", NULL, &s->lr, 1e-9, 1},
        {"--dropout", NULL, &s->dropout, 0, 0.9}, {"--temperature", NULL, &s->temperature, 1e-3, 1e3},
    };
    for (int i = 2; i < argc; i += 2) {
        size_t k = 0, n = sizeof options / sizeof options[0];
        while (k < n && strcmp(argv[i], options[k].name) != 0) k++;
        if (k == n || (options[k].whole == &s->heads && s->heads == 0))
            return fail("unknown option %s\n%s", argv[i], usage);
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        char *end;
        double v = strtod(value, &end);
        bool number = end != value && *end == 0 && (options[k].real || v == floor(v));
        if (!number || !(v >= options[k].lo && v <= options[k].hi))
            return fail("%s takes a %s number from %g to %g, not '%s'", argv[i], options[k].whole ? "whole" : "real",
                        options[k].lo, options[k].hi, value);
        if (options[k].whole) *options[k].whole = (int64_t)v;
        if (options[k].real) *options[k].real = v;
    }
    if (s->heads > 0 && s->width % s->heads != 0)
        return fail("%lld heads cannot share a width of %lld", (long long)s->heads, (long long)s->width);
    return true;
}

bool read_text(const char *path, int64_t context, text *t)
{
    FILE *file = fopen(path, "rb");
    if (!file) return fail("%s: %s", path, strerror(errno));
    int64_t capacity = 0;
    bool ok = true, seen[256] = {false};
    for (int c; ok && (c = getc(file)) != EOF; seen[c] = true) {
        if (t->n == capacity) {
            capacity = capacity ? 2 * capacity : 1 << 16;
            int32_t *tokens = realloc(t->tokens, (size_t)capacity * sizeof *tokens);
            if (!tokens)
                ok = fail("%s: no memory for the text", path);
            else
                t->tokens = tokens;
        }
        if (ok) t->tokens[t->n++] = c;
    }
    if (ok && ferror(file)) ok = fail("%s: %s", path, strerror(errno));
    fclose(file);
    t->n_train = t->n - t->n / 10;
    if (ok && t->n - t->n_train <= context)
        ok = fail("%s has %lld bytes; a context of %lld needs at least %lld", path, (long long)t->n, (long long)context,
                  10 * ((long long)context + 1));
    int32_t index[256] = {0};
    for (int c = 0; c < 256; c++) {
        index[c] = t->vocabulary;
        if (seen[c]) t->characters[t->vocabulary++] = (unsigned char)c;
    }
    for (int64_t i = 0; i < t->n; i++) t->tokens[i] = index[t->tokens[i]];
    return ok;
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
double uniform(uint64_t seed, uint64_t i)
{
    uint64_t z = seed * 0xd1342543de82ef95u + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}
