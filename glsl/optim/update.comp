#version 310 es
// update: one step of an optimizer for a range of all parameters. x is the parameter, g its gradient, s and t the state.
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
// Bindings  0 in out x    1 in g    2 in out s (STATES 1, 2)    3 in out t (STATES 2)    f32, whole vec4; gaps between parameters hold
//           zeros and keep them
// Uniforms  n_quads: vec4 in each;  of the range's group: lr_scale, a factor for every rate, and decay
//           slots[slot] (a) and slots[slot + 1] (b), new for every step; a.x is lr with what the step makes of it
//           SGD       a.yz: mu, 1 - damp (1 in the first step)
//           ADAM, ADAMW, NADAM, LION    a.yzw: 1 / sqrt(1 - b2^n), eps, lr (NADAM: c2, and a.x is c1)    b: b1, 1 - b1, b2, 1 - b2
//           RMSPROP, CENTERED, ADADELTA    a.yz: mu, eps    b.xy: al, 1 - al
//           ADAGRAD   a.yz: start, eps
//           CLIPPING 1: most_value, most_norm, and block 2, for optim/clipping, which this text is put behind: g is clipped as it is read
// Groups    linear, folded over x and y, groups * 128 >= n_quads
// Limits    128 invocations, 4 storage blocks
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
#ifndef CLIPPING
#define CLIPPING 0
#endif
#define own // what is read of such a block nobody has written in this dispatch (src/gpu/texel_source.c)
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n_quads;
    uint slot;
    float lr_scale;
    float decay;
#if CLIPPING
    float most_value;
    float most_norm;
#endif
};
layout(std140, binding = 1) uniform Step {
    uvec4 random;
    vec4 slots[16];
};

layout(std430, binding = 0) own buffer X { vec4 x[]; };
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
#if STATES >= 1
layout(std430, binding = 2) own buffer S { vec4 s[]; };
#endif
#if STATES >= 2
layout(std430, binding = 3) own buffer T { vec4 t[]; };
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint i = group * 128u + gl_LocalInvocationIndex;
    if (i >= n_quads) return;
    vec4 a = slots[slot];
    vec4 b = slots[slot + 1u];
    float lr = a.x * lr_scale;
    vec4 old = x[i];
    vec4 grad = g[i];
#if CLIPPING
    grad = clip(grad, most_value, clip_factor(most_norm));
#endif
#if RULE == ADAMW || RULE == LION
    old -= a.w * lr_scale * decay * old;
#else
    grad += decay * old;
#endif

#if RULE == SGD
    vec4 move = lr * grad;
#if STATES == 1
    vec4 velocity = a.y * s[i] + a.z * grad;
    s[i] = velocity;
#if NESTEROV
    move = lr * (grad + a.y * velocity);
#else
    move = lr * velocity;
#endif
#endif

#elif RULE == ADAM || RULE == ADAMW || RULE == NADAM
    vec4 mean = b.x * s[i] + b.y * grad;
    vec4 square = b.z * t[i] + b.w * grad * grad;
    s[i] = mean;
    t[i] = square;
    vec4 root = sqrt(square) * a.y + a.z;
#if RULE == NADAM
    vec4 move = (lr * grad + a.w * lr_scale * mean) / root;
#else
    vec4 move = lr * (mean / root);
#endif

#elif RULE == LION
    vec4 mean = s[i];
    vec4 move = lr * sign(b.x * mean + b.y * grad);
    s[i] = b.z * mean + b.w * grad;

#elif RULE == RMSPROP
    vec4 square = b.x * s[i] + b.y * grad * grad;
    s[i] = square;
    vec4 scaled = grad / (sqrt(square) + a.z);
#if MOMENTUM
    scaled += a.y * t[i];
    t[i] = scaled;
#endif
    vec4 move = lr * scaled;

#elif RULE == CENTERED
    vec4 mean = t[i];
    vec4 from_mean = grad - mean;
    vec4 variance = b.x * (s[i] + b.y * from_mean * from_mean);
    s[i] = variance;
    t[i] = mean + b.y * from_mean;
    vec4 move = lr * (grad / (sqrt(variance) + a.z));

#elif RULE == ADAGRAD
    vec4 square = s[i] + grad * grad;
    s[i] = square;
    vec4 move = lr * (grad / (sqrt(square + a.y) + a.z));

#elif RULE == ADADELTA
    vec4 square = b.x * s[i] + b.y * grad * grad;
    s[i] = square;
    vec4 moved = t[i];
    vec4 delta = sqrt(moved + a.z) / sqrt(square + a.z) * grad;
    t[i] = b.x * moved + b.y * delta * delta;
    vec4 move = lr * delta;
#endif
    x[i] = old - move;
}
