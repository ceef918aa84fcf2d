# Build type, warnings and sanitizers of our own targets; nothing here reaches users of the library.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

add_library(pensee_options INTERFACE)
target_compile_options(pensee_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                                                -Wsign-conversion)
if(PENSEE_WARNINGS_AS_ERRORS)
  target_compile_options(pensee_options INTERFACE -Werror)
endif()
if(PENSEE_SANITIZE)
  # Wanted with Debug, for its assertions; -Og makes the tests several times as fast as -O0.
  add_compile_options(-fsanitize=${PENSEE_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer -Og -g1)
  add_link_options(-fsanitize=${PENSEE_SANITIZE})
endif()
