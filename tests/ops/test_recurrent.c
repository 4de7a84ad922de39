/* device test: recurrent layers, forward and back through the steps, against loops in double. */
#include "support/op_check.h"

typedef struct variant {
    esker_recurrent_kind kind;
    bool bias, state, reverse, batch_first;
    int cell; /* 1: the last cell state behind the hidden ones; 2: it alone */
} variant;

/* Inputs: x, weight_ih, weight_hh, then bias_hh (with bias; it also serves as bias_ih), then h, and c of an lstm. */
static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    const variant *v = args;
    esker_recurrent_desc desc = {
        .kind = v->kind, .weight_ih = in[1], .weight_hh = in[2], .reverse = v->reverse, .batch_first = v->batch_first};
    int n = 3;
    (void)graph;
    if (v->bias) desc.bias_ih = desc.bias_hh = in[n++];
    if (v->state) desc.h = in[n++];
    if (v->state && v->kind == ESKER_RECURRENT_LSTM) desc.c = in[n++];
    esker_node *y = esker_recurrent(in[0], &desc);
    if (!v->cell) return y;
    esker_node *c = esker_recurrent_cell(y);
    if (v->cell == 2 || !y) return c;
    int64_t hidden = esker_node_get_shape(y)->dims[2];
    return esker_concat((esker_node *[]){esker_reshape(y, &(esker_shape){2, {-1, hidden}}), c}, 2, 0);
}

static const variant tanh_plain = {.kind = ESKER_RECURRENT_RNN_TANH, .bias = true};
static const variant tanh_reverse = {.kind = ESKER_RECURRENT_RNN_TANH, .state = true, .reverse = true, .batch_first = true};
static const variant relu_all = {.kind = ESKER_RECURRENT_RNN_RELU, .bias = true, .state = true, .reverse = true};
static const variant lstm_plain = {.kind = ESKER_RECURRENT_LSTM};
static const variant lstm_bias = {.kind = ESKER_RECURRENT_LSTM, .bias = true, .batch_first = true};
static const variant lstm_all = {ESKER_RECURRENT_LSTM, true, true, true, true};
static const variant lstm_state = {ESKER_RECURRENT_LSTM, true, true, false, false};
static const variant lstm_cell = {ESKER_RECURRENT_LSTM, true, true, true, true, 1};
static const variant lstm_cell_alone = {ESKER_RECURRENT_LSTM, true, false, false, false, 2};
static const variant gru_plain = {.kind = ESKER_RECURRENT_GRU};
static const variant gru_bias = {.kind = ESKER_RECURRENT_GRU, .bias = true, .reverse = true};
static const variant gru_all = {ESKER_RECURRENT_GRU, true, true, true, true};
static const variant gru_state = {ESKER_RECURRENT_GRU, true, true, false, false};

/* clang-format off */
#define X(a, b, f) {.shape = {3, {a, b, f}}, .lo = -1, .hi = 1}
#define W(rows, columns, bound) {.shape = {2, {rows, columns}}, .lo = -(bound), .hi = bound}
#define B(n) {.shape = {1, {n}}, .lo = -0.5, .hi = 0.5}
#define ROW(name, v, n, ...) {name, build, n, {__VA_ARGS__}, .args = &v}
#define LARGE(name, v, n, ...) {name, build, n, {__VA_ARGS__}, .args = &v, .no_differences = true}

static const op_check_row rows[] = {
    ROW("tanh, one of everything", tanh_plain, 4, X(1, 1, 1), W(1, 1, 0.9), W(1, 1, 0.9), B(1)),
    ROW("tanh", tanh_plain, 4, X(5, 3, 2), W(4, 2, 0.9), W(4, 4, 0.9), B(4)),
    ROW("tanh, backwards, batch first, states", tanh_reverse, 4, X(3, 5, 2), W(4, 2, 0.9), W(4, 4, 0.9), W(3, 4, 1)),
    /* Far from relu's kink: all of it positive. */
    {"relu", build, 5, {{.shape = {3, {4, 2, 3}}, .lo = 0.1, .hi = 1}, {.shape = {2, {5, 3}}, .lo = 0.1, .hi = 0.5},
     {.shape = {2, {5, 5}}, .lo = 0.05, .hi = 0.3}, {.shape = {1, {5}}, .lo = 0.1, .hi = 0.5}, {.shape = {2, {2, 5}}, .lo = 0.1, .hi = 1}},
     .args = &relu_all},
    LARGE("relu, negative ones too", relu_all, 5, X(4, 2, 3), W(5, 3, 0.9), W(5, 5, 0.9), B(5), W(2, 5, 1)),
    ROW("lstm, one of everything", lstm_plain, 3, X(1, 1, 1), W(4, 1, 0.9), W(4, 1, 0.9)),
    ROW("lstm, no bias", lstm_plain, 3, X(3, 2, 4), W(12, 4, 0.9), W(12, 3, 0.9)),
    ROW("lstm, batch first", lstm_bias, 4, X(3, 4, 2), W(12, 2, 0.9), W(12, 3, 0.9), B(12)),
    ROW("lstm, states", lstm_state, 6, X(4, 3, 2), W(8, 2, 0.9), W(8, 2, 0.9), B(8), W(3, 2, 1), W(3, 2, 1)),
    ROW("lstm, everything", lstm_all, 6, X(3, 4, 2), W(8, 2, 0.9), W(8, 2, 0.9), B(8), W(3, 2, 1), W(3, 2, 1)),
    ROW("lstm, one state for all", lstm_state, 6, X(4, 3, 2), W(8, 2, 0.9), W(8, 2, 0.9), B(8), W(1, 2, 1), W(1, 2, 1)),
    ROW("lstm, last cell too", lstm_cell, 6, X(3, 4, 2), W(8, 2, 0.9), W(8, 2, 0.9), B(8), W(3, 2, 1), W(3, 2, 1)),
    ROW("lstm, last cell alone", lstm_cell_alone, 4, X(4, 3, 2), W(8, 2, 0.9), W(8, 2, 0.9), B(8)),
    LARGE("lstm, last cell of 65 units, 20 steps", lstm_cell, 6, X(5, 20, 7), W(260, 7, 0.3), W(260, 65, 0.2), B(260), W(1, 65, 1), W(1, 65, 1)),
    ROW("gru, one of everything", gru_plain, 3, X(1, 1, 1), W(3, 1, 0.9), W(3, 1, 0.9)),
    ROW("gru, no bias", gru_plain, 3, X(3, 2, 4), W(9, 4, 0.9), W(9, 3, 0.9)),
    ROW("gru, backwards", gru_bias, 4, X(4, 3, 2), W(9, 2, 0.9), W(9, 3, 0.9), B(9)),
    ROW("gru, states", gru_state, 5, X(4, 3, 2), W(6, 2, 0.9), W(6, 2, 0.9), B(6), W(3, 2, 1)),
    ROW("gru, one state for all", gru_all, 5, X(3, 4, 2), W(6, 2, 0.9), W(6, 2, 0.9), B(6), W(1, 2, 1)),
    ROW("gru, everything", gru_all, 5, X(3, 4, 2), W(6, 2, 0.9), W(6, 2, 0.9), B(6), W(3, 2, 1)),
    ROW("lstm, saturated", lstm_bias, 4, {.shape = {3, {2, 3, 2}}, .lo = -90, .hi = 90}, W(8, 2, 2), W(8, 2, 0.9), B(8)),
    ROW("gru, saturated", gru_bias, 4, {.shape = {3, {2, 3, 2}}, .lo = -90, .hi = 90}, W(6, 2, 2), W(6, 2, 0.9), B(6)),
    LARGE("tanh, 129 units, 9 steps", tanh_plain, 4, X(9, 5, 7), W(129, 7, 0.3), W(129, 129, 0.1), B(129)),
    LARGE("lstm, 65 units, 20 steps", lstm_all, 6, X(5, 20, 7), W(260, 7, 0.3), W(260, 65, 0.2), B(260), W(5, 65, 1), W(5, 65, 1)),
    LARGE("gru, 63 units, 20 steps", gru_all, 5, X(5, 20, 7), W(189, 7, 0.3), W(189, 63, 0.2), B(189), W(5, 63, 1)),
    LARGE("lstm, two samples for an invocation", lstm_state, 6, X(2, 1025, 2), W(64, 2, 0.3), W(64, 16, 0.2), B(64), W(1025, 16, 1), W(1025, 16, 1)),
    LARGE("gru, four samples for an invocation", gru_state, 5, X(2, 4099, 2), W(48, 2, 0.3), W(48, 16, 0.2), B(48), W(4099, 16, 1)),
};
/* clang-format on */

static void refuses_what_does_not_fit(void **state)
{
    static const variant unknown = {.kind = (esker_recurrent_kind)7};
    const op_check_input x = X(4, 3, 2), flat = W(4, 2, 1), w = W(8, 2, 1), wide = W(8, 3, 1), narrow = W(6, 2, 1),
                         b = B(8);
    const op_check_input short_b = B(7), h = W(3, 2, 1), wrong_h = W(4, 2, 1), one_h = W(1, 2, 1), many = X(4097, 1, 2);
    (void)state;
    op_check_refused(build, &lstm_plain, (op_check_input[]){flat, w, w}, 3, ESKER_ERR_INVALID,
                     "lstm: x is float32 [4, 2], it must be float32 [steps, batch, features]");
    op_check_refused(build, &lstm_bias, (op_check_input[]){flat, w, w, b}, 4, ESKER_ERR_INVALID,
                     "[batch, steps, features]");
    op_check_refused(build, &lstm_plain, (op_check_input[]){x, w, narrow}, 3, ESKER_ERR_INVALID,
                     "lstm: weight_hh is [6, 2], it must be float32 [4 hidden, hidden]");
    op_check_refused(build, &gru_plain, (op_check_input[]){x, w, w}, 3, ESKER_ERR_INVALID, "[3 hidden, hidden]");
    op_check_refused(build, &lstm_plain, (op_check_input[]){x, wide, w}, 3, ESKER_ERR_INVALID,
                     "weight_ih is [8, 3], it must be float32 [8, 2] for x [4, 3, 2]");
    op_check_refused(build, &lstm_bias, (op_check_input[]){x, w, w, short_b}, 4, ESKER_ERR_INVALID,
                     "bias_ih is [7], it must be float32 [8]");
    op_check_refused(build, &lstm_state, (op_check_input[]){x, w, w, b, h, wrong_h}, 6, ESKER_ERR_INVALID,
                     "the initial state must be float32 [3, 2]");
    op_check_refused(build, &lstm_plain, (op_check_input[]){many, w, w}, 3, ESKER_ERR_LIMIT, "4097 steps, at most 4096");
    static const variant gru_cell = {ESKER_RECURRENT_GRU, .cell = 2};
    op_check_refused(build, &gru_cell, (op_check_input[]){x, narrow, narrow}, 3, ESKER_ERR_INVALID,
                     "recurrent_cell: gru has no cell state");
    op_check_refused(build, &lstm_state, (op_check_input[]){x, w, w, b, h, one_h}, 6, ESKER_ERR_INVALID,
                     "the initial state must be float32 [3, 2], or [1, 2] for all samples");
    op_check_refused(build, &unknown, (op_check_input[]){x, w, w}, 3, ESKER_ERR_INVALID, "unknown kind 7");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refuses_what_does_not_fit)};
    return op_check_main("recurrent", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
