/* The contract between the front and a backend; README.md beside this file says it in prose.
 *
 * A backend is one const struct of functions. It receives problems that are already right: the front alone validates.
 * An operation is data: a launch names the kernel, the tile row and the problem. A function that fails sets the sentence
 * with norma_fail() and returns a status; one function per backend turns native error codes into both. */
#ifndef NORMA_BACKEND_H
#define NORMA_BACKEND_H

#include "front/log.h"
#include "front/status.h"
#include "kernel_list.h"
#include "problem.h"
#include "tiling/tile_select.h"

typedef struct norma_backend norma_backend;

/* What a backend is opened with. */
typedef struct norma_open_desc {
    int index;
    void *stream;
    void *native_context;
    void *native_device;
    int threads; /* CPU; 0: as many as the process may use */
    norma_logger log;
} norma_open_desc;

/* An open device; a backend's own struct begins with it. */
typedef struct norma_device {
    const norma_backend *backend;
    int index;
    norma_limits limits;
    norma_logger log;
} norma_device;

/* One launch. The front fills kernel, tile, problem and workspace; the backend fills native in prepare(). */
typedef struct norma_launch {
    norma_kernel kernel;
    const norma_tile *tile;       /* NULL for kernels that the tile table does not describe */
    const norma_problem *problem; /* in prepare(): of a plan, with batch 1, m the largest m asked for, and no addresses */
    norma_buffer workspace;
    size_t workspace_bytes; /* set by prepare() to what the launch needs; the front allocates it before launch() */
    int64_t max_rows;       /* set by prepare() to the most rows, batch * m, that launch() takes at a time; 0: any */
    void *native;           /* the backend's own: a function, an algorithm; NULL if it needs nothing */
} norma_launch;

/* Work that record() keeps for replay(): enqueues on the device whatever it likes. */
typedef norma_status (*norma_work_fn)(void *user);

struct norma_backend {
    const char *name;
    bool takes_native; /* open() accepts stream, native_context and native_device; otherwise the front refuses them */

    /* Whether device `index` leaves an automatic choice to the backends after this one. NULL: no device does. */
    bool (*yields)(int index);

    /* Cheap and silent: fills devices and detail (and built = 1). Opens no device. */
    void (*probe)(norma_backend_info *out_info);

    /* Describes device `index`, which probe() counted. */
    norma_status (*describe)(int index, norma_device_info *out_info);

    /* Opens a device. On success *out_device has backend, index, limits and log set. */
    norma_status (*open)(const norma_open_desc *desc, norma_device **out_device);

    /* Waits for the device's work and frees everything. */
    void (*close)(norma_device *device);

    norma_status (*alloc)(norma_device *device, size_t bytes, void **out_data);
    norma_status (*release)(norma_device *device, void *data);
    norma_status (*upload)(norma_device *device, norma_buffer to, const void *from, size_t bytes);
    norma_status (*download)(norma_device *device, void *to, norma_buffer from, size_t bytes);

    /* Readies a launch: builds or finds device code, searches algorithms, sizes the workspace. Returns
     * NORMA_ERROR_UNSUPPORTED if the backend has no such kernel for this problem, in which case the front tries the next
     * route. Everything slow or allocating happens here, nothing of it in launch(). */
    norma_status (*prepare)(norma_device *device, norma_launch *launch);

    /* Frees what prepare() put into launch->native, which is the host's memory: a stream may be being captured, and captured
     * graphs may still run what was launched. launch->problem is NULL. */
    void (*discard)(norma_device *device, norma_launch *launch);

    /* Enqueues. launch->problem has all addresses, batch >= 1, m >= 1 and at least one part with n >= 1. */
    norma_status (*launch)(norma_device *device, const norma_launch *launch);

    norma_status (*sync)(norma_device *device);

    /* Names, with their versions, what the time of a launch depends on besides the device and this library: the driver, the
     * vendor's product. NULL: nothing does. */
    void (*versions)(norma_device *device, char *text, size_t text_bytes);

    /* Whether the device's stream is being captured, so that nothing may be copied or waited for now. NULL: never. */
    bool (*capturing)(norma_device *device);

    /* Timing, for the bench and for the choice of routes. record() keeps `work` in the form in which it runs with the least
     * overhead (a captured graph where there are graphs, else the function itself); replay() runs it once to completion and
     * gives the device's time in microseconds; forget() frees it. */
    norma_status (*record)(norma_device *device, norma_work_fn work, void *user, void **out_recording);
    norma_status (*replay)(norma_device *device, void *recording, double *out_us);
    void (*forget)(norma_device *device, void *recording);
};

#endif
