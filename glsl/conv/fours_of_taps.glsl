// Those pixels of a row, in v0, v1, ..., that tap q of four neighbours meets.
#if SX == 1
#define FOUR_0 v0
#define FOUR_1 vec4(v0.yzw, v1.x)
#define FOUR_2 vec4(v0.zw, v1.xy)
#define FOUR_3 vec4(v0.w, v1.xyz)
#define FOUR_4 v1
#define FOUR_5 vec4(v1.yzw, v2.x)
#define FOUR_6 vec4(v1.zw, v2.xy)
#else
#define FOUR_0 vec4(v0.xz, v1.xz)
#define FOUR_1 vec4(v0.yw, v1.yw)
#define FOUR_2 vec4(v0.z, v1.xz, v2.x)
#define FOUR_3 vec4(v0.w, v1.yw, v2.y)
#define FOUR_4 vec4(v1.xz, v2.xz)
#define FOUR_5 vec4(v1.yw, v2.yw)
#define FOUR_6 vec4(v1.z, v2.xz, v3.x)
#endif
