# Helpers that make a target of a folder's sources. A folder without sources makes an interface library, or nothing.

# penumbra_add_library(TARGET list-name dependencies...)
function(penumbra_add_library target list_name)
  if(${list_name})
    penumbra_group(${${list_name}})
    add_library(${target} STATIC ${${list_name}})
    target_link_libraries(${target} PUBLIC penumbra_options ${ARGN})
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE penumbra_options ${ARGN})
  endif()
endfunction()

# penumbra_library(NAME folder dependencies...): penumbra_NAME from every .cpp below the folder but main.cpp.
function(penumbra_library name folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  penumbra_add_library(penumbra_${name} sources ${ARGN})
endfunction()

# penumbra_use_images(TARGET): builds the images and the VMM first, and tells the target where they are.
function(penumbra_use_images target)
  target_compile_definitions(${target} PRIVATE
    PENUMBRA_BINARY="${PROJECT_BINARY_DIR}/penumbra" PENUMBRA_GUEST_IMAGES="${PENUMBRA_IMAGE_DIR}")
  add_dependencies(${target} guest_images)
  if(TARGET penumbra)
    add_dependencies(${target} penumbra)
  endif()
endfunction()
