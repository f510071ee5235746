# Fails unless the functions that the header declares, the checked list and what LIBRARY exports are all the same.
cmake_policy(VERSION 3.22)

file(STRINGS ${LIST} listed REGEX "^norma_")

file(READ ${HEADER} header)
string(REGEX MATCHALL "NORMA_API [^;(]*[ *]norma_[a-z0-9_]+\\(" declarations "${header}")
set(declared)
foreach(declaration IN LISTS declarations)
  string(REGEX MATCH "norma_[a-z0-9_]+\\($" name "${declaration}")
  string(REPLACE "(" "" name "${name}")
  list(APPEND declared ${name})
endforeach()
list(SORT declared)

execute_process(COMMAND ${NM} -D --defined-only --format=posix ${LIBRARY}
  OUTPUT_VARIABLE table COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" lines "${table}")
set(exported)
foreach(line IN LISTS lines)
  string(REGEX MATCH "^[^ ]+" name "${line}")
  list(APPEND exported ${name})
endforeach()
list(SORT exported)

foreach(other declared exported)
  if(NOT "${listed}" STREQUAL "${${other}}")
    set(missing ${listed})
    list(REMOVE_ITEM missing ${${other}})
    set(extra ${${other}})
    list(REMOVE_ITEM extra ${listed})
    message(SEND_ERROR "symbols.txt and the ${other} functions differ; only listed: ${missing}; only ${other}: ${extra}")
  endif()
endforeach()
