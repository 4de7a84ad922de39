#include "support/random_graph.h"

#include <stdio.h>

#include "base/philox.h"
#include "support/test.h"

void random_graph(esker_graph *graph, int n_ops, uint64_t stream, esker_node **out, int n_out)
{
    const esker_shape square = {2, {RANDOM_GRAPH_SIDE, RANDOM_GRAPH_SIDE}}, cube = {3, {3, 16, RANDOM_GRAPH_SIDE}};
    esker_node *values[256];
    int n = 0;
    esker__random random;
    esker__random_init(&random, test_seed(), stream);
    for (; n < RANDOM_GRAPH_INPUTS; n++) {
        char name[8];
        snprintf(name, sizeof name, "x%d", n);
        values[n] = esker_input(graph, name, ESKER_DTYPE_F32, &square);
    }
    for (int i = 0; i < n_ops && n < 256; i++) {
        /* Mostly recent values, so that the graph is deep, sometimes any. */
        uint32_t window = esker__random_below(&random, 3) ? 4 : (uint32_t)n;
        if (window > (uint32_t)n) window = (uint32_t)n;
        esker_node *a = values[n - 1 - (int)esker__random_below(&random, window)];
        esker_node *b = values[esker__random_below(&random, (uint32_t)n)];
        esker_node *y = NULL;
        switch (esker__random_below(&random, 12)) {
        case 0: y = esker_tanh(esker_add(a, b)); break;
        case 1: y = esker_mul(esker_sigmoid(a), b); break;
        case 2: y = esker_relu(esker_sub(a, b)); break;
        case 3: y = esker_affine(esker_matmul(a, b, NULL), 0.03f, 0); break;
        case 4: y = esker_affine(esker_matmul(a, b, &(esker_matmul_desc){.transpose_b = true}), 0.03f, 0.1f); break;
        case 5: y = esker_transpose(a, NULL); break;
        case 6: y = esker_tanh(esker_reshape(esker_relu(esker_reshape(a, &cube)), &square)); break;
        case 7: y = esker_sub(a, esker_mean(b, (int[]){1}, 1, true)); break;
        case 8: y = esker_add(b, esker_affine(esker_sum(a, (int[]){0}, 1, true), 0.02f, 0)); break;
        case 9: y = esker_softmax(a, 1); break;
        case 10: { /* pieces of 16 rows begin where bindings may */
            esker_node *parts[3] = {NULL};
            (void)esker_split_axis(a, 0, NULL, 3, parts);
            y = esker_concat((esker_node *[]){parts[2], esker_tanh(parts[0]), parts[1]}, 3, 0);
            break;
        }
        case 11: y = esker_mul(a, esker_slice(a, &(esker_range){16, 17, 1}, 1)); break;
        }
        values[n++] = y;
    }
    for (int i = 0; i < n_out; i++) out[i] = values[n - 1 - i];
}
