#version 310 es
// mark: the last dispatch of a step writes the step's mark, so that the CPU notices a job that the driver dropped
// Bindings  0 out mark [4]
// Uniforms  block 1: run.x, never 0
precision highp float;
precision highp int;
layout(local_size_x = 1) in;
layout(std140, binding = 1) uniform Step {
    uvec4 random;
    vec4 slots[16];
    uvec4 run;
};
layout(std430, binding = 0) writeonly buffer Mark { uint mark[]; };

void main()
{
    mark[0] = run.x;
}
