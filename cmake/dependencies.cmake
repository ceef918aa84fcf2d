# What users of the headers need too. The build and the installed package both read this list.
# Everything comes from the distribution.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(dnnl)
# For the thread count of a oneDNN built with OpenMP, as distributions build it.
find_dependency(OpenMP COMPONENTS CXX)
find_dependency(Eigen3)
find_dependency(xtensor)
find_dependency(nlohmann_json)
find_dependency(PkgConfig)
# As find_dependency() does: an error only if pensee is required.
set(pensee_pcre2_arguments IMPORTED_TARGET libpcre2-8)
if(pensee_FIND_REQUIRED)
  list(PREPEND pensee_pcre2_arguments REQUIRED)
endif()
if(pensee_FIND_QUIETLY)
  list(PREPEND pensee_pcre2_arguments QUIET)
endif()
pkg_check_modules(PENSEE_PCRE2 ${pensee_pcre2_arguments})
if(NOT PENSEE_PCRE2_FOUND)
  set(pensee_NOT_FOUND_MESSAGE "pensee could not be found because dependency libpcre2-8 could not be found.")
  set(pensee_FOUND FALSE)
  return()
endif()
# Not reached if anything is missing: find_dependency() returns from this file.
set(pensee_cpp_FOUND TRUE)
