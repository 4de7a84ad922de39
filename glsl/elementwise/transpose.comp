#version 310 es
// transpose: y[b][c][r] = x[b][r][c], 32-bit words of any meaning
// Bindings  0 in  x [batch, rows, columns]    1 out y [batch, columns, rows]    row-major, no aliasing
// Uniforms  rows, columns: any, batch * rows * columns < 2^31    run: tiles that one group does, one below the other
// Groups    (ceil(columns / 16), ceil(ceil(rows / 16) / run), batch) of 16 x 4 invocations
// Limits    1088 bytes shared, 64 invocations. The tile is 17 wide, so that a column of it lies in different banks.
precision highp float;
precision highp int;

layout(local_size_x = 16, local_size_y = 4) in;

layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) writeonly buffer Y { uint y[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint rows, columns, run;
};

shared uint tile[16 * 17];

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uvec2 me = gl_LocalInvocationID.xy;
    uint matrix = group.z * rows * columns;
    uint column0 = group.x * 16u;
    for (uint t = 0u; t < run; t++) { // the same count for the whole group: barriers inside are legal
        uint row0 = (group.y * run + t) * 16u;
        for (uint j = me.y; j < 16u; j += 4u)
            if (row0 + j < rows && column0 + me.x < columns)
                tile[j * 17u + me.x] = x[matrix + (row0 + j) * columns + column0 + me.x];
        memoryBarrierShared();
        barrier();
        for (uint j = me.y; j < 16u; j += 4u)
            if (column0 + j < columns && row0 + me.x < rows)
                y[matrix + (column0 + j) * rows + row0 + me.x] = tile[me.x * 17u + j];
        memoryBarrierShared();
        barrier(); // nobody overwrites the tile before all have read it
    }
}
