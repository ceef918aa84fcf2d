# Headers, kernels, program, the bundled model, the CMake package and the pkg-config files.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pensee)

set_target_properties(pensee_pensee PROPERTIES EXPORT_NAME pensee OUTPUT_NAME pensee)
install(TARGETS pensee_core pensee_pensee EXPORT pensee_targets
        ARCHIVE FILE_SET HEADERS)
install(EXPORT pensee_targets NAMESPACE pensee:: DESTINATION ${package_dir})

configure_package_config_file(cmake/pensee-config.cmake.in pensee-config.cmake
                              INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(pensee-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/pensee-config.cmake
              ${PROJECT_BINARY_DIR}/pensee-config-version.cmake cmake/dependencies.cmake
        DESTINATION ${package_dir})

file(RELATIVE_PATH PENSEE_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
foreach(dir LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
    set(PENSEE_PC_${dir} "${CMAKE_INSTALL_${dir}}")
  else()
    set(PENSEE_PC_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
  endif()
endforeach()
set(pc_files pensee pensee-core)
if(TARGET pensee_c)
  # An export of its own: users of the C interface need none of the C++ dependencies.
  install(TARGETS pensee_c EXPORT pensee_c_targets LIBRARY FILE_SET HEADERS)
  install(EXPORT pensee_c_targets NAMESPACE pensee:: DESTINATION ${package_dir})
  list(APPEND pc_files pensee-c)
endif()
foreach(name IN LISTS pc_files)
  configure_file(cmake/${name}.pc.in ${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

# The program finds the model at this place relative to itself, installed or not.
install(DIRECTORY examples/tiny_r1/model/ DESTINATION ${CMAKE_INSTALL_DATADIR}/pensee/tiny_r1)
get_filename_component(model_parent ${PROJECT_BINARY_DIR}/${PENSEE_MODEL_DIR} DIRECTORY)
file(MAKE_DIRECTORY ${model_parent})
file(CREATE_LINK ${PROJECT_SOURCE_DIR}/examples/tiny_r1/model
     ${PROJECT_BINARY_DIR}/${PENSEE_MODEL_DIR} SYMBOLIC)
