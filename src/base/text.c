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

/* Bytes of the UTF-8 character at `s`, or 0 if there is none (RFC 3629, without looking for overlong forms of 3 and 4). */
static size_t utf8_bytes(const unsigned char *s)
{
    size_t n = s[0] < 0x80                    ? 1
               : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
               : s[0] >= 0xe0 && s[0] <= 0xef ? 3
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                              : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return n;
}

/* Not so: bytes that are no character (n is 0), and what needs an escape. */
static bool is_plain(const unsigned char *s, size_t n)
{
    return n > 0 && *s != '"' && *s != '\\' && *s >= 0x20;
}

void esker__text_add_quoted(esker__text *text, const char *chars)
{
    const unsigned char *s = (const unsigned char *)chars;
    esker__text_add_bytes(text, "\"", 1);
    while (*s) {
        size_t n_plain = 0, n = utf8_bytes(s);
        while (s[n_plain] && is_plain(s + n_plain, n = utf8_bytes(s + n_plain))) n_plain += n;
        esker__text_add_bytes(text, (const char *)s, n_plain);
        s += n_plain;
        if (!*s) break;
        switch (*s) {
        case '"': esker__text_add(text, "\\\""); break;
        case '\\': esker__text_add(text, "\\\\"); break;
        case '\n': esker__text_add(text, "\\n"); break;
        case '\t': esker__text_add(text, "\\t"); break;
        default: esker__text_add(text, "\\u%04x", *s < 0x20 ? (unsigned)*s : 0xfffdu); break;
        }
        s++;
    }
    esker__text_add_bytes(text, "\"", 1);
}

void esker__text_add_names(esker__text *text, const char *const *first, size_t row_bytes, int n)
{
    for (int i = 0; i < n; i++) {
        const char *const *name = (const void *)((const char *)first + (size_t)i * row_bytes);
        esker__text_add(text, "%s%s", i == 0 ? "" : i + 1 < n ? ", " : " and ", *name);
    }
}

void esker__text_finish(esker__text *text)
{
    esker__free(text->chars);
    *text = (esker__text){0};
}
