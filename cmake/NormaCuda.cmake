# Decides whether the CUDA backend is built, and how nvcc is called. Only device code needs nvcc: it is called by custom
# commands, so that CMake's CUDA language, which wants a whole working toolkit, is not needed.
#
# Sets NORMA_WITH_CUDA to 0 or 1, NORMA_NVCC, and NORMA_NVCC_FLAGS.

find_program(NORMA_NVCC nvcc HINTS ENV CUDA_PATH ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)

# Machine code for each generation since Ampere, and PTX from which the drivers of newer chips make theirs. A sanitized build
# checks host code, for which one generation will do.
if(NORMA_SANITIZE)
  set(gencode "arch=compute_90a,code=sm_90a")
else()
  set(gencode
    "arch=compute_80,code=[compute_80,sm_80,sm_86,sm_89];arch=compute_90a,code=sm_90a;arch=compute_90,code=compute_90")
endif()
set(NORMA_CUDA_GENCODE "${gencode}" CACHE STRING "What nvcc generates: the arguments of its -gencode options")

set(NORMA_CUDA_IMAGES "" CACHE PATH
  "Folder of another build whose device code is used as it is (its kernels_cuda); empty: build it here")

# Every fused multiply-add is written out in the kernels; nothing else may be contracted.
set(NORMA_NVCC_FLAGS -std=c++17 -O3 --fmad=false --resource-usage -Xfatbin=-compress-all)
if(NORMA_WERROR)
  list(APPEND NORMA_NVCC_FLAGS -Werror all-warnings)
endif()
foreach(gencode IN LISTS NORMA_CUDA_GENCODE)
  list(APPEND NORMA_NVCC_FLAGS -gencode ${gencode})
endforeach()

# Says in out_problem why nvcc cannot build the kernels here; empty if it can.
function(norma_check_nvcc out_problem)
  set(problem "")
  if(NOT NORMA_NVCC)
    set(problem "nvcc was not found (set NORMA_NVCC to its path)")
  elseif(NOT NORMA_NVCC_CHECKED STREQUAL "${NORMA_NVCC} ${NORMA_NVCC_FLAGS}")
    set(probe ${CMAKE_CURRENT_BINARY_DIR}/nvcc_probe)
    file(WRITE ${probe}.cu "extern \"C\" __global__ void probe(float *out) { out[threadIdx.x] = 1.0f; }\n")
    execute_process(COMMAND ${NORMA_NVCC} ${NORMA_NVCC_FLAGS} -fatbin -o ${probe}.fatbin ${probe}.cu
      RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(failed)
      set(problem "${NORMA_NVCC} does not build device code (12.0 or newer is needed):\n${output}")
    else()
      set(NORMA_NVCC_CHECKED "${NORMA_NVCC} ${NORMA_NVCC_FLAGS}" CACHE INTERNAL "")
    endif()
  endif()
  set(${out_problem} "${problem}" PARENT_SCOPE)
endfunction()

set(with_cuda 0)
if(NOT NORMA_CUDA STREQUAL "OFF")
  if(NOT NORMA_CUDA_IMAGES)
    norma_check_nvcc(nvcc_problem)
  endif()
  if(NORMA_CUDA_IMAGES)
    set(with_cuda 1)
    message(STATUS "CUDA backend: built with the device code in ${NORMA_CUDA_IMAGES}")
  elseif(NOT nvcc_problem)
    set(with_cuda 1)
    message(STATUS "CUDA backend: built with ${NORMA_NVCC}")
  elseif(NORMA_CUDA STREQUAL "ON")
    message(FATAL_ERROR "NORMA_CUDA=ON: ${nvcc_problem}")
  else()
    message(STATUS "CUDA backend: not built, ${nvcc_problem}")
  endif()
endif()
set(NORMA_WITH_CUDA ${with_cuda} CACHE INTERNAL "The CUDA backend is built")
