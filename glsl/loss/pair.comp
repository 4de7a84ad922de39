#version 310 es
// pair: a loss of each pair of a prediction p and a target t, d = p - t, with the constant k: VALUE; and its derivative SLOPE times
//           `scale`, the gradient with respect to p. Summed and divided by `divisor`, or left as they are
// Bindings  0 in prediction f32 [n]    1 in target f32 [n]
//           2 out EACH 1: the losses, f32 [n].  FINAL 1: their sum / divisor, f32 [1].  Else scratch: a sum for each group, then
//             at word `total` the divisor, by which loss/finish divides
//           3 out GRAD 1: dprediction f32 [n]
// Uniforms  chunk_n: elements that each group does;  total: groups in all
// Groups    (ceil(n / chunk_n), 1, 1); FINAL 1: one
// Limits    512 bytes shared, 128 invocations, 4 storage blocks
#ifndef VALUE
#define VALUE d * d
#define SLOPE 2.0 * d
#endif
#ifndef GRAD
#define GRAD 1
#endif
#ifndef FINAL
#define FINAL 0
#endif
#ifndef EACH
#define EACH 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint chunk_n;
    uint total;
    float k;
    float scale;
    float divisor;
};

layout(std430, binding = 0) readonly buffer Prediction { float prediction[]; };
layout(std430, binding = 1) readonly buffer Target { float target[]; };
layout(std430, binding = 2) writeonly buffer Sums { float sums[]; };
#if GRAD
layout(std430, binding = 3) writeonly buffer Dprediction { float dprediction[]; };
#endif

// log(1 + e) for e in [0, 1], a few eps off everywhere: 2 atanh(e / (2 + e)). GLSL's log() may be 2^-21 off near 1.
float log_one_and(float e)
{
    float s = e / (2.0 + e);
    float q = s * s;
    return 2.0 * s *
           (1.0 + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0)))))));
}

float sigmoid(float x)
{
    float e = exp(-abs(x)); // in (0, 1]: cannot overflow
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

// PyTorch's: so that a probability of 0 costs 100 and not infinity.
float bounded_log(float x) { return isnan(x) ? x : x > 0.0 ? max(log(x), -100.0) : -100.0; }

// max(x, 0), clamp() and sign(), but what is no number stays none (src/ops/activations.c).
float above(float x) { return x < -0.0 ? 0.0 : x; }
float within(float x, float lo, float hi) { return isnan(x) ? x : clamp(x, lo, hi); }
float sign_of(float x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : x; }

float value(float p, float t, float d) { return VALUE; }
float slope(float p, float t, float d) { return SLOPE; }

#if !EACH
shared float tree[128];
#endif

void main()
{
    uint group = gl_WorkGroupID.x + group_base.x;
    uint lane = gl_LocalInvocationIndex;
    uint end = min(n, group * chunk_n + chunk_n);
    float sum = 0.0;
    for (uint i = group * chunk_n + lane; i < end; i += 128u) {
        float p = prediction[i];
        float t = target[i];
#if EACH
        sums[i] = value(p, t, p - t);
#else
        sum += value(p, t, p - t);
#endif
#if GRAD
        dprediction[i] = scale * slope(p, t, p - t);
#endif
    }
#if !EACH
    tree[lane] = sum;
    for (uint half_n = 64u; half_n > 0u; half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (lane < half_n) tree[lane] += tree[lane + half_n];
    }
    if (lane == 0u) {
#if FINAL
        sums[0] = tree[0] / divisor;
#else
        sums[group] = tree[0];
        if (group == 0u) sums[total] = divisor;
#endif
    }
#endif
}
