/* The kernels of a layer in their shape for CPUs, in one program for the dtypes that it names: there the compiler's own
 * beginning takes as long as a kernel does, and one build of each kernel serves every size. The build options are those of
 * tiled_cpu.clh and SKINNY_ROWS. */
#define NORMA_CPU

#include "rmsnorm_rows.cl"

#include "rmsnorm_linear_skinny.cl"

#include "rmsnorm_linear_tiled.cl"

#include "rmsnorm_rows_backward.cl"
