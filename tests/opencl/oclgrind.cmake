# Runs PROGRAM with ARGUMENTS under oclgrind and fails if it fails, or if oclgrind has anything to say: its own exit code does
# not tell. cmake -DOCLGRIND=... -DPROGRAM=... -DARGUMENTS=... -DLOG=... -P oclgrind.cmake
file(REMOVE ${LOG})
execute_process(COMMAND ${OCLGRIND} --data-races --check-api --log ${LOG} ${PROGRAM} ${ARGUMENTS} RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "${PROGRAM} failed under oclgrind: ${failed}")
endif()
if(EXISTS ${LOG})
  file(READ ${LOG} said)
  if(NOT said STREQUAL "")
    string(SUBSTRING "${said}" 0 4000 said)
    message(FATAL_ERROR "oclgrind says:\n${said}")
  endif()
endif()
