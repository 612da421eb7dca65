// Memory that is given back is overwritten, whatever library used it: passwords and keys pass through JSON, strings and
// buffers of libcurl and OpenSSL, which cannot be cleansed one by one. The C library lets a program have a `free` of
// its own; the linker gives it to all libraries (see the Makefile, which names both functions).
#define _GNU_SOURCE
#include "CMemory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>

// From this size on, memory is mapped by itself and given back to the system, which overwrites it.
static const size_t mapped = 128 << 10;

#if !__has_feature(address_sanitizer) && !__has_feature(memory_sanitizer) && !__has_feature(thread_sanitizer)

// glibc's own functions.
void *__libc_malloc(size_t size);
void *__libc_realloc(void *memory, size_t size);
void __libc_free(void *memory);

void free(void *memory) {
  if (!memory) return;
  size_t size = malloc_usable_size(memory);
  if (size < mapped) explicit_bzero(memory, size);
  __libc_free(memory);
}

void *realloc(void *memory, size_t size) {
  if (!memory) return __libc_malloc(size);
  size_t old = malloc_usable_size(memory);
  if (size == 0 || old >= mapped) {
    if (size == 0 && old < mapped) explicit_bzero(memory, old);
    return __libc_realloc(memory, size);
  }
  if (size <= old) {
    explicit_bzero((char *)memory + size, old - size);
    return __libc_realloc(memory, size);
  }
  void *larger = __libc_malloc(size);
  if (!larger) return NULL;
  memcpy(larger, memory, old);
  free(memory);
  return larger;
}

#endif
#endif

void cmemory_protect(void) {
#if defined(__GLIBC__)
  // Or the C library would raise its limit by what was given back, and keep such memory.
  mallopt(M_MMAP_THRESHOLD, (int)mapped);
#endif
  struct rlimit core;
  if (getrlimit(RLIMIT_CORE, &core) == 0) {
    core.rlim_cur = 0;
    setrlimit(RLIMIT_CORE, &core);
  }
#if defined(__linux__)
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}
