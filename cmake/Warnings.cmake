# Flags that every target shares. The bits of a model must not depend on the compiler's freedom with floating point:
# no contraction, no fast-math, SSE2 arithmetic. Designated initialisers leave out what has a default, on purpose.
add_library(virga_flags INTERFACE)
target_compile_options(virga_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast -Wnon-virtual-dtor -Woverloaded-virtual -Wno-missing-field-initializers -Werror
  -ffp-contract=off -fno-fast-math)
target_include_directories(virga_flags INTERFACE ${CMAKE_SOURCE_DIR})
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # False alarms of gcc 12 in std::string and std::vector (GCC bugs 105651 and 107852).
  target_compile_options(virga_flags INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds)
endif()
# For targets whose files are compiled as one: what is local to one file is not hidden by another one's, nor is it part of
# an interface. Linked after what brings virga_flags, so that it comes later on the command line.
add_library(virga_unity_flags INTERFACE)
target_compile_options(virga_unity_flags INTERFACE -Wno-shadow -Wno-subobject-linkage)
if(CMAKE_UNITY_BUILD)
  target_link_libraries(virga_flags INTERFACE virga_unity_flags)
endif()
if(VIRGA_SANITIZE)
  add_compile_options(-fsanitize=${VIRGA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -ffunction-sections)
  add_link_options(-fsanitize=${VIRGA_SANITIZE})
  if(VIRGA_SANITIZE MATCHES thread)
    # The thread sanitizer knows no fences. Asio's do not order what its mutexes do not order already.
    add_compile_definitions(BOOST_ASIO_DISABLE_FENCED_BLOCK)
  endif()
endif()
if(VIRGA_COVERAGE)
  add_compile_options(--coverage -O0)
  add_link_options(--coverage)
endif()
