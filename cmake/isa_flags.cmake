# Instruction sets of kernel files, by file suffix: *_avx2.cpp, *_avxvnni.cpp, *_avx512.cpp. A file
# gets its flags here and nowhere else; lib/dispatch.cpp asks the processor for the same features.
include(CheckCXXCompilerFlag)
include(CheckCXXSourceCompiles)
check_cxx_source_compiles("
#if !defined(__x86_64__)
#error not x86-64
#endif
int main() { return 0; }" PENSEE_TARGET_IS_X86_64)

# Best last. Without multiplication and addition being fused behind our back, results are the same
# at every optimisation level; with exceptions, an object would define a weak symbol for them.
set(PENSEE_ISA_FLAGS_common -ffp-contract=off -fno-exceptions)
set(PENSEE_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(PENSEE_ISA_FLAGS_avxvnni ${PENSEE_ISA_FLAGS_avx2} -mavxvnni)
set(PENSEE_ISA_FLAGS_avx512 ${PENSEE_ISA_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl
                            -mavx512vnni -mavx512bf16)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 takes the undefined vectors of its own intrinsics for a mistake (its bug 105593).
  list(APPEND PENSEE_ISA_FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
if(PENSEE_TARGET_IS_X86_64)
  set(PENSEE_ISAS avx2 avx512)
  # Younger than the others: a compiler may not know it.
  check_cxx_compiler_flag(-mavxvnni PENSEE_COMPILER_HAS_AVXVNNI)
  if(PENSEE_COMPILER_HAS_AVXVNNI)
    list(INSERT PENSEE_ISAS 1 avxvnni)
  endif()
  if(PENSEE_SANITIZE STREQUAL "thread")
    # Threads share work alike with every set, and each takes minutes to compile so.
    set(PENSEE_ISAS avx2)
  endif()
else()
  set(PENSEE_ISAS)
endif()

# Adds the kernel files of every instruction set to a target, each with its flags, and defines
# PENSEE_HAVE_<ISA> for the target's other files.
function(pensee_add_isa_kernels target)
  foreach(isa IN LISTS PENSEE_ISAS)
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/lib/kernels/*_${isa}.cpp)
    target_sources(${target} PRIVATE ${sources})
    set_source_files_properties(${sources} TARGET_DIRECTORY ${target} PROPERTIES
      COMPILE_OPTIONS "${PENSEE_ISA_FLAGS_common};${PENSEE_ISA_FLAGS_${isa}}")
    string(TOUPPER ${isa} name)
    target_compile_definitions(${target} PRIVATE PENSEE_HAVE_${name}=1)
  endforeach()
endfunction()
