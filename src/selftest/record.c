/* A row of the operator table as a graph: inputs of the shapes that it names, the operation, and its gradients. */
#include "selftest/cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

/* "4,1,5 x 3,1": returns how many shapes, or -1. */
static int read_shapes(const char *text, esker_shape out[ESKER__CASE_INPUTS])
{
    int n = 0;
    while (*text) {
        if (n == ESKER__CASE_INPUTS) return -1;
        esker_shape *shape = &out[n++];
        *shape = (esker_shape){0};
        if (*text == '.') text++;
        while (*text >= '0' && *text <= '9' && shape->rank < ESKER_MAX_RANK) {
            char *end;
            shape->dims[shape->rank++] = strtoll(text, &end, 10);
            text = *end == ',' ? end + 1 : end;
        }
        if (!*text) break;
        if (strncmp(text, " x ", 3) != 0) return -1;
        text += 3;
    }
    return n;
}

static void add_input(esker__case *c, int i, const esker_shape *shape, const esker__case_values *values)
{
    char name[16];
    c->values[i] = *values;
    if (values->lo == 0 && values->hi == 0) c->values[i].lo = -2, c->values[i].hi = 2;
    snprintf(name, sizeof name, "x%d", i);
    c->in[i] = c->row->parameters >> i & 1
                   ? esker_parameter(c->graph, &(esker_param_desc){.name = name, .shape = *shape, .frozen = true})
                   : esker_input(c->graph, name, values->dtype, shape);
}

/* The gradients of sum(y w) with weights w in [0.5, 1.5), with respect to every float32 input. */
static void add_gradients(esker__case *c, esker_node *y)
{
    esker_node *wrt[ESKER__CASE_INPUTS];
    int n = 0;
    for (int i = 0; i < c->n_inputs; i++)
        if (esker_node_get_dtype(c->in[i]) == ESKER_DTYPE_F32 && !((c->row->fixed | c->row->parameters) >> i & 1))
            wrt[n++] = c->in[i];
    if (!n) return;
    add_input(c, c->n_inputs, esker_node_get_shape(y), &(esker__case_values){.lo = 0.5, .hi = 1.5});
    esker_node *loss = esker_sum(esker_mul(y, c->in[c->n_inputs++]), NULL, 0, false);
    if (esker_gradients(loss, wrt, n, &c->outputs[1]) == ESKER_OK) c->n_outputs += n;
}

esker_status esker__case_record(const esker__case_row *row, int which, esker__case *out)
{
    esker_shape shapes[ESKER__CASE_INPUTS];
    *out = (esker__case){.row = row, .n_inputs = read_shapes(row->shapes[which], shapes)};
    snprintf(out->name, sizeof out->name, "%s%s%s", row->shapes[which], row->note && row->shapes[which][0] ? ", " : "",
             row->note ? row->note : "");
    if (out->n_inputs < 0)
        return esker__fail(ESKER_ERR_INTERNAL, "selftest: %s: shapes \"%s\"", row->op, row->shapes[which]);
    esker_status st = esker_graph_create(NULL, &out->graph);
    if (st != ESKER_OK) return st;
    for (int i = 0; i < out->n_inputs; i++) add_input(out, i, &shapes[i], &row->in[i]);
    esker_node *y = row->unary    ? row->unary(out->in[0])
                    : row->binary ? row->binary(out->in[0], out->in[1])
                                  : row->build(out->graph, out->in, row->args);
    st = esker_graph_status(out->graph);
    if (st != ESKER_OK) return st;
    out->outputs[out->n_outputs++] = y;
    if (!row->no_gradient) add_gradients(out, y);
    return esker_graph_status(out->graph);
}

void esker__case_finish(esker__case *c)
{
    esker_graph_destroy(c->graph);
    *c = (esker__case){0};
}
