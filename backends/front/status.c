/* Failure: the names of statuses, and the sentence on the calling thread's latest failed call. */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>

#define SENTENCE_BYTES 1024

static _Thread_local char last_sentence[SENTENCE_BYTES];

norma_status norma_fail(norma_status status, const char *format, ...) {
    /* Built aside: the arguments may quote the sentence that is about to be replaced. */
    char sentence[SENTENCE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    memcpy(last_sentence, sentence, sizeof sentence);
    return status;
}

const char *norma_last_error(void) {
    return last_sentence;
}

const char *norma_status_name(norma_status status) {
    switch (status) {
    case NORMA_OK: return "NORMA_OK";
    case NORMA_ERROR_NULL_POINTER: return "NORMA_ERROR_NULL_POINTER";
    case NORMA_ERROR_STRUCT_SIZE: return "NORMA_ERROR_STRUCT_SIZE";
    case NORMA_ERROR_DTYPE: return "NORMA_ERROR_DTYPE";
    case NORMA_ERROR_CONTRACT: return "NORMA_ERROR_CONTRACT";
    case NORMA_ERROR_FLAGS: return "NORMA_ERROR_FLAGS";
    case NORMA_ERROR_SIZE: return "NORMA_ERROR_SIZE";
    case NORMA_ERROR_STRIDE: return "NORMA_ERROR_STRIDE";
    case NORMA_ERROR_OVERFLOW: return "NORMA_ERROR_OVERFLOW";
    case NORMA_ERROR_SELF_OVERLAP: return "NORMA_ERROR_SELF_OVERLAP";
    case NORMA_ERROR_ALIAS: return "NORMA_ERROR_ALIAS";
    case NORMA_ERROR_ALIGNMENT: return "NORMA_ERROR_ALIGNMENT";
    case NORMA_ERROR_EPS: return "NORMA_ERROR_EPS";
    case NORMA_ERROR_OFFSET: return "NORMA_ERROR_OFFSET";
    case NORMA_ERROR_ROWS: return "NORMA_ERROR_ROWS";
    case NORMA_ERROR_PLAN_KIND: return "NORMA_ERROR_PLAN_KIND";
    case NORMA_ERROR_BACKEND_UNKNOWN: return "NORMA_ERROR_BACKEND_UNKNOWN";
    case NORMA_ERROR_BACKEND_NOT_BUILT: return "NORMA_ERROR_BACKEND_NOT_BUILT";
    case NORMA_ERROR_NO_DEVICE: return "NORMA_ERROR_NO_DEVICE";
    case NORMA_ERROR_DEVICE_INDEX: return "NORMA_ERROR_DEVICE_INDEX";
    case NORMA_ERROR_OPTION: return "NORMA_ERROR_OPTION";
    case NORMA_ERROR_UNSUPPORTED: return "NORMA_ERROR_UNSUPPORTED";
    case NORMA_ERROR_OUT_OF_MEMORY: return "NORMA_ERROR_OUT_OF_MEMORY";
    case NORMA_ERROR_DEVICE: return "NORMA_ERROR_DEVICE";
    case NORMA_ERROR_DEVICE_LOST: return "NORMA_ERROR_DEVICE_LOST";
    }
    return "unknown status";
}

#define VERSION_TEXT_OF(number) #number
#define VERSION_TEXT(number)    VERSION_TEXT_OF(number)

const char *norma_version(void) {
    return VERSION_TEXT(NORMA_VERSION_MAJOR) "." VERSION_TEXT(NORMA_VERSION_MINOR) "." VERSION_TEXT(NORMA_VERSION_PATCH);
}
