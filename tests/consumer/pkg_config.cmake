# Builds and runs the consumer's two programs with the plain compiler lines that pkg-config gives for the norma in PREFIX.
# STATIC says that PREFIX holds a static library. Every command must succeed.
cmake_policy(VERSION 3.22)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " line)
    message(FATAL_ERROR "failed (${result}): ${line}")
  endif()
endfunction()

set(ENV{PKG_CONFIG_PATH} ${PREFIX}/${LIBDIR}/pkgconfig)
set(query --cflags --libs norma)
if(STATIC)
  list(PREPEND query --static)
endif()
execute_process(COMMAND ${PKG_CONFIG} ${query}
  OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "pkg-config does not find norma in $ENV{PKG_CONFIG_PATH}")
endif()
separate_arguments(flags UNIX_COMMAND "${flags}")

file(MAKE_DIRECTORY ${WORK})
set(ENV{LD_LIBRARY_PATH} ${PREFIX}/${LIBDIR})
run(${CC} -std=c11 ${SOURCE}/consumer.c -o ${WORK}/consumer_c ${flags} -lm)
run(${WORK}/consumer_c)
run(${CXX} -std=c++11 ${SOURCE}/consumer.cpp -o ${WORK}/consumer_cpp ${flags} -lm)
run(${WORK}/consumer_cpp)
