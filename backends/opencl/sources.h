/* The kernel files as the build embeds them, with what they include. The build defines OPENCL_SOURCE_LIST as X(stem) for
 * each of them. */
#ifndef NORMA_OPENCL_SOURCES_H
#define NORMA_OPENCL_SOURCES_H

#include "opencl_source_list.h"

typedef struct opencl_source {
    const char *stem;
    const char *text;
} opencl_source;

enum {
#define OPENCL_SOURCE_ENUM(stem) OPENCL_SOURCE_##stem,
    OPENCL_SOURCE_LIST(OPENCL_SOURCE_ENUM)
#undef OPENCL_SOURCE_ENUM
        OPENCL_SOURCE_COUNT
};

extern const opencl_source norma_opencl_sources[OPENCL_SOURCE_COUNT];

#endif
