// The name of CUDA's sixteen bits of an f32, for kernels that are run on the host.
#pragma once

struct __nv_bfloat16 {
    unsigned short x;
};
