// divide: a / b by = 1 / b, which is exact for a below 2^22; EXACT: for any a, slowly
uint divide(uint a, uint b, float by)
{
#if EXACT
    return a / b;
#else
    return uint((float(a) + 0.5) * by);
#endif
}
