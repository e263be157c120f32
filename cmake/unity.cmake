# Unity builds (PENUMBRA_UNITY): the sources of a folder are compiled as one, so that headers are read and their templates
# made once. The names in their anonymous namespaces meet then, and have to differ from each other and from what headers
# declare; a source that keeps such a name is compiled alone.
set(penumbra_alone
  "tests/(host|support)/"
  "tests/kvm/machine_(large|svm)"
  "tests/unit/(accelerator_svm|block|compressed|device_t|dma|report_|serial|shadow|subscriber_index|table|virt)"
  "vmm/boot/(boot_state|linux_bzimage)[.]cpp"
  "vmm/control/qmp/session[.]cpp"
  "vmm/devices/pci/pci_config[.]cpp"
  "vmm/kvm/(cpu_state|assist/linear_memory)[.]cpp"
  "vmm/memory/tier/compressed_tier[.]cpp"
  "vmm/run[.]cpp")
list(JOIN penumbra_alone "|" penumbra_alone)

if(PENUMBRA_UNITY)
  set(CMAKE_UNITY_BUILD ON)
  set(CMAKE_UNITY_BUILD_MODE GROUP)
  # Line numbers for reports are enough where nobody debugs.
  string(REGEX REPLACE "-g( |$)" "-g1\\1" CMAKE_CXX_FLAGS_RELWITHDEBINFO "${CMAKE_CXX_FLAGS_RELWITHDEBINFO}")
endif()

# penumbra_group(sources...): who is compiled with whom. It depends on a source's own path alone, so that a new source
# changes no other batch.
function(penumbra_group)
  foreach(source IN LISTS ARGN)
    cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE path)
    if(path MATCHES "^(${penumbra_alone})")
      continue()
    endif()
    string(REGEX MATCH "^(vmm/devices/[^/]+|(vmm|tests)/[^/]+|[^/]+)/" group ${path})
    foreach(letters a-b c-l m-z)  # tests/unit is too much for one compiler
      if(path MATCHES "^tests/unit/[${letters}]")
        set(group tests/unit/${letters}/)
      endif()
    endforeach()
    string(REPLACE "/" "_" group ${group})
    set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${group})
  endforeach()
endfunction()
