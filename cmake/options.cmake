# Flags of every target that runs on the host. Guest images have their own (guest-images/CMakeLists.txt).
add_library(penumbra_options INTERFACE)
separate_arguments(extra_warnings UNIX_COMMAND "${PENUMBRA_WARNINGS}")
target_compile_options(penumbra_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> -Werror ${extra_warnings}
  $<$<BOOL:${PENUMBRA_UNITY}>:-Wno-shadow>)  # it would be of a neighbour's constant; builds by single files have it
target_include_directories(penumbra_options INTERFACE ${PROJECT_SOURCE_DIR})

if(PENUMBRA_TEST_SWITCHES)
  target_compile_definitions(penumbra_options INTERFACE PENUMBRA_TEST_SWITCHES)
endif()

if(PENUMBRA_SANITIZE)
  target_compile_options(penumbra_options INTERFACE
    -fsanitize=${PENUMBRA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(penumbra_options INTERFACE -fsanitize=${PENUMBRA_SANITIZE})
  if(PENUMBRA_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ warns that ThreadSanitizer does not model atomic_thread_fence.
    target_compile_options(penumbra_options INTERFACE -Wno-tsan)
  endif()
endif()

# lld links the test programs in a third of the time. g++ looks for it by the name without a version.
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/linker)
find_program(LLD NAMES ld.lld-19 ld.lld)
if(LLD)
  file(CREATE_LINK ${LLD} ${PROJECT_BINARY_DIR}/linker/ld.lld SYMBOLIC)
  target_link_options(penumbra_options INTERFACE -fuse-ld=lld -B${PROJECT_BINARY_DIR}/linker)
endif()
