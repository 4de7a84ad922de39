#version 310 es
// rules: what an optimizer makes of elements of a parameter, their gradient g and their states s and t. No kernel, but a part of those that update:
//        the definition RULES 1 puts this text in front of theirs (src/gpu/kernel.c)
//   SGD       g += decay x;  STATES 1: s = mu s + (1 - damp) g, g = s, or with NESTEROV 1 g += mu s;  x -= lr g
//   ADAM      g += decay x;  s = b1 s + (1 - b1) g;  t = b2 t + (1 - b2) g^2;  x -= lr / (1 - b1^n) s / (sqrt(t) / sqrt(1 - b2^n) + eps)
//   ADAMW     as ADAM, but x -= lr decay x in place of g += decay x
//   NADAM     s and t as ADAM;  x -= (c1 g + c2 s) / (sqrt(t) / sqrt(1 - b2^n) + eps)
//   LION      x -= lr decay x;  x -= lr sign(b1 s + (1 - b1) g);  s = b2 s + (1 - b2) g
//   RMSPROP   g += decay x;  s = al s + (1 - al) g^2;  d = g / (sqrt(s) + eps);  MOMENTUM 1: t = mu t + d, d = t;  x -= lr d
//   CENTERED  as RMSPROP without momentum, but s is the variance and t the mean:  s = al (s + (1 - al) (g - t)^2), t = al t + (1 - al) g
//   ADAGRAD   g += decay x;  s += g^2;  x -= lr g / (sqrt(s + start) + eps)
//   ADADELTA  g += decay x;  s = al s + (1 - al) g^2;  d = sqrt(t + eps) / sqrt(s + eps) g;  t = al t + (1 - al) d^2;  x -= lr d
// Source    src/ops/optimizer_rules.c names the papers
// Uniforms  lr_scale, decay: of the elements' group of parameters;  a and b, new for every step; a.x is lr with what the step makes of it
//           SGD       a.yz: mu, 1 - damp (1 in the first step)
//           ADAM, ADAMW, NADAM, LION    a.yzw: 1 / sqrt(1 - b2^n), eps, lr (NADAM: c2, and a.x is c1)    b: b1, 1 - b1, b2, 1 - b2
//           RMSPROP, CENTERED, ADADELTA    a.yz: mu, eps    b.xy: al, 1 - al
//           ADAGRAD   a.yz: start, eps
// UPDATE 1 or 4: for kernels that compute gradients: they update with them, 1 or 4 elements at a time, and write none
// Bindings  UPDATE_X, UPDATE_S, UPDATE_T in out: x and its states, of the result's elements, in its order
//           SUMS_X, SUMS_S, SUMS_T in out (if SUMS_UPDATE): those of the sums beside it; the gap behind the last is updated with zeros
// Uniforms  block 1: the step;  block 2: update_slot, where a and b are in it; lr_scale and decay of the two; most, if UPDATE_CLAMP: how large a gradient may be
#define SGD      0
#define ADAM     1
#define ADAMW    2
#define NADAM    3
#define LION     4
#define RMSPROP  5
#define CENTERED 6
#define ADAGRAD  7
#define ADADELTA 8
#ifndef RULE
#define RULE ADAM
#define STATES 2
#endif
#ifndef NESTEROV
#define NESTEROV 0
#endif
#ifndef MOMENTUM
#define MOMENTUM 0
#endif
#ifndef UPDATE
#define UPDATE 0
#endif
#ifndef UPDATE_CLAMP
#define UPDATE_CLAMP 0
#endif
#ifndef SUMS_UPDATE
#define SUMS_UPDATE 0
#endif
#ifndef AT_ONCE
#define AT_ONCE 4 // or 2, where a kernel has no registers left
#endif
#if UPDATE == 1
#define NUMBER float
#else
#define NUMBER vec4
#endif
#define own // what is read of such a block nobody has written in this dispatch (src/gpu/texel_source.c)
precision highp float;
precision highp int;

void rule(inout NUMBER x, NUMBER g, inout NUMBER s, inout NUMBER t, vec4 a, vec4 b, float lr_scale, float decay)
{
    float lr = a.x * lr_scale;
#if RULE == ADAMW || RULE == LION
    x -= a.w * lr_scale * decay * x;
#else
    g += decay * x;
#endif

#if RULE == SGD && STATES == 0
    x -= lr * g;

#elif RULE == SGD
    s = a.y * s + a.z * g;
#if NESTEROV
    x -= lr * (g + a.y * s);
#else
    x -= lr * s;
#endif

#elif RULE == ADAM || RULE == ADAMW || RULE == NADAM
    s = b.x * s + b.y * g;
    t = b.z * t + b.w * g * g;
    NUMBER root = sqrt(t) * a.y + a.z;
#if RULE == NADAM
    x -= (lr * g + a.w * lr_scale * s) / root;
#else
    x -= lr * (s / root);
#endif

#elif RULE == LION
    x -= lr * sign(b.x * s + b.y * g);
    s = b.z * s + b.w * g;

#elif RULE == RMSPROP
    s = b.x * s + b.y * g * g;
    NUMBER scaled = g / (sqrt(s) + a.z);
#if MOMENTUM
    scaled += a.y * t;
    t = scaled;
#endif
    x -= lr * scaled;

#elif RULE == CENTERED
    NUMBER from_mean = g - t;
    s = b.x * (s + b.y * from_mean * from_mean);
    t += b.y * from_mean;
    x -= lr * (g / (sqrt(s) + a.z));

#elif RULE == ADAGRAD
    s += g * g;
    x -= lr * (g / (sqrt(s + a.y) + a.z));

#elif RULE == ADADELTA
    s = b.x * s + b.y * g * g;
    NUMBER delta = sqrt(t + a.z) / sqrt(s + a.z) * g;
    t = b.x * t + b.y * delta * delta;
    x -= lr * delta;
#endif
}

#if UPDATE
layout(std140, binding = 1) uniform Step {
    uvec4 step_random;
    vec4 step_slots[16];
};
layout(std140, binding = 2) uniform Update {
    uint update_slot;
    float update_lr_scale, update_decay, sums_lr_scale, sums_decay, update_most;
};

// A gradient as it updates: with UPDATE_CLAMP in [-most, most]; one that is not a number stays one.
NUMBER clamped(NUMBER g)
{
#if UPDATE_CLAMP
    g = mix(clamp(g, -update_most, update_most), g, isnan(g));
#endif
    return g;
}
#if UPDATE == 4
layout(std430, binding = UPDATE_X) own buffer UpdateX { vec4 update_x[]; };
#if STATES >= 1
layout(std430, binding = UPDATE_S) own buffer UpdateS { vec4 update_s[]; };
#endif
#if STATES >= 2
layout(std430, binding = UPDATE_T) own buffer UpdateT { vec4 update_t[]; };
#endif
#else
layout(std430, binding = UPDATE_X) own buffer UpdateX { float update_x[]; };
#if STATES >= 1
layout(std430, binding = UPDATE_S) own buffer UpdateS { float update_s[]; };
#endif
#if STATES >= 2
layout(std430, binding = UPDATE_T) own buffer UpdateT { float update_t[]; };
#endif
#endif

// What an update reads: asked for early, it is there when the gradient is.
struct Fetched {
    NUMBER x, s, t;
};

// Of element (or vec4) i of the result.
Fetched update_fetch(uint i)
{
    Fetched f = Fetched(update_x[i], NUMBER(0.0), NUMBER(0.0));
#if STATES >= 1
    f.s = update_s[i];
#endif
#if STATES >= 2
    f.t = update_t[i];
#endif
    return f;
}

void update_fetched(uint i, NUMBER g, Fetched f)
{
    rule(f.x, clamped(g), f.s, f.t, step_slots[update_slot], step_slots[update_slot + 1u], update_lr_scale, update_decay);
    update_x[i] = f.x;
#if STATES >= 1
    update_s[i] = f.s;
#endif
#if STATES >= 2
    update_t[i] = f.t;
#endif
}

void update(uint i, NUMBER g) { update_fetched(i, g, update_fetch(i)); }

// The first n of elements i, i + apart, i + 2 apart and i + 3 apart: AT_ONCE reads are on their way at once.
void update_four(uint i, uint apart, uint n, NUMBER g0, NUMBER g1, NUMBER g2, NUMBER g3)
{
    uint i1 = n > 1u ? i + apart : i, i2 = n > 2u ? i1 + apart : i1, i3 = n > 3u ? i2 + apart : i2;
    Fetched f0 = update_fetch(i), f1 = update_fetch(i1);
#if AT_ONCE == 4
    Fetched f2 = update_fetch(i2), f3 = update_fetch(i3);
#endif
    update_fetched(i, g0, f0);
    if (n > 1u) update_fetched(i1, g1, f1);
#if AT_ONCE == 2
    if (n < 3u) return;
    Fetched f2 = update_fetch(i2), f3 = update_fetch(i3);
#endif
    if (n > 2u) update_fetched(i2, g2, f2);
    if (n > 3u) update_fetched(i3, g3, f3);
}

// Four rows of four elements, or what there is of them, at least one; `at` is the first element, rows are `width` apart.
void update_block(uint at, uint width, uint n_rows, uint n_columns, vec4 s0, vec4 s1, vec4 s2, vec4 s3)
{
#if UPDATE == 4
    update_four(at >> 2, width >> 2, n_rows, s0, s1, s2, s3);
#else
    update_four(at, 1u, n_columns, s0.x, s0.y, s0.z, s0.w);
    if (n_rows > 1u) update_four(at + width, 1u, n_columns, s1.x, s1.y, s1.z, s1.w);
    if (n_rows > 2u) update_four(at + 2u * width, 1u, n_columns, s2.x, s2.y, s2.z, s2.w);
    if (n_rows > 3u) update_four(at + 3u * width, 1u, n_columns, s3.x, s3.y, s3.z, s3.w);
#endif
}

#if SUMS_UPDATE
#if UPDATE == 4
layout(std430, binding = SUMS_X) own buffer SumsX { vec4 sums_x[]; };
#if STATES >= 1
layout(std430, binding = SUMS_S) own buffer SumsS { vec4 sums_s[]; };
#endif
#if STATES >= 2
layout(std430, binding = SUMS_T) own buffer SumsT { vec4 sums_t[]; };
#endif
#else
layout(std430, binding = SUMS_X) own buffer SumsX { float sums_x[]; };
#if STATES >= 1
layout(std430, binding = SUMS_S) own buffer SumsS { float sums_s[]; };
#endif
#if STATES >= 2
layout(std430, binding = SUMS_T) own buffer SumsT { float sums_t[]; };
#endif
#endif

Fetched sums_fetch(uint i)
{
    Fetched f = Fetched(sums_x[i], NUMBER(0.0), NUMBER(0.0));
#if STATES >= 1
    f.s = sums_s[i];
#endif
#if STATES >= 2
    f.t = sums_t[i];
#endif
    return f;
}

void sums_fetched(uint i, NUMBER g, Fetched f)
{
    rule(f.x, clamped(g), f.s, f.t, step_slots[update_slot], step_slots[update_slot + 1u], sums_lr_scale, sums_decay);
    sums_x[i] = f.x;
#if STATES >= 1
    sums_s[i] = f.s;
#endif
#if STATES >= 2
    sums_t[i] = f.t;
#endif
}

void update_sum(uint i, NUMBER g) { sums_fetched(i, g, sums_fetch(i)); }

// Sums i to i + 3, of which there are n.
void update_sums(uint i, uint n, vec4 g)
{
#if UPDATE == 4
    if (n < 2u) g.y = 0.0;
    if (n < 3u) g.z = 0.0;
    if (n < 4u) g.w = 0.0;
    update_sum(i >> 2, g);
#else
    update_sum(i, g.x);
    if (n > 1u) update_sum(i + 1u, g.y);
    if (n > 2u) update_sum(i + 2u, g.z);
    if (n > 3u) update_sum(i + 3u, g.w);
#endif
}
#endif
#endif

#ifndef RULES // by itself it compiles, too
layout(local_size_x = 128) in;
void main() {}
#endif
