#version 310 es
// functions: what the expressions of elementwise operations call (src/ops/arithmetic.c and its neighbours). No kernel, but a part of those that
//            compute such expressions: the definition FUNCTIONS 1 puts this text in front of theirs (src/gpu/kernel.c).
precision highp float;
precision highp int;

// Near 0 the quotient cancels, and a series is as good as float can be: its first missing term is below 1e-8 of x.
float tanh_stable(float x)
{
    float s = x * x;
    float series = x * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))));
    float e = exp(-2.0 * abs(x)); // in (0, 1]: cannot overflow
    float quotient = (1.0 - e) / (1.0 + e);
    return s < 0.0625 ? series : x < 0.0 ? -quotient : quotient;
}

float sigmoid_stable(float x)
{
    float e = exp(-abs(x)); // in (0, 1]: cannot overflow
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

// sigmoid(x) (1 - sigmoid(x)), without the difference.
float sigmoid_slope(float x)
{
    float e = exp(-abs(x));
    return e / ((1.0 + e) * (1.0 + e));
}

// exp(x) - 1: Taylor's series where the difference cancels; its first missing term is below 1.2e-8 of the result.
float expm1_stable(float x)
{
    float p = 1.0 / 5040.0 + x * (1.0 / 40320.0 + x * (1.0 / 362880.0));
    p = 0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0 + x * (1.0 / 720.0 + x * p))));
    return abs(x) < 0.6875 ? x + x * x * p : exp(x) - 1.0;
}

// log(1 + x) = 2 artanh(x / (2 + x)) (Abramowitz, Stegun 4.1.27) where 1 + x would round x away, and where log is only good to an
// absolute error; the first missing term is below 2e-9 of the result.
float log1p_stable(float x)
{
    float s = x / (2.0 + x);
    float q = s * s;
    float p = 1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0 + q * (1.0 / 15.0)));
    p = q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * p)));
    return x < -0.5 || x > 1.0 ? log(1.0 + x) : 2.0 * (s + s * p);
}

// erfc(x), x >= 0, with a small relative error also in the tail: exp(-x x) t R(t), t = 1 / (1 + 0.4 x). R is a polynomial fitted to
// exp(x x) erfc(x) / t by least squares of the relative error at Chebyshev nodes, x up to 10.5 (where erfc is 0 in float): 1.1e-8 off.
float erfc_positive(float x)
{
    x = min(x, 10.5);
    float t = 1.0 / (1.0 + 0.4 * x);
    float p = -0.280446589 + t * (0.543426454 + t * (-0.496319532 + t * (0.197164595 + t * -0.0294753592)));
    p = 0.225705236 + t * (0.224981993 + t * (0.214692578 + t * (0.13062793 + t * (0.26964274 + t * p))));
    return exp(-x * x) * (t * p);
}

// Maclaurin's series (Abramowitz, Stegun 7.1.5) where 1 - erfc cancels; its first missing term is below 2e-9 of the result.
float erf_stable(float x)
{
    float s = x * x;
    float p = 1.0 / 216.0 + s * (-1.0 / 1320.0 + s * (1.0 / 9360.0 + s * (-1.0 / 75600.0 + s * (1.0 / 685440.0))));
    p = s * (-1.0 / 3.0 + s * (0.1 + s * (-1.0 / 42.0 + s * p)));
    float tail = 1.0 - erfc_positive(abs(x));
    return s < 0.5625 ? 1.12837917 * (x + x * p) : x < 0.0 ? -tail : x > 0.0 ? tail : x; // the last: no number
}

// The normal distribution function and its density.
float normal_below(float x)
{
    float tail = 0.5 * erfc_positive(0.707106781 * abs(x));
    return x < 0.0 ? tail : 1.0 - tail;
}

float normal_density(float x)
{
    return 0.398942280 * exp(-0.5 * min(x * x, 400.0));
}

// The argument of the sigmoid that gelu's tanh form is a multiple of, 2 sqrt(2 / pi) (x + 0.044715 x^3), and its slope. Clamped
// where the sigmoid has long been 0 or 1, so that no power overflows.
float gelu_argument(float x)
{
    x = clamp(x, -20.0, 20.0);
    return 1.59576912 * (x + 0.044715 * x * x * x);
}

float gelu_tanh_slope(float x)
{
    float u = gelu_argument(x);
    return sigmoid_stable(u) + x * (1.59576912 + 0.214064449 * min(x * x, 400.0)) * sigmoid_slope(u);
}

// log(1 + exp(k x)) / k, k > 0: nothing overflows.
float softplus_stable(float x, float k)
{
    return max(x, 0.0) + log1p_stable(exp(-abs(k * x))) / k;
}

// tanh(log(1 + exp(x))) as a quotient of polynomials in exp(-|x|): neither overflow nor cancellation.
float tanh_softplus(float x)
{
    float e = exp(-abs(x));
    float above = x < 0.0 ? e * (e + 2.0) : 1.0 + 2.0 * e;
    return above / (above + (x < 0.0 ? 2.0 : 2.0 * e * e));
}

float mish_slope(float x)
{
    float e = exp(-abs(x));
    float below = x < 0.0 ? e * (e + 2.0) + 2.0 : 1.0 + 2.0 * e + 2.0 * e * e;
    return tanh_softplus(x) + x * (4.0 * (x < 0.0 ? e : e * e) * (1.0 + e)) / (below * below);
}

// sin(x + quadrants pi / 2). x is reduced to |r| <= pi / 4 by subtracting k pi / 2 in three parts (Cody, Waite): the first two have 8
// bits, so that their products and differences are exact for k < 2^16, |x| < 1.02e5. Beyond, the phase is lost, and r is clamped to
// keep the result in about [-1, 1]. Then Taylor's series; first missing terms below 3e-9.
float sine(float x, float quadrants)
{
    float k = floor(x * 0.636619747 + 0.5);
    float r = ((x - k * 1.5703125) - k * 0.00048255920410) - k * 1.26759085e-6;
    float whole = r; // no number where x is none, or infinite
    r = clamp(r, -0.8, 0.8);
    k += quadrants;
    k -= 4.0 * floor(k * 0.25);
    float s = r * r;
    float odd = r + r * s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s * (1.0 / 362880.0))));
    float even = 1.0 + s * (-0.5 + s * (1.0 / 24.0 + s * (-1.0 / 720.0 + s * (1.0 / 40320.0 + s * (-1.0 / 3628800.0)))));
    float y = k == 1.0 || k == 3.0 ? even : odd;
    return isnan(whole) ? whole : k >= 2.0 ? -y : y;
}

#ifndef FUNCTIONS // by itself it compiles, too
layout(local_size_x = 1) in;
void main() {}
#endif
