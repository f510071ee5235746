# The GPU backends' host code against a driver that runs nothing: these need neither a GPU nor its compiler.
norma_add_test(unit_gpu_host test_gpu_host.c gpu_life.c gpu_fake_driver.c ../harness/cache_folder.c)
norma_add_test(unit_gpu_capture test_gpu_capture.c gpu_fake_driver.c)
norma_add_test(unit_gpu_rows test_gpu_rows.c gpu_fake_driver.c)
norma_add_test(unit_gpu_split test_gpu_split.c gpu_fake_driver.c)
norma_add_test(unit_gpu_narrow test_gpu_narrow.c gpu_fake_driver.c)
norma_add_test(unit_gpu_blas test_gpu_blas.c gpu_fake_driver.c gpu_fake_lt.c)

# On a real device, where there is one.
norma_add_test(gpu_device test_gpu_device.c)
set_tests_properties(gpu_device PROPERTIES SKIP_RETURN_CODE 77 LABELS threads)

if(NORMA_WITH_CUDA)
  get_property(cuda_stems GLOBAL PROPERTY NORMA_CUDA_STEMS)
  get_property(cuda_images GLOBAL PROPERTY NORMA_CUDA_IMAGE_FOLDER)
  add_test(NAME cuda_ptxas COMMAND ${CMAKE_COMMAND} -DFOLDER=${cuda_images} "-DSTEMS=${cuda_stems}"
    -P ${PROJECT_SOURCE_DIR}/kernels_cuda/check_ptxas.cmake)

  # The toolkit's headers lie beside nvcc, but not every distribution installs cuBLASLt's.
  get_filename_component(cuda_bin ${NORMA_NVCC} REALPATH)
  get_filename_component(cuda_bin ${cuda_bin} DIRECTORY)
  find_path(NORMA_CUDA_INCLUDE cublasLt.h HINTS ${cuda_bin}/../include)
  if(NORMA_CUDA_INCLUDE)
    add_library(cuda_abi OBJECT cuda_abi.c)
    norma_target_defaults(cuda_abi)
    target_include_directories(cuda_abi PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/backends)
    target_include_directories(cuda_abi SYSTEM PRIVATE ${NORMA_CUDA_INCLUDE})
  endif()
endif()
