#include <ctype.h>
#include <string.h>

#include "gpu/source.h"

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

esker__token esker__token_next(const char *at)
{
    for (;;) {
        while (isspace((unsigned char)*at)) at++;
        if (at[0] == '/' && at[1] == '/')
            at += strcspn(at, "\n");
        else if (at[0] == '/' && at[1] == '*') {
            const char *end = strstr(at + 2, "*/");
            at = end ? end + 2 : at + strlen(at);
        } else
            break;
    }
    size_t n = 0;
    while (is_word(at[n])) n++;
    return (esker__token){at, n || !*at ? n : 1};
}

bool esker__token_is(esker__token t, const char *text)
{
    return t.n == strlen(text) && !memcmp(t.chars, text, t.n);
}

bool esker__token_take(esker__token *t, const char *text)
{
    if (!esker__token_is(*t, text)) return false;
    *t = esker__token_behind(*t);
    return true;
}

bool esker__token_take_word(esker__token *t, esker__token *out)
{
    if (!t->n || !is_word(t->chars[0])) return false;
    *out = *t;
    *t = esker__token_behind(*t);
    return true;
}

/* The first token of the line, and of those that go on with it. */
static esker__token first_of_line(const char *source, const char *at)
{
    while (at > source && (at[-1] != '\n' || (at - source > 1 && at[-2] == '\\'))) at--;
    return esker__token_next(at);
}

bool esker__is_in_directive(const char *source, const char *at)
{
    return esker__token_is(first_of_line(source, at), "#");
}

bool esker__is_in_definition(const char *source, const char *at)
{
    esker__token t = first_of_line(source, at);
    return esker__token_take(&t, "#") && esker__token_is(t, "define");
}

esker__token esker__token_closing(esker__token open)
{
    int depth = 0;
    for (; open.n; open = esker__token_behind(open)) {
        depth += esker__token_is(open, "[") - esker__token_is(open, "]");
        if (depth == 0) break;
    }
    return open;
}

bool esker__is_assigned(esker__token close)
{
    esker__token t = esker__token_behind(close);
    return esker__token_is(t, "=") && t.chars[1] != '=';
}

bool esker__block_declaration_read(esker__token t, esker__block_declaration *out)
{
    esker__token word;
    *out = (esker__block_declaration){.begin = t.chars};
    if (!esker__token_take(&t, "layout") || !esker__token_take(&t, "(") || !esker__token_take(&t, "std430") ||
        !esker__token_take(&t, ",") || !esker__token_take(&t, "binding") || !esker__token_take(&t, "="))
        return false;
    out->binding = t;
    for (int depth = 0; t.n && (depth > 0 || !esker__token_is(t, ")")); t = esker__token_behind(t)) {
        depth += esker__token_is(t, "(") - esker__token_is(t, ")");
        out->binding.n = (size_t)(t.chars + t.n - out->binding.chars);
    }
    if (!esker__token_take(&t, ")")) return false;
    for (int n = 0; !esker__token_is(t, "buffer") && esker__token_take_word(&t, &word); n++) {
        out->is_readonly = n == 0 && esker__token_is(word, "readonly");
        out->is_writeonly = n == 0 && esker__token_is(word, "writeonly");
        out->is_own = n == 0 && esker__token_is(word, "own");
    }
    if (!esker__token_take(&t, "buffer") || !esker__token_take_word(&t, &word) || !esker__token_take(&t, "{") ||
        !esker__token_take_word(&t, &out->type) || !esker__token_take_word(&t, &out->array) ||
        !esker__token_take(&t, "[") || !esker__token_take(&t, "]") || !esker__token_take(&t, ";") ||
        !esker__token_take(&t, "}") || !esker__token_is(t, ";"))
        return false;
    out->end = t.chars + 1;
    return true;
}
