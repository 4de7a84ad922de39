/* What programs share that learn to write like a text, character by character: all but the network. */
#ifndef DEMO_CHARACTERS_H
#define DEMO_CHARACTERS_H

#include <esker/esker.h>

/* What a program's options set; its main() has the defaults. */
typedef struct settings {
    int64_t steps, batch, seed, eval_every, layers, width, context, sample;
    int64_t heads; /* 0: the network has none, and there is no such option */
    double lr, dropout, temperature;
} settings;

/* A text as indices into the characters that occur in it. The last tenth is held out. */
typedef struct text {
    int32_t *tokens; /* freed by free() */
    int64_t n, n_train;
    unsigned char characters[256];
    int vocabulary;
} text;

/* Groups of parameters: weight decay is for matrices. */
enum { DECAY = 0, NO_DECAY = 1 };

/* Records the logits of every next character, [batch * context, vocabulary], for tokens int32 [batch, context]. */
typedef esker_node *record_fn(esker_graph *graph, const settings *s, int vocabulary, esker_node *tokens, bool learning);

/* A whole program: options, text, learning, measuring, writing. Returns what main() returns. */
int characters_main(int argc, char **argv, settings s, record_fn *record);

extern const char usage[];
/* Prints "NAME OF THE PROGRAM: ..." to stderr and returns false. */
bool fail(const char *format, ...);

bool read_options(int argc, char **argv, settings *s);
/* At least one window of context + 1 characters is in either part. */
bool read_text(const char *path, int64_t context, text *out);

/* Number i under a seed, in [0, 1), the same on every machine. */
double uniform(uint64_t seed, uint64_t i);

#endif
