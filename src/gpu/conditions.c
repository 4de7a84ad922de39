/* The conditions of a kernel's source, decided as a preprocessor does it. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "gpu/source.h"

#define MAX_DEPTH 32 /* of conditions in conditions, of macros in macros, and of brackets */
#define MAX_MACRO 64

struct esker__macro {
    char name[MAX_MACRO];
    const char *text; /* in the source */
    size_t n;
    bool has_arguments; /* stands in conditions only as something that is defined */
};

/* ---- Macros ---- */

static struct esker__macro *find(const esker__macros *macros, esker__token name)
{
    for (size_t i = 0; i < macros->n; i++)
        if (esker__token_is(name, macros->list[i].name)) return &macros->list[i];
    return NULL;
}

static void undefine(esker__macros *macros, esker__token name)
{
    struct esker__macro *m = find(macros, name);
    if (m) *m = macros->list[--macros->n];
}

/* Those of very long names stand in no condition. */
static esker_status define(esker__macros *macros, esker__token name, const char *text, size_t n)
{
    undefine(macros, name);
    if (name.n >= MAX_MACRO) return ESKER_OK;
    if (!esker__grow((void **)&macros->list, &macros->capacity, macros->n, sizeof *macros->list))
        return esker__fail_memory(sizeof *macros->list, "a kernel's definitions");
    struct esker__macro *m = &macros->list[macros->n++];
    memcpy(m->name, name.chars, name.n);
    m->name[name.n] = 0;
    m->text = text;
    m->n = n;
    m->has_arguments = n && text[0] == '(';
    return ESKER_OK;
}

void esker__macros_finish(esker__macros *macros)
{
    esker__free(macros->list);
    *macros = (esker__macros){0};
}

void esker__macros_word(const esker__macros *macros, esker__token word, char out[40])
{
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        const struct esker__macro *m = find(macros, word);
        if (!m || !m->n || m->has_arguments) break;
        word = esker__token_next(m->text);
    }
    size_t n = word.n < 40 ? word.n : 0;
    memcpy(out, word.chars, n);
    out[n] = 0;
}

/* ---- Expressions ---- */

/* With macros replaced by their texts, and what is not defined by 0. */
static bool expand(const esker__macros *macros, const char *text, size_t n, int depth, esker__text *out)
{
    const char *end = text + n;
    if (depth > MAX_DEPTH) return false;
    for (esker__token t = esker__token_next(text); t.n && t.chars < end; t = esker__token_behind(t)) {
        bool word = isalpha((unsigned char)t.chars[0]) || t.chars[0] == '_';
        if (word && esker__token_is(t, "defined")) {
            esker__token name = esker__token_behind(t);
            bool bracket = esker__token_take(&name, "(");
            esker__text_add(out, " %d ", find(macros, name) != NULL);
            t = bracket ? esker__token_behind(name) : name;
        } else if (word) {
            const struct esker__macro *m = find(macros, t);
            if (m && m->has_arguments) m = NULL;
            esker__text_add(out, " ");
            if (m && !expand(macros, m->text, m->n, depth + 1, out)) return false;
            if (!m) esker__text_add(out, "0");
            esker__text_add(out, " ");
        } else {
            bool joined = t.chars + 1 < end && strchr("=<>&|!", t.chars[0]) && strchr("=<>&|", t.chars[1]);
            esker__text_add_bytes(out, t.chars, t.n);
            if (!joined) esker__text_add(out, " ");
        }
    }
    return !out->failed;
}

typedef struct parser {
    const char *at;
    bool failed;
    int depth;
} parser;

static const struct operator
{
    const char *text;
    int level; /* the higher the tighter */
}
operators[] = {{"||", 1}, {"&&", 2}, {"<<", 8}, {">>", 8}, {"==", 6}, {"!=", 6}, {"<=", 7}, {">=", 7}, {"|", 3},
               {"^", 4},  {"&", 5},  {"<", 7},  {">", 7},  {"+", 9},  {"-", 9},  {"*", 10}, {"/", 10}, {"%", 10}};
enum { N_OPERATORS = sizeof operators / sizeof *operators };

static int64_t apply(parser *p, const char *op, int64_t a, int64_t b)
{
    if (!strcmp(op, "||")) return a || b;
    if (!strcmp(op, "&&")) return a && b;
    if (!strcmp(op, "==")) return a == b;
    if (!strcmp(op, "!=")) return a != b;
    if (!strcmp(op, "<=")) return a <= b;
    if (!strcmp(op, ">=")) return a >= b;
    bool shifts = op[0] == op[1];
    if (shifts && (b < 0 || b > 62)) return p->failed = true, 0;
    if (shifts) return op[0] == '<' ? (int64_t)((uint64_t)a << b) : a >> b;
    switch (op[0]) {
    case '|': return a | b;
    case '^': return a ^ b;
    case '&': return a & b;
    case '<': return a < b;
    case '>': return a > b;
    case '+': return a + b;
    case '-': return a - b;
    case '*': return a * b;
    }
    if (b == 0) return p->failed = true, 0;
    return op[0] == '/' ? a / b : a % b;
}

static int64_t expression(parser *p, int level);

static void skip(parser *p)
{
    while (isspace((unsigned char)*p->at)) p->at++;
}

static int64_t operand(parser *p)
{
    skip(p);
    if (++p->depth > MAX_DEPTH) p->failed = true;
    int64_t value = 0;
    char c = *p->at;
    if (p->failed) {
    } else if (c == '(') {
        p->at++;
        value = expression(p, 1);
        skip(p);
        if (*p->at == ')')
            p->at++;
        else
            p->failed = true;
    } else if (c && strchr("!-+~", c)) {
        p->at++;
        value = operand(p);
        value = c == '!' ? !value : c == '-' ? -value : c == '~' ? ~value : value;
    } else if (isdigit((unsigned char)c)) {
        char *end;
        value = strtoll(p->at, &end, 0);
        if (*end == 'u' || *end == 'U') end++;
        p->failed = isalnum((unsigned char)*end) || *end == '.';
        p->at = end;
    } else {
        p->failed = true;
    }
    p->depth--;
    return value;
}

static int64_t expression(parser *p, int level)
{
    int64_t value = operand(p);
    while (!p->failed) {
        int i = 0;
        skip(p);
        while (i < N_OPERATORS && strncmp(p->at, operators[i].text, strlen(operators[i].text)) != 0) i++;
        if (i == N_OPERATORS || operators[i].level < level) break;
        p->at += strlen(operators[i].text);
        value = apply(p, operators[i].text, value, expression(p, operators[i].level + 1));
    }
    return value;
}

bool esker__macros_evaluate(const esker__macros *macros, const char *text, size_t n_chars, int64_t *out)
{
    esker__text expanded = {0};
    bool good = expand(macros, text, n_chars, 0, &expanded);
    parser p = {.at = expanded.chars ? expanded.chars : ""};
    *out = good ? expression(&p, 1) : 0;
    skip(&p);
    good = good && !p.failed && !*p.at;
    esker__text_finish(&expanded);
    return good;
}

/* ---- Lines ---- */

typedef struct condition {
    bool outside, taken, active; /* what is around it is active; one of its parts was; this part is */
} condition;

/* The length of the line, with those that it goes on in. */
static size_t length_of(const char *line)
{
    size_t n = strcspn(line, "\n");
    while (line[n] && n && line[n - 1] == '\\') n += 1 + strcspn(line + n + 1, "\n");
    return n;
}

/* Up to a comment. */
static size_t length_of_code(const char *text, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (text[i] == '/' && (text[i + 1] == '/' || text[i + 1] == '*')) return i;
    return n;
}

static esker_status fail_line(const char *name, const char *line, const char *what)
{
    return esker__fail(ESKER_ERR_COMPILE, "%s: %s: \"%.*s\"", name, what, (int)strcspn(line, "\n"), line);
}

/* Of a line that is a condition; *out_is: it is one. */
static esker_status decide(const char *name, const char *line, size_t n, const esker__macros *macros, condition *stack,
                           int *depth, bool *out_is)
{
    esker__token t = esker__token_next(line), word;
    int64_t value = 0;
    *out_is = false;
    if (t.chars >= line + n || !esker__token_take(&t, "#") || t.chars >= line + n) return ESKER_OK;
    word = t;
    const char *rest = t.chars + t.n;
    size_t n_rest = length_of_code(rest, (size_t)(line + n - rest));
    bool opens = esker__token_is(word, "if") || esker__token_is(word, "ifdef") || esker__token_is(word, "ifndef");
    bool outside = *depth == 0 || stack[*depth - 1].active;
    if (opens) {
        *out_is = true;
        if (*depth == MAX_DEPTH) return fail_line(name, line, "conditions too deep");
        bool holds = false;
        if (outside && word.n > 2)
            holds = (find(macros, esker__token_next(rest)) != NULL) == (word.n == 5);
        else if (outside && !esker__macros_evaluate(macros, rest, n_rest, &value))
            return fail_line(name, line, "no integer expression");
        if (outside && word.n == 2) holds = value != 0;
        stack[(*depth)++] = (condition){outside, holds, holds};
        return ESKER_OK;
    }
    bool otherwise = esker__token_is(word, "else"), another = esker__token_is(word, "elif"),
         ends = esker__token_is(word, "endif");
    *out_is = otherwise || another || ends;
    if (!*out_is) return ESKER_OK;
    if (*depth == 0) return fail_line(name, line, "no condition is open");
    condition *c = &stack[*depth - 1];
    if (ends) {
        --*depth;
        return ESKER_OK;
    }
    bool open = c->outside && !c->taken;
    if (another && open && !esker__macros_evaluate(macros, rest, n_rest, &value))
        return fail_line(name, line, "no integer expression");
    c->active = open && (otherwise || value);
    c->taken |= c->active;
    return ESKER_OK;
}

esker_status esker__active_source(const char *name, const char *source, esker__text *out, esker__macros *macros)
{
    condition stack[MAX_DEPTH];
    int depth = 0;
    esker_status st = ESKER_OK;
    for (const char *line = source; *line && st == ESKER_OK;) {
        size_t n = length_of(line);
        bool is_condition;
        st = decide(name, line, n, macros, stack, &depth, &is_condition);
        bool active = st == ESKER_OK && !is_condition && (depth == 0 || stack[depth - 1].active);
        esker__token t = esker__token_next(line), word;
        if (active && t.chars < line + n && esker__token_take(&t, "#")) {
            word = t;
            esker__token defined = esker__token_behind(word);
            const char *text = defined.chars + defined.n, *end = line + n;
            if (esker__token_is(word, "undef")) undefine(macros, defined);
            if (esker__token_is(word, "define") && text <= end)
                st = define(macros, defined, text, length_of_code(text, (size_t)(end - text)));
        }
        if (active) esker__text_add_bytes(out, line, n);
        for (size_t i = 0; !active && i < n; i++)
            if (line[i] == '\n') esker__text_add(out, "\n");
        line += n;
        if (*line) esker__text_add(out, "\n"), line++;
    }
    if (st == ESKER_OK && depth) st = esker__fail(ESKER_ERR_COMPILE, "%s: a condition without an end", name);
    if (st == ESKER_OK && out->failed) st = esker__fail_memory(strlen(source), name);
    return st;
}
