/* Convolutions by filters of one tap: in each image, y [f, pixels] = w [f, c] x [c, pixels]. */
#include "ops/conv2d_direct.h"

#include "ops/gemm.h"

bool esker__conv2d_is_matmul(const esker__conv2d_direct *d)
{
    return d->groups == 1 && d->taps_y == 1 && d->taps_x == 1 && d->stride_y == 1 && d->stride_x == 1 && !d->pad_y &&
           !d->pad_x && d->rows == d->x_h && d->columns == d->x_w && d->alone && !d->w_first && d->y_v == 1;
}

static void add_images(esker__gemm *p, int64_t images, int64_t step_a, int64_t step_b)
{
    p->batches = 1;
    if (images == 1) return;
    p->batches = (uint32_t)images;
    p->n_axes = 1;
    p->lengths[0] = (uint32_t)images;
    p->step_a[0] = (uint32_t)step_a;
    p->step_b[0] = (uint32_t)step_b;
}

esker_status esker__conv2d_emit_matmul(esker__lowering *lowering, const esker__conv2d_direct *d)
{
    int64_t pixels = d->rows * d->columns;
    esker__gemm p = {
        .a = d->w,
        .b = d->x,
        .bias = d->bias,
        .out = d->y,
        .ta = d->w_f == 1 && d->c_in > 1, /* the gradient of the input reads the filters the other way */
        .m = (uint32_t)d->f_out,
        .n = (uint32_t)pixels,
        .k = (uint32_t)d->c_in,
        .bias_step = d->bias ? esker__tail_bias_step(d->tail, d->bias) : 0,
        .bias_of_row = true,
        .tail = d->tail,
        .cost = d->cost,
    };
    if (p.m == 1) p.ta = false;
    if (p.n == 1) p.tb = true;
    add_images(&p, d->images, 0, d->c_in * pixels);
    return esker__gemm_lower(lowering, &p, "conv_matmul");
}

bool esker__conv2d_weight_grad_is_matmul(const esker__conv2d_size *s)
{
    /* The sum over the images is made of one partial sum for each. */
    return s->groups == 1 && s->kh == 1 && s->kw == 1 && s->sy == 1 && s->sx == 1 && !s->py && !s->px && s->oh == s->h &&
           s->ow == s->w && s->n <= 1024;
}

esker_status esker__conv2d_weight_grad_emit_matmul(esker__lowering *lowering, const esker_node *node,
                                                   const esker__conv2d_size *s)
{
    int64_t pixels = s->h * s->w;
    esker__gemm p = {
        .a = node->inputs[1],
        .b = node->inputs[0],
        .out = node,
        .tb = true,
        .m = (uint32_t)s->f,
        .n = (uint32_t)s->c,
        .k = (uint32_t)pixels,
        .sum = true,
    };
    node->op->cost(node, &p.cost);
    add_images(&p, s->n, s->f * pixels, s->c * pixels);
    return esker__gemm_lower(lowering, &p, "conv_weight_grad_matmul");
}
