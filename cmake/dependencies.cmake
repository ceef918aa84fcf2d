# Everything comes from the distribution.
find_package(Threads REQUIRED)
find_package(dnnl REQUIRED CONFIG)
find_package(Eigen3 REQUIRED NO_MODULE)
find_package(xtensor REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET GLOBAL libpcre2-8)
add_library(PCRE2::pcre2-8 ALIAS PkgConfig::PCRE2)
