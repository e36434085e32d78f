# Libraries as archives, so that a program can be linked statically (virga_link_statically). What a program does not use
# of them, it does not carry.
set(ZLIB_USE_STATIC_LIBS ON)
set(OPENSSL_USE_STATIC_LIBS ON)

# Debian's fmt has headers and a shared library: the static one is built here.
find_path(FMT_INCLUDE_DIR fmt/format-inl.h REQUIRED)
add_library(virga_fmt STATIC ${CMAKE_SOURCE_DIR}/cmake/fmt.cc)
target_include_directories(virga_fmt SYSTEM PUBLIC ${FMT_INCLUDE_DIR})
add_library(fmt::fmt ALIAS virga_fmt)

# libarchive, and what its reading and writing of zip needs. Shared, it would bring ten libraries more, among them one of
# 30 MB, which every start would have to map. Its other formats need more libraries; the linker drops them.
add_library(virga_archive INTERFACE)
target_link_options(virga_archive INTERFACE -Wl,--gc-sections)
find_path(VIRGA_ARCHIVE_INCLUDE archive.h REQUIRED)
foreach(name archive nettle lzma bz2 z zstd)
  find_library(VIRGA_LIB_${name} lib${name}.a REQUIRED)
  target_link_libraries(virga_archive INTERFACE ${VIRGA_LIB_${name}})
endforeach()

# virga_link_for_quick_start(<program>): needs only the system's C library; virga_link_at_fixed_addresses(<program>): is
# not relocated at each start (no PIE), for programs that do not listen to a network. Both together make a start of virga
# 2 ms shorter. Not with sanitizers or coverage.
function(virga_link_for_quick_start program)
  if(VIRGA_SANITIZE OR VIRGA_COVERAGE)
    return()
  endif()
  target_link_options(${program} PRIVATE -static-libstdc++ -static-libgcc)
endfunction()
function(virga_link_at_fixed_addresses program)
  if(NOT VIRGA_SANITIZE AND NOT VIRGA_COVERAGE)
    target_link_options(${program} PRIVATE -no-pie)
  endif()
endfunction()

# virga_link_statically(<program>): needs nothing of the system that it runs on but the kernel, and is stripped. Not with
# sanitizers or coverage, whose runtimes are shared; then it only leaves out what it does not use. The addresses are fixed (no PIE), which spares
# relocating the program at each start.
function(virga_link_statically program)
  if(VIRGA_SANITIZE OR VIRGA_COVERAGE)
    target_link_options(${program} PRIVATE -Wl,--gc-sections)
    return()
  endif()
  # The linker warns that a static program which looks up host names may load shared libraries of the system's glibc.
  # This one does not (virga/function/function_main.cc, look_up_hosts_by_ourselves). The warning stays: --no-warnings
  # would hush errors, too, and leave calls of what is missing.
  target_link_options(${program} PRIVATE -static -no-pie -Wl,--gc-sections
    -Wl,-T,${CMAKE_SOURCE_DIR}/cmake/no_unwinding_openssl.ld)
  if(CMAKE_BUILD_TYPE STREQUAL Release)
    target_link_options(${program} PRIVATE -s)
  endif()
endfunction()
