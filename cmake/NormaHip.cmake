# Decides whether the HIP backend is built, and how clang is called. Device code needs clang 19 or newer with lld and
# clang-offload-bundler, from a distribution or from ROCm; nothing else of ROCm. It is called by custom commands, as CMake's HIP
# language wants a whole ROCm.
#
# Sets NORMA_WITH_HIP to 0 or 1, NORMA_HIP_CLANG, NORMA_HIP_BUNDLER and NORMA_HIP_FLAGS.

set(rocm $ENV{ROCM_PATH} /opt/rocm)
list(TRANSFORM rocm APPEND /llvm/bin OUTPUT_VARIABLE rocm_bin)
find_program(NORMA_HIP_CLANG NAMES clang++-19 clang++-20 clang++-21 clang++-22 amdclang++ clang++ PATHS ${rocm_bin})
if(NORMA_HIP_CLANG)
  get_filename_component(clang_file ${NORMA_HIP_CLANG} REALPATH)
  get_filename_component(clang_bin ${clang_file} DIRECTORY)
endif()
foreach(tool bundler:clang-offload-bundler objdump:llvm-objdump readelf:llvm-readelf)
  string(REPLACE ":" ";" tool ${tool})
  list(GET tool 0 name)
  list(GET tool 1 file)
  string(TOUPPER ${name} name)
  find_program(NORMA_HIP_${name} ${file} HINTS ${clang_bin} NO_DEFAULT_PATH)
endforeach()

# Data center chips of three generations of matrix units, and one chip of each generation of graphics cards since RDNA 2. A
# sanitized build checks host code, for which one will do.
if(NORMA_SANITIZE)
  set(architectures gfx942)
else()
  set(architectures gfx90a gfx942 gfx1030 gfx1100 gfx1201)
endif()
set(NORMA_HIP_ARCHITECTURES "${architectures}" CACHE STRING "The chips for which clang generates code; gfx950 needs clang 20")

# Every fused multiply-add is written out in the kernels; nothing else may be contracted. Code object version 5 is what runtimes
# from ROCm 5.3 on load.
set(NORMA_HIP_FLAGS -x hip --offload-device-only --no-gpu-bundle-output -nogpuinc -nogpulib -mcode-object-version=5 -mcumode
  -std=c++17 -O3 -ffp-contract=off -Wall -Wextra -Wno-pass-failed -Wno-unused-command-line-argument)
if(NORMA_WERROR)
  list(APPEND NORMA_HIP_FLAGS -Werror)
endif()

# Says in out_problem why clang cannot build the kernels here; empty if it can.
function(norma_check_hip_clang out_problem)
  set(problem "")
  if(NOT NORMA_HIP_CLANG)
    set(problem "clang++ was not found (set NORMA_HIP_CLANG to its path)")
  elseif(NOT NORMA_HIP_BUNDLER)
    set(problem "clang-offload-bundler was not found beside ${NORMA_HIP_CLANG}")
  elseif(NOT NORMA_HIP_CHECKED STREQUAL "${NORMA_HIP_CLANG} ${NORMA_HIP_FLAGS} ${NORMA_HIP_ARCHITECTURES}")
    set(probe ${CMAKE_CURRENT_BINARY_DIR}/hip_probe)
    file(WRITE ${probe}.cu "extern \"C\" __attribute__((global)) void probe(float *out) { *out = 1.0f; }\n"
      "static_assert(__clang_major__ >= 19, \"clang 19 or newer\");\n")
    foreach(architecture IN LISTS NORMA_HIP_ARCHITECTURES)
      execute_process(COMMAND ${NORMA_HIP_CLANG} ${NORMA_HIP_FLAGS} --offload-arch=${architecture} -o ${probe}.co ${probe}.cu
        RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
      if(failed)
        set(problem "${NORMA_HIP_CLANG} does not build code for ${architecture} (clang 19 or newer and its lld are needed):\n${output}")
        break()
      endif()
    endforeach()
    if(NOT problem)
      set(NORMA_HIP_CHECKED "${NORMA_HIP_CLANG} ${NORMA_HIP_FLAGS} ${NORMA_HIP_ARCHITECTURES}" CACHE INTERNAL "")
    endif()
  endif()
  set(${out_problem} "${problem}" PARENT_SCOPE)
endfunction()

set(with_hip 0)
if(NOT NORMA_HIP STREQUAL "OFF")
  norma_check_hip_clang(clang_problem)
  if(NOT clang_problem)
    set(with_hip 1)
    message(STATUS "HIP backend: built with ${NORMA_HIP_CLANG}")
  elseif(NORMA_HIP STREQUAL "ON")
    message(FATAL_ERROR "NORMA_HIP=ON: ${clang_problem}")
  else()
    message(STATUS "HIP backend: not built, ${clang_problem}")
  endif()
endif()
set(NORMA_WITH_HIP ${with_hip} CACHE INTERNAL "The HIP backend is built")
