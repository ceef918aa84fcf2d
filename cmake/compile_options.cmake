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
  # Wanted with Debug, for its assertions. -Og compiles fastest; the thread sanitizer's tests run
  # long enough for -O1 to pay.
  add_compile_options(-fsanitize=${PENSEE_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer -g1)
  if(PENSEE_SANITIZE STREQUAL "thread")
    add_compile_options(-O1)
  else()
    add_compile_options(-Og)
  endif()
  add_link_options(-fsanitize=${PENSEE_SANITIZE})
endif()
