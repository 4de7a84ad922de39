// What a line's distances from its mean are multiplied by, of their statistics; a norm that is no number stays none, which max() may drop.
float rstd_of(float variance)
{
#if KIND == 2
    float norm = sqrt(variance);
    return 1.0 / (isnan(norm) ? norm : max(norm, eps));
#else
    return inversesqrt(variance + eps);
#endif
}
