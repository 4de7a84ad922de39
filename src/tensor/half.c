/* Halves on the host: binary16 to and from binary32, by their bits, so that neither compiler nor processor needs to know them. */
#include <string.h>

#include <esker/types.h>

uint16_t esker_f16_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x3ff)); /* NaN, made quiet */
    if (rest >= 0x477ff000) return (uint16_t)(sign | 0x7c00);                       /* 65520, half way to 2^16, and above */
    if (rest < 0x33000001) return (uint16_t)sign; /* 2^-25, half the smallest, and below */
    uint32_t exponent = rest >> 23, significand, dropped;
    if (exponent >= 113) { /* at least 2^-14: a normal half */
        significand = rest - (112u << 23);
        dropped = 13;
    } else { /* a whole number of 2^-24 */
        significand = (rest & 0x7fffff) | 0x800000;
        dropped = 126 - exponent; /* 14 to 24 */
    }
    /* A carry out of the significand raises the exponent, as it should. */
    uint32_t kept = significand >> dropped, lost = significand & ((1u << dropped) - 1), middle = 1u << (dropped - 1);
    if (lost > middle || (lost == middle && (kept & 1))) kept++;
    return (uint16_t)(sign | kept);
}

float esker_f32_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1f, significand = half & 0x3ff, bits;
    float value;
    if (exponent == 0) { /* a whole number of 2^-24 */
        value = (float)significand * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
    } else {
        bits = (exponent == 31 ? 255u : exponent + 112) << 23 | significand << 13;
    }
    bits |= sign;
    memcpy(&value, &bits, sizeof value);
    return value;
}
