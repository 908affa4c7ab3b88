# The house: how every room is compiled, and which rooms it may see.
# A room sees another only through holdfast_room(... ARROWS ...): a header of a room without an arrow is not on the include path.
set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()

option(HOLDFAST_TESTS "Build the tests" ON)
# Most of a file's time goes into the headers it shares with its neighbours: several are compiled as one, unless with clang,
# where (preset fuzz) each has to stand alone. HOLDFAST_UNITY=OFF is for whoever works on one file for long.
option(HOLDFAST_UNITY "Compile the files of a target in batches" ON)
option(HOLDFAST_FUZZERS "Build the libFuzzer targets (needs clang)" OFF)
option(HOLDFAST_PLANTED_BUGS "Compile in the bugs that the crash harness must find (base/planted.h)" OFF)
set(HOLDFAST_SANITIZE "" CACHE STRING "Sanitizers for every target, e.g. address,undefined")

# Forty programs are linked: a fast linker saves a good part of a minute.
find_program(HOLDFAST_LLD ld.lld)
if(HOLDFAST_LLD)
  add_link_options(-fuse-ld=lld)
endif()

find_program(HOLDFAST_CCACHE ccache)
if(HOLDFAST_CCACHE)
  # Paths count from the source tree, so that another checkout of the same sources finds what this one compiled.
  # The sloppiness is what precompiled headers need: without it ccache leaves those who use one alone.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros ${HOLDFAST_CCACHE})
endif()

add_library(holdfast_flags INTERFACE)
target_compile_options(holdfast_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
  -fno-omit-frame-pointer -g1)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports these inside coroutine frames where nothing is wrong (GCC PR 95137 and relatives).
  target_compile_options(holdfast_flags INTERFACE -Wno-maybe-uninitialized -Wno-dangling-pointer -Wno-mismatched-new-delete)
  # Asio has fences, which this sanitizer does not see; it does see the locks beside them.
  if(HOLDFAST_SANITIZE MATCHES "thread")
    target_compile_options(holdfast_flags INTERFACE -Wno-tsan)
  endif()
  if(HOLDFAST_UNITY)
    set(CMAKE_UNITY_BUILD ON)
    set(CMAKE_UNITY_BUILD_BATCH_SIZE 6)
    # What is in an anonymous namespace of one file is no header's, though another file is compiled with it.
    target_compile_options(holdfast_flags INTERFACE -Wno-subobject-linkage)
  endif()
else()
  # libstdc++ 12 hides std::expected from clang 16 unless it claims this level of concepts.
  target_compile_options(holdfast_flags INTERFACE -D__cpp_concepts=202002L -Wno-builtin-macro-redefined -Wno-macro-redefined -Wno-unknown-warning-option)
endif()
if(HOLDFAST_PLANTED_BUGS)
  target_compile_definitions(holdfast_flags INTERFACE HOLDFAST_PLANTED_BUGS)
endif()
if(HOLDFAST_SANITIZE)
  target_compile_options(holdfast_flags INTERFACE -fsanitize=${HOLDFAST_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(holdfast_flags INTERFACE -fsanitize=${HOLDFAST_SANITIZE})
endif()

# Headers of others that nearly every file includes, parsed once for all targets with the same flags: half of the time of most files.
# GCC only: clang wants the same definitions too, and builds without this (preset fuzz), so a forgotten #include is noticed there.
function(holdfast_precompiled name)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    return()
  endif()
  cmake_parse_arguments(P "" "" "LIBS;OPTIONS;HEADERS" ${ARGN})
  set(source ${CMAKE_BINARY_DIR}/${name}.cpp)
  file(CONFIGURE OUTPUT ${source} CONTENT "" @ONLY)
  add_library(${name} OBJECT ${source})
  target_link_libraries(${name} PRIVATE holdfast_flags ${P_LIBS})
  target_compile_options(${name} PRIVATE ${P_OPTIONS})
  target_precompile_headers(${name} PRIVATE ${P_HEADERS})
endfunction()
function(holdfast_use_precompiled name)
  if(NOT TARGET ${name})
    return()
  endif()
  foreach(target ${ARGN})
    target_precompile_headers(${target} REUSE_FROM ${name})
    # Lets ccache see through the precompiled header.
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endforeach()
endfunction()

holdfast_precompiled(holdfast_std HEADERS
  <algorithm> <array> <chrono> <coroutine> <cstdint> <cstring> <expected> <functional> <memory> <optional> <span> <string>
  <string_view> <utility> <vector>)

# Files that are far from the path of an I/O and dear to compile, for the libraries of templates that they use: optimised less.
# Without coroutines: holdfast_cold(FILES…) for -Og; with: -O1, which the sanitized builds have tried.
function(holdfast_cold)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS -Og SKIP_PRECOMPILE_HEADERS ON)
endfunction()
function(holdfast_cold_coroutines)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS -O1 SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# A view of the source tree that holds just the rooms named: links in the build tree, so that a missing arrow fails to compile.
function(holdfast_room_view room out)
  set(view ${CMAKE_BINARY_DIR}/rooms/${room})
  file(MAKE_DIRECTORY ${view})
  foreach(visible ${room} ${ARGN})
    file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${visible} ${view}/${visible} SYMBOLIC)
  endforeach()
  set(${out} ${view} PARENT_SCOPE)
endfunction()

# holdfast_room(NAME ARROWS room... LIBS lib...): every .cpp of the folder is the room's.
function(holdfast_room room)
  cmake_parse_arguments(R "" "" "ARROWS;LIBS" ${ARGN})
  file(GLOB R_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  holdfast_room_view(${room} view ${R_ARROWS})
  if(R_SOURCES)
    add_library(holdfast_${room} STATIC ${R_SOURCES})
    target_include_directories(holdfast_${room} PRIVATE ${view})
    target_link_libraries(holdfast_${room} PUBLIC holdfast_flags ${R_LIBS})
    holdfast_use_precompiled(holdfast_std holdfast_${room})
    foreach(visible ${R_ARROWS})
      target_link_libraries(holdfast_${room} PUBLIC holdfast_${visible})
    endforeach()
  else()
    add_library(holdfast_${room} INTERFACE)
    target_link_libraries(holdfast_${room} INTERFACE holdfast_flags ${R_LIBS})
  endif()
endfunction()
