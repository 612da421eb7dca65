#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/// Keeps the process's memory from others: no core file is written, no other process of the same user may read the memory
/// or attach to it, and memory that is given back is overwritten (see CMemory.c). Called first of all.
void cmemory_protect(void);

#ifdef __cplusplus
}
#endif
