/* Definitions of the allocation functions, which come before those of the C and C++ libraries; the
 * real ones (under the address sanitizer, its own) do the work. */
#define _GNU_SOURCE
#include "allocations.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static atomic_long live;
static atomic_long until_failure; /* 0: nothing fails */
static atomic_int later_fail;
static atomic_long failed;

void fail_allocation(long number, int and_later) {
  atomic_store(&failed, 0);
  atomic_store(&later_fail, and_later);
  atomic_store(&until_failure, number);
}

long stop_failing(void) {
  atomic_store(&until_failure, 0);
  return atomic_load(&failed);
}

long failed_allocations(void) {
  return atomic_load(&failed);
}

long live_blocks(void) {
  return atomic_load(&live);
}

static int must_fail(void) {
  const long left = atomic_load(&until_failure);
  if (left == 0) return 0;
  if (left > 1) {
    atomic_fetch_sub(&until_failure, 1);
    return 0;
  }
  if (!atomic_load(&later_fail)) atomic_store(&until_failure, 0);
  atomic_fetch_add(&failed, 1);
  errno = ENOMEM;
  return 1;
}

/* The real functions. Looking for them may itself allocate and free, the text of an error: then
 * there is no memory, and nothing is freed. */
static struct {
  void* (*malloc)(size_t);
  void* (*calloc)(size_t, size_t);
  void* (*realloc)(void*, size_t);
  int (*posix_memalign)(void**, size_t, size_t);
  void (*free)(void*);
} real;
enum { kUnknown, kLooking, kKnown };
static int found_real = kUnknown; /* set before there are threads */

static void find(const char* name, void* function) {
  void* address = dlsym(RTLD_NEXT, name);
  memcpy(function, &address, sizeof address);
}

static int has_real(void) {
  if (found_real == kUnknown) {
    found_real = kLooking;
    find("malloc", &real.malloc);
    find("calloc", &real.calloc);
    find("realloc", &real.realloc);
    find("posix_memalign", &real.posix_memalign);
    find("free", &real.free);
    found_real = kKnown;
  }
  return found_real == kKnown;
}

static void* counted(void* block) {
  if (block != NULL) atomic_fetch_add(&live, 1);
  return block;
}

static void* allocate_aligned(size_t alignment, size_t size) {
  void* block = NULL;
  if (!has_real() || must_fail() || real.posix_memalign(&block, alignment, size) != 0) return NULL;
  return counted(block);
}

void* malloc(size_t size) {
  return has_real() && !must_fail() ? counted(real.malloc(size)) : NULL;
}

void* calloc(size_t n, size_t size) {
  return has_real() && !must_fail() ? counted(real.calloc(n, size)) : NULL;
}

void* realloc(void* block, size_t size) {
  void* moved;
  if (!has_real() || must_fail()) return NULL;
  moved = real.realloc(block, size);
  if (block == NULL) return counted(moved);
  if (moved == NULL && size == 0) atomic_fetch_sub(&live, 1);
  return moved;
}

void* aligned_alloc(size_t alignment, size_t size) {
  return allocate_aligned(alignment, size);
}

void* memalign(size_t alignment, size_t size) {
  return allocate_aligned(alignment, size);
}

int posix_memalign(void** block, size_t alignment, size_t size) {
  void* found = allocate_aligned(alignment, size);
  if (found == NULL) return ENOMEM;
  *block = found;
  return 0;
}

void free(void* block) {
  if (block == NULL || !has_real()) return;
  atomic_fetch_sub(&live, 1);
  real.free(block);
}

/* C++'s operators new and delete by their mangled names: those of the address sanitizer do not
 * call malloc. */
extern void _ZSt17__throw_bad_allocv(void);

static void* or_throw(void* block) {
  if (block == NULL) _ZSt17__throw_bad_allocv();
  return block;
}

#define NEW(name)                  \
  void* name(size_t size) {        \
    return or_throw(malloc(size)); \
  }
#define NEW_NOTHROW(name)                    \
  void* name(size_t size, const void* tag) { \
    (void)tag;                               \
    return malloc(size);                     \
  }
#define NEW_ALIGNED(name)                               \
  void* name(size_t size, size_t alignment) {           \
    return or_throw(allocate_aligned(alignment, size)); \
  }
#define DELETE(name)       \
  void name(void* block) { \
    free(block);           \
  }
#define DELETE_2(name)                     \
  void name(void* block, size_t ignored) { \
    (void)ignored;                         \
    free(block);                           \
  }
#define DELETE_3(name)                                      \
  void name(void* block, size_t ignored, size_t ignored2) { \
    (void)ignored;                                          \
    (void)ignored2;                                         \
    free(block);                                            \
  }
NEW(_Znwm)
NEW(_Znam)
NEW_NOTHROW(_ZnwmRKSt9nothrow_t)
NEW_NOTHROW(_ZnamRKSt9nothrow_t)
NEW_ALIGNED(_ZnwmSt11align_val_t)
NEW_ALIGNED(_ZnamSt11align_val_t)
DELETE(_ZdlPv)
DELETE(_ZdaPv)
DELETE_2(_ZdlPvm)
DELETE_2(_ZdaPvm)
DELETE_2(_ZdlPvSt11align_val_t)
DELETE_2(_ZdaPvSt11align_val_t)
DELETE_3(_ZdlPvmSt11align_val_t)
DELETE_3(_ZdaPvmSt11align_val_t)
