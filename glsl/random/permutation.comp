#version 310 es
// permutation: 0 .. n-1 in the order of n random words, equal words in the order of their places. The words are uniform, so their
//           upper bits share the places out among buckets of 64 or fewer on average; a bucket has room for 256, which a random one
//           overflows with a probability below 1e-70
// Source    bucket sort; within a bucket each element counts those before it
// Stages    0 clear counts;  1 put each place into its bucket;  2 starts[b] = counts[0] + .. + counts[b - 1];  3 order each bucket
//           ONE 1 (n up to 256): stage 3 alone, with one bucket that is all
// Bindings  0 in words i32 [n] (read as unsigned; not in stages 0 and 2)
//           stage 0 and 2: 0 counts u32 [n_buckets + 1], in stage 2 replaced by the starts
//           stage 1: 1 counts    2 out places u32 [n_buckets * 256]
//           stage 3: 1 starts    2 in places    3 out order i32 [n];  ONE 1: 1 out order
// Uniforms  n: 1 and more    bits: n_buckets is 2^bits    groups_x: width of the folded grid
// Groups    stage 0: 256 counts each; stage 1: 256 places each; stage 2: one; stage 3: a bucket each
// Order     stage 1 fills buckets by integer atomics, in any order; stage 3 makes the order one again
// Limits    2560 bytes shared, 128 invocations, 4 storage blocks
#ifndef STAGE
#define STAGE 3
#endif
#ifndef ONE
#define ONE 0
#endif
precision highp float;
precision highp int;

const uint ROOM = 256u;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n;
    uint bits;
};

#if STAGE == 0 || STAGE == 2
layout(std430, binding = 0) buffer Counts { uint counts[]; };
#else
layout(std430, binding = 0) readonly buffer Words { uint words[]; };
#endif
#if STAGE == 1
layout(std430, binding = 1) buffer Counts { uint counts[]; };
layout(std430, binding = 2) writeonly buffer Places { uint places[]; };
#elif STAGE == 3 && ONE == 0
layout(std430, binding = 1) readonly buffer Starts { uint starts[]; };
layout(std430, binding = 2) readonly buffer Places { uint places[]; };
layout(std430, binding = 3) writeonly buffer Order { int order[]; };
#elif STAGE == 3
layout(std430, binding = 1) writeonly buffer Order { int order[]; };
#endif

#if STAGE == 2
shared uint tree[128];
#elif STAGE == 3
shared uint keys[ROOM];
shared uint at[ROOM];
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint t = gl_LocalInvocationIndex;
    uint n_buckets = 1u << bits;
#if STAGE == 0
    for (uint i = group * ROOM + t; i < min(group * ROOM + ROOM, n_buckets + 1u); i += 128u) counts[i] = 0u;
#elif STAGE == 1
    for (uint i = group * ROOM + t; i < min(group * ROOM + ROOM, n); i += 128u) {
        uint bucket = words[i] >> (32u - bits);
        uint k = atomicAdd(counts[bucket], 1u);
        if (k < ROOM) places[bucket * ROOM + k] = i;
    }
#elif STAGE == 2
    uint chunk = (n_buckets + 127u) / 128u;
    uint first = min(t * chunk, n_buckets);
    uint end = min(first + chunk, n_buckets);
    uint sum = 0u;
    for (uint i = first; i < end; i++) sum += counts[i];
    tree[t] = sum;
    for (uint step_n = 1u; step_n < 128u; step_n <<= 1) {
        memoryBarrierShared();
        barrier();
        uint before = t >= step_n ? tree[t - step_n] : 0u;
        barrier();
        tree[t] += before;
    }
    uint start = tree[t] - sum;
    for (uint i = first; i < end; i++) {
        uint count = counts[i];
        counts[i] = start;
        start += count;
    }
    if (t == 127u) counts[n_buckets] = n;
#else
#if ONE
    uint start = 0u;
    uint count = min(n, ROOM);
    for (uint i = t; i < count; i += 128u) {
        at[i] = i;
        keys[i] = words[i];
    }
#else
    // A folded grid may hold groups without a bucket: they do nothing.
    uint start = group < n_buckets ? starts[group] : 0u;
    uint count = group < n_buckets ? min(starts[group + 1u] - start, ROOM) : 0u;
    for (uint i = t; i < count; i += 128u) {
        uint place = places[group * ROOM + i];
        at[i] = place;
        keys[i] = words[place];
    }
#endif
    memoryBarrierShared();
    barrier();
    for (uint i = t; i < count; i += 128u) {
        uint key = keys[i];
        uint place = at[i];
        uint rank = 0u;
        for (uint j = 0u; j < count; j++) {
            uint other = keys[j];
            if (other < key || (other == key && at[j] < place)) rank++;
        }
        order[start + rank] = int(place);
    }
#endif
}
