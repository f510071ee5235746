# Compiler settings shared by every target of this project.

include(CheckCCompilerFlag)

function(norma_target_defaults target)
  set_target_properties(${target} PROPERTIES
    C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF C_VISIBILITY_PRESET hidden)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wstrict-prototypes -Wvla)
  if(NORMA_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  # Contraction is written out where it is wanted: results must not depend on the compiler's mood.
  target_compile_options(${target} PRIVATE -ffp-contract=off)
  if(NORMA_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${NORMA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${NORMA_SANITIZE})
  endif()
endfunction()
