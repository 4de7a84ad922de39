/* Cases of products of matrices, and of what is made of several: attention, recurrent layers. */
#include "selftest/case_rows.h"

BUILD(matmul)
{
    (void)graph;
    esker_node *y = esker_matmul(in[0], in[1],
                                 &(esker_matmul_desc){.transpose_a = args[0] != 0, .transpose_b = args[1] != 0});
    if (args[2] != 0) y = esker_add(y, in[2]);
    return args[3] == 1 ? esker_relu(y) : args[3] == 2 ? esker_sigmoid(y) : args[3] == 3 ? esker_tanh(y) : y;
}
BUILD(products_of_rows)
{
    (void)graph;
    (void)args;
    return esker_layer_norm(esker_add(esker_matmul(esker_gelu(esker_matmul(in[0], in[1], NULL)), in[2], NULL), in[0]), 1,
                            in[3], NULL, 0);
}
BUILD(norms_of_products)
{
    (void)graph;
    (void)args;
    return esker_layer_norm(esker_matmul(esker_layer_norm(in[0], 1, in[2], in[3], 0), in[1], NULL), 1, in[2], in[3], 0);
}
BUILD(attention)
{
    (void)graph;
    return esker_attention(in[0], in[1], in[2], &(esker_attention_desc){.causal = args[0] != 0});
}
/* args: kind, whether reversed; inputs: x, the two weights, the two biases, the state. */
BUILD(recurrent)
{
    (void)graph;
    esker_node *y = esker_recurrent(in[0],
                                    &(esker_recurrent_desc){.kind = (esker_recurrent_kind)args[0],
                                                            .weight_ih = in[1],
                                                            .weight_hh = in[2],
                                                            .bias_ih = in[3],
                                                            .bias_hh = in[4],
                                                            .h = args[0] == ESKER_RECURRENT_LSTM && !args[2] ? NULL : in[5],
                                                            .c = args[2] ? in[6] : NULL,
                                                            .reverse = args[1] != 0});
    /* args[2]: both states given, and the last of both. */
    return args[2] ? esker_add(esker_recurrent_cell(y), esker_sum(y, (const int[]){0}, 1, false)) : y;
}
BUILD(rotary)
{
    (void)graph;
    return esker_rotary(in[0], &(esker_rotary_desc){.halves = args[0] != 0, .offset = (int64_t)args[1]});
}

/* clang-format off */
static const esker__case_row rows[] = {
    {"matmul", .build = build_matmul, .shapes = {"1,1 x 1,1", "5,7 x 7,3", "127,33 x 33,65", "4,129 x 129,8", "6,2100 x 2100,5", "64,64 x 64,64", "129,80 x 80,130"}},
    {"matmul", "a transposed", .build = build_matmul, .args = {1, 0}, .shapes = {"33,127 x 33,65", "64,128 x 64,64", "100,131 x 100,97"}},
    {"matmul", "b transposed", .build = build_matmul, .args = {0, 1}, .shapes = {"31,33 x 65,33", "64,128 x 96,128", "97,100 x 130,100"}},
    {"matmul", "both transposed", .build = build_matmul, .args = {1, 1}, .shapes = {"33,31 x 65,33", "128,64 x 96,128", "100,98 x 130,100"}},
    {"matmul", "a vector", .build = build_matmul, .shapes = {"1,129 x 129,5", "1,5 x 5,300", "127,9 x 9,1", "1,3000 x 3000,1"}},
    {"matmul", "with bias", .build = build_matmul, .args = {0, 0, 1}, .shapes = {"5,7 x 7,3 x 3", "64,64 x 64,64 x 64", "3,2100 x 2100,4 x 4"}},
    {"matmul", "with bias and relu", .build = build_matmul, .args = {0, 0, 1, 1}, .shapes = {"9,33 x 33,6 x 6", "65,64 x 64,66 x 66"}},
    {"matmul", "b stands still", .build = build_matmul, .args = {0, 1, 1}, .parameters = 6, .shapes = {"1,33 x 6,33 x 6", "65,64 x 66,64 x 66"}},
    {"matmul", "with bias and sigmoid", .build = build_matmul, .args = {0, 0, 1, 2}, .shapes = {"9,33 x 33,6 x 6", "65,64 x 64,66 x 66"}},
    {"matmul", "with bias and tanh", .build = build_matmul, .args = {0, 0, 1, 3}, .shapes = {"9,33 x 33,6 x 6", "65,64 x 64,66 x 66"}},
    {"matmul", "batches", .build = build_matmul, .shapes = {"3,5,7 x 3,7,4", "2,1,33,9 x 3,9,17", "2,64,64 x 64,64", "4,7 x 3,7,1"}},
    {"matmul", "batches, b transposed", .build = build_matmul, .args = {0, 1}, .shapes = {"3,5,7 x 3,4,7", "2,64,64 x 2,64,64"}},
    {"matmul", "one axis", .build = build_matmul, .shapes = {"129 x 129", "7 x 3,7,5", "3,5,7 x 7"}},
    {"matmul", "one behind another, and a norm", .build = build_products_of_rows, .shapes = {"5,64 x 64,128 x 128,64 x 64"}},
    {"layer_norm", "behind a product, and in front", .build = build_norms_of_products, .shapes = {"5,64 x 64,64 x 64 x 64", "2,129 x 129,129 x 129 x 129"}},

    {"attention", .build = build_attention, .shapes = {"1,1,1,1 x 1,1,1,1 x 1,1,1,1", "2,3,7,8 x 2,3,7,8 x 2,3,7,8", "1,2,65,33 x 1,2,70,33 x 1,2,70,33", "1,2,65,64 x 1,2,70,64 x 1,2,70,64"}},
    {"attention", "causal", .build = build_attention, .args = {1}, .shapes = {"2,3,7,8 x 2,3,7,8 x 2,3,7,8", "1,1,129,32 x 1,1,129,32 x 1,1,129,32"}},
    {"recurrent", "rnn, tanh", .build = build_recurrent, .args = {ESKER_RECURRENT_RNN_TANH}, .in = {ON(-1, 1), ON(-0.5, 0.5), ON(-0.5, 0.5)}, .shapes = {"4,3,5 x 7,5 x 7,7 x 7 x 7 x 3,7"}},
    {"recurrent", "rnn, relu, reversed", .build = build_recurrent, .args = {ESKER_RECURRENT_RNN_RELU, 1}, .in = {ON(-1, 1), ON(-0.3, 0.3), ON(-0.3, 0.3)}, .shapes = {"4,3,5 x 7,5 x 7,7 x 7 x 7 x 3,7"}},
    {"recurrent", "lstm", .build = build_recurrent, .args = {ESKER_RECURRENT_LSTM}, .in = {ON(-1, 1), ON(-0.5, 0.5), ON(-0.5, 0.5)}, .shapes = {"4,3,5 x 28,5 x 28,7 x 28 x 28"}},
    {"recurrent", "lstm, states and last cell", .build = build_recurrent, .args = {ESKER_RECURRENT_LSTM, 0, 1}, .in = {ON(-1, 1), ON(-0.5, 0.5), ON(-0.5, 0.5)}, .shapes = {"4,3,5 x 28,5 x 28,7 x 28 x 28 x 1,7 x 1,7"}},
    {"recurrent", "gru", .build = build_recurrent, .args = {ESKER_RECURRENT_GRU}, .in = {ON(-1, 1), ON(-0.5, 0.5), ON(-0.5, 0.5)}, .shapes = {"4,3,5 x 21,5 x 21,7 x 21 x 21 x 3,7", "1,1,1 x 3,1 x 3,1 x 3 x 3 x 1,1"}},
    {"rotary", .build = build_rotary, .shapes = {"1,2", "2,3,7,8", "129,6"}},
    {"rotary", "halves, from 1000", .build = build_rotary, .args = {1, 1000}, .shapes = {"2,3,7,8"}},
};
/* clang-format on */

FAMILY(matmul);
