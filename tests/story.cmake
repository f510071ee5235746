# Runs LLAMA on the model in DATA, writes its story to STORY and fails unless that equals greedy.txt byte for byte.
execute_process(
  COMMAND ${LLAMA} -n 256 ${DATA}/checkpoint.bin ${DATA}/tokenizer.bin
  OUTPUT_FILE ${STORY}
  RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${LLAMA} failed: ${result}")
endif()
execute_process(COMMAND ${CMAKE_COMMAND} -E compare_files ${STORY} ${DATA}/greedy.txt RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  file(READ ${STORY} story)
  message(FATAL_ERROR "the story differs from ${DATA}/greedy.txt:\n${story}")
endif()
