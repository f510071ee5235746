# Fails unless the C program in README compiles without a warning.
cmake_policy(VERSION 3.22)

file(READ ${README} text)
string(FIND "${text}" "```c\n" begin)
if(begin EQUAL -1)
  message(FATAL_ERROR "${README} has no C program")
endif()
math(EXPR begin "${begin} + 5")
string(SUBSTRING "${text}" ${begin} -1 text)
string(FIND "${text}" "```" end)
string(SUBSTRING "${text}" 0 ${end} program)
file(WRITE ${WORK}/readme.c "${program}")
execute_process(
  COMMAND ${CC} -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I${INCLUDE} ${WORK}/readme.c
  COMMAND_ERROR_IS_FATAL ANY)
