/* Are a problem's addresses device memory? The driver is asked once per address, or rather per granule of memory, the least
 * that it hands out; the answer is kept in a small table, so that a call in a loop compares numbers only. Memory that was
 * freed since is not noticed: this finds a host pointer passed by mistake before it becomes a device fault, no more. Where
 * the device reads pageable host memory by itself, or the driver cannot tell, every address passes. */
#include "device.h"

#include <inttypes.h>
#include <stdio.h>

#define GRANULE_BYTES 256

/* Where a granule stands in the table if it is known. */
static uintptr_t *place_of(gpu_device *device, uintptr_t granule) {
    const uint64_t mixed = (uint64_t)granule * 0x9e3779b97f4a7c15u;
    return &device->known[(mixed >> 32) % GPU_KNOWN_ADDRESSES];
}

static norma_status check(gpu_device *device, const norma_tensor *tensor, const char *name, int part) {
    const uintptr_t address = (uintptr_t)tensor->buffer.data + tensor->buffer.offset_bytes;
    uintptr_t *const place = place_of(device, address / GRANULE_BYTES);
    if (!norma_tensor_present(tensor) || *place == address / GRANULE_BYTES) return NORMA_OK;
    unsigned kind = 0;
    const int result = device->driver->pointer_attribute(&kind, GPU_POINTER_MEMORY_TYPE, (const void *)address);
    if (result == GPU_SUCCESS) {
        *place = address / GRANULE_BYTES;
        return NORMA_OK;
    }
    if (result != GPU_ERROR_INVALID_VALUE) return norma_gpu_check(device->driver, result, GPU_FN_pointer_attribute);
    char label[32];
    if (part < 0)
        snprintf(label, sizeof label, "%s", name);
    else
        snprintf(label, sizeof label, "part[%d].%s", part, name);
    return norma_fail(NORMA_ERROR_DEVICE, "%s is at 0x%" PRIxPTR ", which is no address of device %d's memory", label,
                      address, device->base.index);
}

norma_status norma_gpu_check_addresses(gpu_device *device, const norma_problem *problem) {
    if (device->reads_host_memory || !device->driver->pointer_attribute) return NORMA_OK;
    const struct {
        const norma_tensor *tensor;
        const char *name;
    } tensors[] = {
        {&problem->x, "x"},
        {&problem->gamma, "gamma"},
        {&problem->residual, "residual"},
        {&problem->residual_out, "residual_out"},
        {&problem->rstd, "rstd"},
        {&problem->out, "out"},
        {&problem->dout, "dout"},
        {&problem->dresidual_out, "dresidual_out"},
        {&problem->dx, "dx"},
        {&problem->dgamma, "dgamma"},
    };
    norma_status status = NORMA_OK;
    for (size_t i = 0; !status && i < sizeof tensors / sizeof *tensors; i++)
        status = check(device, tensors[i].tensor, tensors[i].name, -1);
    for (int p = 0; !status && p < problem->parts; p++) {
        if (problem->part[p].n == 0) continue;
        status = check(device, &problem->part[p].weight, "weight", p);
        if (!status) status = check(device, &problem->part[p].bias, "bias", p);
        if (!status) status = check(device, &problem->part[p].out, "out", p);
    }
    return status;
}
