#define _GNU_SOURCE
#include "CCurl.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// The macros that check argument types would expand the members of the table below.
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

static struct {
  __typeof__(&curl_global_init) global_init;
  __typeof__(&curl_version) version;
  __typeof__(&curl_easy_init) easy_init;
  __typeof__(&curl_easy_cleanup) easy_cleanup;
  __typeof__(&curl_easy_strerror) easy_strerror;
  __typeof__(&curl_easy_setopt) easy_setopt;
  __typeof__(&curl_easy_getinfo) easy_getinfo;
  __typeof__(&curl_slist_append) slist_append;
  __typeof__(&curl_slist_free_all) slist_free_all;
  __typeof__(&curl_multi_init) multi_init;
  __typeof__(&curl_multi_cleanup) multi_cleanup;
  __typeof__(&curl_multi_setopt) multi_setopt;
  __typeof__(&curl_multi_add_handle) multi_add_handle;
  __typeof__(&curl_multi_remove_handle) multi_remove_handle;
  __typeof__(&curl_multi_perform) multi_perform;
  __typeof__(&curl_multi_poll) multi_poll;
  __typeof__(&curl_multi_wakeup) multi_wakeup;
  __typeof__(&curl_multi_info_read) multi_info_read;
} curl;

static const char *failure;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_library(void) {
  // Debian and Ubuntu have a second one, over GnuTLS, that other programs may have brought.
  void *library = dlopen("libcurl.so.4", RTLD_LAZY | RTLD_LOCAL);
  if (!library) library = dlopen("libcurl-gnutls.so.4", RTLD_LAZY | RTLD_LOCAL);
  if (!library) {
    failure = "neither libcurl.so.4 nor libcurl-gnutls.so.4 can be opened";
    return;
  }
  const struct {
    void **slot;
    const char *name;
  } symbols[] = {
      {(void **)&curl.global_init, "curl_global_init"},
      {(void **)&curl.version, "curl_version"},
      {(void **)&curl.easy_init, "curl_easy_init"},
      {(void **)&curl.easy_cleanup, "curl_easy_cleanup"},
      {(void **)&curl.easy_strerror, "curl_easy_strerror"},
      {(void **)&curl.easy_setopt, "curl_easy_setopt"},
      {(void **)&curl.easy_getinfo, "curl_easy_getinfo"},
      {(void **)&curl.slist_append, "curl_slist_append"},
      {(void **)&curl.slist_free_all, "curl_slist_free_all"},
      {(void **)&curl.multi_init, "curl_multi_init"},
      {(void **)&curl.multi_cleanup, "curl_multi_cleanup"},
      {(void **)&curl.multi_setopt, "curl_multi_setopt"},
      {(void **)&curl.multi_add_handle, "curl_multi_add_handle"},
      {(void **)&curl.multi_remove_handle, "curl_multi_remove_handle"},
      {(void **)&curl.multi_perform, "curl_multi_perform"},
      {(void **)&curl.multi_poll, "curl_multi_poll"},
      {(void **)&curl.multi_wakeup, "curl_multi_wakeup"},
      {(void **)&curl.multi_info_read, "curl_multi_info_read"},
  };
  for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
    *symbols[i].slot = dlsym(library, symbols[i].name);
    if (!*symbols[i].slot) {
      failure = "libcurl is older than 7.68";
      return;
    }
  }
  if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) failure = "libcurl cannot be initialised";
}

const char *ccurl_open(void) {
  if (pthread_once(&once, open_library) != 0) return "libcurl cannot be initialised";
  return failure;
}

static void *open_aside(void *first) {
  // Signals are for the program's other threads.
  sigset_t signals;
  sigfillset(&signals);
  pthread_sigmask(SIG_BLOCK, &signals, NULL);
  ((void (*)(void))first)();
  ccurl_open();
  return NULL;
}

void ccurl_open_aside(void (*first)(void)) {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // On another processor, if there is one: a new thread often starts on the processor of the one that made it, and
  // would take its time from it.
  cpu_set_t processors;
  int here = sched_getcpu();
  if (here >= 0 && here < CPU_SETSIZE && sched_getaffinity(0, sizeof processors, &processors) == 0) {
    CPU_CLR(here, &processors);
    if (CPU_COUNT(&processors) > 0) pthread_attr_setaffinity_np(&attributes, sizeof processors, &processors);
  }
  // If there is no thread, the first ccurl_open() does it.
  pthread_t thread;
  pthread_create(&thread, &attributes, open_aside, (void *)first);
  pthread_attr_destroy(&attributes);
}

const char *ccurl_version(void) { return curl.version(); }

CURL *ccurl_easy_init(void) { return curl.easy_init(); }
void ccurl_easy_cleanup(CURL *easy) { curl.easy_cleanup(easy); }
const char *ccurl_easy_strerror(CURLcode code) { return curl.easy_strerror(code); }

CURLcode ccurl_set_long(CURL *easy, CURLoption option, long value) { return curl.easy_setopt(easy, option, value); }
CURLcode ccurl_set_offset(CURL *easy, CURLoption option, curl_off_t value) {
  return curl.easy_setopt(easy, option, value);
}
CURLcode ccurl_set_string(CURL *easy, CURLoption option, const char *value) {
  return curl.easy_setopt(easy, option, value);
}
CURLcode ccurl_set_bytes(CURL *easy, CURLoption option, const void *bytes, size_t count) {
  // Over GnuTLS it takes a client's certificate and key so, and does not use them.
  if (strstr(curl.version(), "GnuTLS")) return CURLE_NOT_BUILT_IN;
  struct curl_blob blob = {(void *)bytes, count, CURL_BLOB_NOCOPY};
  return curl.easy_setopt(easy, option, &blob);
}

int ccurl_file_in_memory(const void *bytes, size_t count) {
#if defined(__linux__)
  int file = memfd_create("certificates", MFD_CLOEXEC);
  if (file < 0) return -1;
  size_t written = 0;
  while (written < count) {
    ssize_t more = write(file, (const char *)bytes + written, count - written);
    if (more < 0 && errno == EINTR) continue;
    if (more <= 0) break;
    written += (size_t)more;
  }
  if (written == count && fchmod(file, S_IRUSR) == 0) return file;
  close(file);
#else
  (void)bytes, (void)count;
#endif
  return -1;
}
void ccurl_close_file(int file) { close(file); }

CURLcode ccurl_set_pointer(CURL *easy, CURLoption option, void *value) { return curl.easy_setopt(easy, option, value); }
CURLcode ccurl_set_list(CURL *easy, CURLoption option, struct curl_slist *list) {
  return curl.easy_setopt(easy, option, list);
}
CURLcode ccurl_set_write(CURL *easy, CURLoption option, curl_write_callback callback) {
  return curl.easy_setopt(easy, option, callback);
}
CURLcode ccurl_set_read(CURL *easy, curl_read_callback callback) {
  return curl.easy_setopt(easy, CURLOPT_READFUNCTION, callback);
}
CURLcode ccurl_set_seek(CURL *easy, curl_seek_callback callback) {
  return curl.easy_setopt(easy, CURLOPT_SEEKFUNCTION, callback);
}

CURLcode ccurl_allow_only_http(CURL *easy) {
  // CURLOPT_PROTOCOLS_STR (318) came with 7.85, where CURLOPT_PROTOCOLS (181) became deprecated.
  CURLcode code = curl.easy_setopt(easy, (CURLoption)(CURLOPTTYPE_OBJECTPOINT + 318), "http,https");
  if (code != CURLE_UNKNOWN_OPTION) return code;
  return curl.easy_setopt(easy, (CURLoption)(CURLOPTTYPE_LONG + 181), 3L);
}

CURLcode ccurl_get_long(CURL *easy, CURLINFO info, long *value) { return curl.easy_getinfo(easy, info, value); }

struct curl_slist *ccurl_list_append(struct curl_slist *list, const char *string) {
  return curl.slist_append(list, string);
}
void ccurl_list_free(struct curl_slist *list) { curl.slist_free_all(list); }

CURLM *ccurl_multi_init(void) { return curl.multi_init(); }
CURLMcode ccurl_multi_cleanup(CURLM *multi) { return curl.multi_cleanup(multi); }
CURLMcode ccurl_multi_set_long(CURLM *multi, CURLMoption option, long value) {
  return curl.multi_setopt(multi, option, value);
}
CURLMcode ccurl_multi_add(CURLM *multi, CURL *easy) { return curl.multi_add_handle(multi, easy); }
CURLMcode ccurl_multi_remove(CURLM *multi, CURL *easy) { return curl.multi_remove_handle(multi, easy); }
CURLMcode ccurl_multi_perform(CURLM *multi, int *running) { return curl.multi_perform(multi, running); }
CURLMcode ccurl_multi_wait(CURLM *multi, int milliseconds) {
  return curl.multi_poll(multi, NULL, 0, milliseconds, NULL);
}
CURLMcode ccurl_multi_wakeup(CURLM *multi) { return curl.multi_wakeup(multi); }

CURL *ccurl_multi_finished(CURLM *multi, CURLcode *result) {
  int left = 0;
  CURLMsg *message;
  while ((message = curl.multi_info_read(multi, &left))) {
    if (message->msg != CURLMSG_DONE) continue;
    *result = message->data.result;
    return message->easy_handle;
  }
  return NULL;
}
