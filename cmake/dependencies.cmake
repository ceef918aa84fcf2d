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
pkg_check_modules(PENSEE_PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
