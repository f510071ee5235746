# Decides whether the OpenCL backend is built. It needs Khronos's headers; the loader and the devices are found at run time.
#
# Sets NORMA_WITH_OPENCL to 0 or 1, and NORMA_OPENCL_INCLUDE.

set(with_opencl 0)
if(NOT NORMA_OPENCL STREQUAL "OFF")
  find_path(NORMA_OPENCL_INCLUDE CL/cl.h)
  if(NORMA_OPENCL_INCLUDE)
    set(with_opencl 1)
    message(STATUS "OpenCL backend: built with the headers in ${NORMA_OPENCL_INCLUDE}")
  elseif(NORMA_OPENCL STREQUAL "ON")
    message(FATAL_ERROR "NORMA_OPENCL=ON: CL/cl.h was not found (Debian: opencl-headers; or set NORMA_OPENCL_INCLUDE)")
  else()
    message(STATUS "OpenCL backend: not built, CL/cl.h was not found")
  endif()
endif()
set(NORMA_WITH_OPENCL ${with_opencl} CACHE INTERNAL "The OpenCL backend is built")
