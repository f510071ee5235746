# Builds one fatbin: cmake -DNVCC= -DFLAGS= -DSOURCE=x.cu -DIMAGE=x.fatbin -P build_image.cmake
# ptxas reports on standard error; it is kept beside the image, and shown only if the build fails.
string(REGEX REPLACE "\\.fatbin$" ".ptxas.txt" report ${IMAGE})
execute_process(
  COMMAND ${NVCC} ${FLAGS} -fatbin -MMD -MF ${IMAGE}.d -MT ${IMAGE} -o ${IMAGE} ${SOURCE}
  RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
file(WRITE ${report} "${output}")
if(failed)
  message(FATAL_ERROR "${SOURCE} did not compile:\n${output}")
endif()
