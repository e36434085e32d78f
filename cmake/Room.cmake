# virga_room(<name> [DEPENDS room...] [LIBRARIES target...] [ALONE file...])
#
# One room, one static library `virga_<name>` of all its *.cc; `virga_<name>_test` of its *_test.cc (label "fast"; files named
# *_slow_test.cc make `virga_<name>_slow_test`, label "slow"); a program for each *_bench.cc and each *_fuzz.cc.
# With CMAKE_UNITY_BUILD (the sanitizers' presets: half the time to build) all files of a target are compiled as one, but
# for those that are named as ALONE: they have local names that a neighbour has too.
# Every header is compiled alone when VIRGA_TESTS is on (target all_verify_interface_header_sets).
function(virga_room name)
  cmake_parse_arguments(arg "" "" "DEPENDS;LIBRARIES;ALONE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  file(GLOB headers CONFIGURE_DEPENDS *.h)
  file(GLOB tests CONFIGURE_DEPENDS *_test.cc)
  file(GLOB slow_tests CONFIGURE_DEPENDS *_slow_test.cc)
  file(GLOB benches CONFIGURE_DEPENDS *_bench.cc)
  file(GLOB fuzzers CONFIGURE_DEPENDS *_fuzz.cc)
  file(GLOB mains CONFIGURE_DEPENDS *_main.cc)
  file(GLOB testing_support CONFIGURE_DEPENDS *_testing.cc)
  list(REMOVE_ITEM sources ${tests} ${benches} ${fuzzers} ${mains} ${testing_support} "")
  if(slow_tests)
    list(REMOVE_ITEM tests ${slow_tests})
  endif()

  list(TRANSFORM arg_DEPENDS PREPEND virga_)
  set_source_files_properties(${arg_ALONE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  if(sources)
    add_library(virga_${name} STATIC ${sources})
    target_sources(virga_${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${CMAKE_SOURCE_DIR} FILES ${headers})
    target_link_libraries(virga_${name} PUBLIC virga_flags ${arg_DEPENDS} ${arg_LIBRARIES} Threads::Threads)
    if(VIRGA_SANITIZE AND name MATCHES "^(cost|job|engine|policy|driver|cli)$")
      target_compile_options(virga_${name} PRIVATE -O0)  # no part of a worker: to optimise it takes longer than its tests
    endif()
    if(VIRGA_TESTS)
      set_target_properties(virga_${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
    endif()
  else()
    add_library(virga_${name} INTERFACE)
    target_link_libraries(virga_${name} INTERFACE virga_flags ${arg_DEPENDS} ${arg_LIBRARIES} Threads::Threads)
  endif()

  if(VIRGA_TESTS)
    virga_test(virga_${name}_test fast "${tests};${testing_support}" virga_${name})
    if(slow_tests)
      virga_test(virga_${name}_slow_test slow "${slow_tests};${testing_support}" virga_${name})
    endif()
    foreach(source IN LISTS fuzzers)
      virga_fuzzer(${source} virga_${name})
    endforeach()
  endif()
  if(VIRGA_BENCH)
    foreach(source IN LISTS benches)
      get_filename_component(program ${source} NAME_WE)
      add_executable(${program} ${source})
      target_link_libraries(${program} PRIVATE virga_${name} benchmark::benchmark_main)
    endforeach()
  endif()
endfunction()

# virga_test(<program> <label> <sources> <library>): a GoogleTest program, registered test by test with ctest under `label`.
function(virga_test program label sources library)
  list(FILTER sources EXCLUDE REGEX "^$")
  if(sources)
    add_executable(${program} ${sources})
    target_link_libraries(${program} PRIVATE ${library} GTest::gmock GTest::gtest_main)
    # What is tested is optimised; the tests themselves only cost time to compile.
    if(VIRGA_SANITIZE)
      target_compile_options(${program} PRIVATE -O0)
    else()
      target_compile_options(${program} PRIVATE $<$<CONFIG:Release>:-O1>)
    endif()
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${program} COMMAND ${program})
    set(labels ${label})
    if(label STREQUAL fast)
      add_dependencies(fast_tests ${program})
      if(program MATCHES "^virga_(base|data|net|ps|channel|collective|exchange|training|engine|driver)_test$")
        add_dependencies(threads_tests ${program})  # rooms that start threads
        list(APPEND labels threads)
      endif()
    endif()
    set_tests_properties(${program} PROPERTIES LABELS "${labels}" TIMEOUT 600
      ENVIRONMENT "VIRGA_SOURCE_DIR=${CMAKE_SOURCE_DIR};VIRGA_BIN_DIR=${CMAKE_BINARY_DIR}/bin")
  endif()
endfunction()

if(VIRGA_TESTS)
  add_library(virga_replay_fuzzer OBJECT ${CMAKE_SOURCE_DIR}/cmake/replay_fuzzer.cc)
  target_link_libraries(virga_replay_fuzzer PRIVATE virga_flags)
endif()

# A fuzz target: LLVMFuzzerTestOneInput under libFuzzer with clang; with gcc a program that replays the seed corpus
# (<source>_corpus/ beside it, if any) and a fixed number of seeded random mutations of it, run as a test of label "fuzz".
function(virga_fuzzer source library)
  get_filename_component(program ${source} NAME_WE)
  get_filename_component(folder ${source} DIRECTORY)
  add_executable(${program} ${source})
  set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  target_link_libraries(${program} PRIVATE ${library})
  set(corpus ${folder}/${program}_corpus)
  if(VIRGA_FUZZ AND CMAKE_CXX_COMPILER_ID MATCHES Clang)
    target_link_options(${program} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${program} COMMAND ${program} -max_total_time=20 -rss_limit_mb=2048 -timeout=10 ${CMAKE_BINARY_DIR}/fuzz/${program}_found
      ${corpus})
  else()
    target_link_libraries(${program} PRIVATE virga_replay_fuzzer)
    add_test(NAME ${program} COMMAND ${program} ${corpus})
  endif()
  add_dependencies(fast_tests ${program})
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz/${program}_found)
  set_tests_properties(${program} PROPERTIES LABELS "fast;fuzz" TIMEOUT 600)
endfunction()

# Fails the build when a room includes a room that does not stand above it.
function(virga_check_rooms)
  add_custom_target(check_rooms ALL
    COMMAND ${CMAKE_COMMAND} "-DROOMS=${VIRGA_ROOMS}" -DROOT=${CMAKE_SOURCE_DIR} -P ${CMAKE_SOURCE_DIR}/cmake/check_rooms.cmake
    VERBATIM COMMENT "Checking that rooms include only rooms above them")
endfunction()
