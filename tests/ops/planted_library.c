/* Stands in the working directory under the names of libraries that norma looks for, and tells if it is loaded. */
#include <stdlib.h>

__attribute__((constructor)) static void tell(void) {
    setenv("NORMA_TEST_PLANTED_LIBRARY", "loaded", 1);
}
