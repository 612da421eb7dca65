#pragma once
#include <dlfcn.h>
#include <p11-kit-1/p11-kit/pkcs11.h>

// Opens a module and gives its functions; NULL, with the reason in words, if that fails. A module stays open.
static inline CK_FUNCTION_LIST *cpkcs11_open(const char *path, const char **reason) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *words = dlerror();
    *reason = words ? words : "it cannot be opened";
    return NULL;
  }
  CK_C_GetFunctionList list = (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
  CK_FUNCTION_LIST *functions = NULL;
  if (!list || list(&functions) != CKR_OK || !functions) {
    *reason = list ? "its C_GetFunctionList fails" : "it is no PKCS#11 module: it has no C_GetFunctionList";
    return NULL;
  }
  return functions;
}
