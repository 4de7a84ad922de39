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

bool esker__is_in_definition(const char *source, const char *at)
{
    while (at > source && (at[-1] != '\n' || (at - source > 1 && at[-2] == '\\'))) at--;
    esker__token t = esker__token_next(at);
    return esker__token_take(&t, "#") && esker__token_is(t, "define");
}
