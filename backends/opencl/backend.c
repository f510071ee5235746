/* The OpenCL backend: any OpenCL 1.2 device, through the ICD loader of the machine. */
#include "../backend_list.h"
#include "opencl.h"

const norma_backend norma_backend_opencl = {
    .name = "opencl",
    .takes_native = true,
    .yields = norma_opencl_yields,
    .probe = norma_opencl_probe,
    .describe = norma_opencl_describe,
    .open = norma_opencl_open,
    .close = norma_opencl_close,
    .alloc = norma_opencl_alloc,
    .release = norma_opencl_release,
    .upload = norma_opencl_upload,
    .download = norma_opencl_download,
    .prepare = norma_opencl_prepare,
    .discard = norma_opencl_discard,
    .launch = norma_opencl_launch,
    .sync = norma_opencl_sync,
    .versions = norma_opencl_versions,
    .record = norma_opencl_record,
    .replay = norma_opencl_replay,
    .forget = norma_opencl_forget,
};
