// What is moved: words of any meaning, or FLOATS where a block holds halves. OF_BITS: one of these from its bits. Blocks that are read are declared in both
// forms, with their types written out (src/gpu/texel_source.c).
#ifndef FLOAT16
#define FLOAT16 0
#endif
#if FLOAT16 && BYTES == 0
#define FLOATS 1
#define WORD1 float
#define WORD4 vec4
#define OF_BITS(bits) uintBitsToFloat(bits)
#else
#define FLOATS 0
#define WORD1 uint
#define WORD4 uvec4
#define OF_BITS(bits) (bits)
#endif
