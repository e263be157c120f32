# libslirp (user-mode networking) as the target slirp::slirp. Its pkg-config file asks for GLib's development files, which
# neither the header nor the link needs.
find_path(SLIRP_INCLUDE_DIR slirp/libslirp.h REQUIRED)
find_library(SLIRP_LIBRARY slirp REQUIRED)
add_library(slirp::slirp UNKNOWN IMPORTED)
set_target_properties(slirp::slirp PROPERTIES
  IMPORTED_LOCATION ${SLIRP_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${SLIRP_INCLUDE_DIR})
