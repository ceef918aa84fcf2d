# Fails when a kernel object defines anything but its tables for the linker to see: an inline
# function compiled for AVX-512 and merged with its twin would crash older machines.
# OBJECTS: object files, comma-separated; NM: the tool; EXPECTED: how many objects there must be.
cmake_minimum_required(VERSION 3.25)
string(REPLACE "," ";" objects "${OBJECTS}")
list(LENGTH objects count)
if(NOT count EQUAL EXPECTED)
  message(FATAL_ERROR "${count} kernel objects, expected ${EXPECTED}: ${objects}")
endif()
foreach(object IN LISTS objects)
  execute_process(COMMAND ${NM} --defined-only --extern-only --demangle ${object}
                  OUTPUT_VARIABLE symbols RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${NM} failed on ${object}")
  endif()
  string(STRIP "${symbols}" symbols)
  string(REPLACE "\n" ";" symbols "${symbols}")
  set(tables 0)
  foreach(symbol IN LISTS symbols)
    if(symbol MATCHES " [DR] pensee::avx[0-9a-z]+::k(Halved)?Table$")
      math(EXPR tables "${tables} + 1")
    elseif(NOT symbol MATCHES " [A-Z] __odr_asan")  # the address sanitizer's mark of the table
      message(FATAL_ERROR "${object} exports ${symbol}")
    endif()
  endforeach()
  if(NOT tables EQUAL 1 AND NOT (tables EQUAL 2 AND object MATCHES "avx512"))
    message(FATAL_ERROR "${object} defines ${tables} tables")
  endif()
endforeach()
