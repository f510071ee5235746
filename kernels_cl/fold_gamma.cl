/* Folding: out[k,n] = round((gamma[k] + offset) * W[k,n]), in place if the caller likes. One element to a work-item;
 * neighbours go along the weight's shorter stride.
 *
 * Steps, by the names of tile_index.h: 1 place  2 load  5 scale  6 store. */
#include "platform.clh"

__kernel void fold_gamma(norma_input gamma, norma_input weight, norma_output out, const norma_cl_fold params) {
    /* 1 place */
    const norma_index at = get_global_id(0);
    if (at >= params.k * params.n) return;
    const bool along_k = params.weight.row_stride < params.weight.col_stride;
    const norma_index k = along_k ? at % params.k : at / params.n;
    const norma_index n = along_k ? at / params.k : at % params.n;
    /* 2 load */
    const float scale =
        norma_load(gamma, NORMA_OTHER_DTYPE(params.gamma_dtype), params.gamma.start + k * params.gamma.col_stride);
    const float value = norma_load(weight, NORMA_MATRIX_DTYPE(params.weight_dtype),
                                   params.weight.start + k * params.weight.row_stride + n * params.weight.col_stride);
    /* 5 scale, 6 store */
    norma_store(out, NORMA_OTHER_DTYPE(params.out_dtype),
                params.out.start + k * params.out.row_stride + n * params.out.col_stride,
                (scale + params.gamma_offset) * value);
}
