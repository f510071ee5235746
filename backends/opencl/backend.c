/* The OpenCL backend: any OpenCL 1.2 device, through the ICD loader of the machine. */
#include "../backend_list.h"
#include "opencl.h"

const norma_backend norma_backend_opencl = {
    .name = "opencl",
    .takes_native = true,
    .yields = opencl_yields,
    .probe = opencl_probe,
    .describe = opencl_describe,
    .open = opencl_open,
    .close = opencl_close,
    .alloc = opencl_alloc,
    .release = opencl_release,
    .upload = opencl_upload,
    .download = opencl_download,
    .prepare = opencl_prepare,
    .discard = opencl_discard,
    .launch = opencl_launch,
    .sync = opencl_sync,
    .versions = opencl_versions,
    .record = opencl_record,
    .replay = opencl_replay,
    .forget = opencl_forget,
};
