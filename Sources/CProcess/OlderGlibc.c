// Functions that came to glibc after 2.34 and that libraries linked in ask for. Defined here, the program needs no newer
// glibc than that, and runs on systems that are older than the one that builds it (Tests/Release/check reads which it needs).
#define _GNU_SOURCE
#include <math.h>
#include <stddef.h>

#if defined(__GLIBC__)
#include <dlfcn.h>
#include <link.h>

// Of glibc 2.35; Swift's module of the C library names it. The square of a float is exact in a double.
__attribute__((visibility("hidden"))) float hypotf(float x, float y) {
  if (isinf(x) || isinf(y)) return INFINITY;
  return (float)sqrt((double)x * (double)x + (double)y * (double)y);
}

// Of glibc 2.35; libgcc's unwinder, which handles the exceptions of RE2, asks it for the tables of the code at an address. The release
// program has no such tables, and the answer is that there are none.
#ifdef DLFO_STRUCT_HAS_EH_DBASE
struct search {
  ElfW(Addr) address;
  struct dl_find_object *result;
};

static int look(struct dl_phdr_info *info, size_t size, void *pointer) {
  (void)size;
  struct search *search = pointer;
  const ElfW(Phdr) *code = NULL, *tables = NULL;
  for (ElfW(Half) i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[i];
    if (header->p_type == PT_LOAD && search->address - (info->dlpi_addr + header->p_vaddr) < header->p_memsz) code = header;
    if (header->p_type == PT_GNU_EH_FRAME) tables = header;
  }
  if (!code || !tables) return 0;
  *search->result = (struct dl_find_object){
      .dlfo_map_start = (void *)(info->dlpi_addr + code->p_vaddr),
      .dlfo_map_end = (void *)(info->dlpi_addr + code->p_vaddr + code->p_memsz),
      .dlfo_eh_frame = (void *)(info->dlpi_addr + tables->p_vaddr),
  };
  return 1;
}

__attribute__((visibility("hidden"))) int _dl_find_object(void *address, struct dl_find_object *result) {
  struct search search = {.address = (ElfW(Addr))address, .result = result};
  return dl_iterate_phdr(look, &search) ? 0 : -1;
}
#endif
#endif
