# ctest entries of norma-info, norma-bench and plot.py.

find_package(Python3 REQUIRED COMPONENTS Interpreter)

function(norma_add_bench_check check)
  add_test(NAME bench_${check}
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/check_bench.py ${check}
            --bench $<TARGET_FILE:norma-bench> --info $<TARGET_FILE:norma-info>)
  # Rows are timed, and 77 is how a check says that it cannot be made here.
  set_tests_properties(bench_${check} PROPERTIES RUN_SERIAL TRUE TIMEOUT 300 SKIP_RETURN_CODE 77)
endfunction()

foreach(check info table jsonl csv backward list options unusable interrupt plot)
  norma_add_bench_check(${check})
endforeach()

norma_add_test(bench_faults test_faults.c)
target_include_directories(bench_faults PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(bench_faults PRIVATE norma_bench_objects)
