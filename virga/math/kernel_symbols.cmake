# cmake -DNM=nm -DOBJECTS="a.o;b.o" -P kernel_symbols.cmake
# The kernels of an instruction set must not define a symbol that other translation units may share: the linker keeps one
# copy of each weak function, and a processor without AVX-512 must never be handed the one compiled for it.
set(checked 0)
foreach(object IN LISTS OBJECTS)
  if(object MATCHES "kernels_(scalar|avx2|avx512)\\.cc")
    math(EXPR checked "${checked} + 1")
    execute_process(COMMAND ${NM} --defined-only ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX REPLACE "[^\n]* DW\\.ref\\.[^\n]*" "" symbols "${symbols}")  # a pointer, made for sanitizers: no code
    if(symbols MATCHES "[0-9a-f]+ [WwVvu] [^\n]*")
      message(FATAL_ERROR "${object} defines a symbol that other code may share: ${CMAKE_MATCH_0}")
    endif()
  endif()
endforeach()
if(NOT checked EQUAL 3)
  message(FATAL_ERROR "expected the objects of 3 instruction sets among: ${OBJECTS}")
endif()
