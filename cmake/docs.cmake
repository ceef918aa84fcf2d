# The reference of the C and C++ interfaces, in build/docs/html: target `docs`, where Doxygen and
# Python are installed.
find_package(Doxygen QUIET)
find_package(Python3 QUIET COMPONENTS Interpreter)
if(NOT TARGET Doxygen::doxygen OR NOT Python3_Interpreter_FOUND)
  return()
endif()

# The numbered examples, each with its title: the first comment's first clause.
file(GLOB examples CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/[0-9]*)
foreach(example IN LISTS examples)
  cmake_path(GET example FILENAME name)
  file(STRINGS ${example} title LIMIT_COUNT 1)
  string(REGEX REPLACE "^[^0-9]*[0-9]+ ([^:]*):.*" "\\1" title "${title}")
  string(APPEND PENSEE_EXAMPLE_LIST "- @ref ${name} \"${title}\"\n")
  string(APPEND PENSEE_EXAMPLE_PAGES "/** @example ${name} */\n")
endforeach()
configure_file(${PROJECT_SOURCE_DIR}/cmake/reference.dox.in reference.dox @ONLY)
configure_file(${PROJECT_SOURCE_DIR}/cmake/Doxyfile.in Doxyfile @ONLY)
add_custom_target(docs COMMAND Doxygen::doxygen ${PROJECT_BINARY_DIR}/Doxyfile
                  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
