#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static bool reserve(esker__text *text, size_t more)
{
    size_t wanted;
    if (text->failed) return false;
    if (!esker__add_size(text->n_chars, more, &wanted) || !esker__add_size(wanted, 1, &wanted)) goto failed;
    if (wanted > text->capacity) {
        if (wanted < text->capacity * 2) wanted = text->capacity * 2;
        char *grown = esker__realloc(text->chars, wanted);
        if (!grown) goto failed;
        text->chars = grown;
        text->capacity = wanted;
    }
    return true;
failed:
    text->failed = true;
    return false;
}

void esker__text_add(esker__text *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        text->failed = true;
    else if (reserve(text, (size_t)n)) {
        vsnprintf(text->chars + text->n_chars, (size_t)n + 1, format, again);
        text->n_chars += (size_t)n;
    }
    va_end(again);
}

void esker__text_add_bytes(esker__text *text, const char *bytes, size_t n_bytes)
{
    if (!reserve(text, n_bytes)) return;
    memcpy(text->chars + text->n_chars, bytes, n_bytes);
    text->n_chars += n_bytes;
    text->chars[text->n_chars] = 0;
}

void esker__text_finish(esker__text *text)
{
    esker__free(text->chars);
    *text = (esker__text){0};
}
