#pragma once

#include <curl/curl.h>

// libcurl without its variadics and opened on first use: linking it would cost every start of the program the
// loading of some thirty shared libraries, also if nothing is fetched.
//
// ccurl_open() must have succeeded before any other function here is called.

#ifdef __cplusplus
extern "C" {
#endif

/// Opens libcurl.so.4, or libcurl-gnutls.so.4, and initialises it, once for the process; safe from several threads.
/// Returns NULL if that worked, else the reason, a string that stays valid.
const char *ccurl_open(void);

/// Begins to do the same on a thread of its own, after first(); a thread that calls ccurl_open() meanwhile waits for
/// it. The process must end by _exit() from then on: exit() would close libraries while others are being opened.
void ccurl_open_aside(void (*first)(void));

/// The versions of libcurl and of the libraries that it uses, a string that stays valid.
const char *ccurl_version(void);

CURL *ccurl_easy_init(void);
void ccurl_easy_cleanup(CURL *easy);
const char *ccurl_easy_strerror(CURLcode code);

CURLcode ccurl_set_long(CURL *easy, CURLoption option, long value);
CURLcode ccurl_set_offset(CURL *easy, CURLoption option, curl_off_t value);
/// libcurl copies the string.
CURLcode ccurl_set_string(CURL *easy, CURLoption option, const char *value);
/// The bytes must outlive the transfer. Fails if this libcurl, or the library that it does TLS with, takes files only.
CURLcode ccurl_set_bytes(CURL *easy, CURLoption option, const void *bytes, size_t count);
/// Makes a file of bytes that is in memory only, and that /proc/self/fd/NUMBER names for this process.
/// Returns its number, or -1 if the system has no such files.
int ccurl_file_in_memory(const void *bytes, size_t count);
void ccurl_close_file(int file);
CURLcode ccurl_set_pointer(CURL *easy, CURLoption option, void *value);
/// The list must outlive the transfer.
CURLcode ccurl_set_list(CURL *easy, CURLoption option, struct curl_slist *list);
CURLcode ccurl_set_write(CURL *easy, CURLoption option, curl_write_callback callback);
CURLcode ccurl_set_read(CURL *easy, curl_read_callback callback);
CURLcode ccurl_set_seek(CURL *easy, curl_seek_callback callback);
/// Lets this handle speak http and https only, on every libcurl 7.x and 8.x.
CURLcode ccurl_allow_only_http(CURL *easy);

CURLcode ccurl_get_long(CURL *easy, CURLINFO info, long *value);

/// Appends a copy of the string; NULL if memory is short, and then the old list is still the caller's.
struct curl_slist *ccurl_list_append(struct curl_slist *list, const char *string);
void ccurl_list_free(struct curl_slist *list);

CURLM *ccurl_multi_init(void);
CURLMcode ccurl_multi_cleanup(CURLM *multi);
CURLMcode ccurl_multi_set_long(CURLM *multi, CURLMoption option, long value);
CURLMcode ccurl_multi_add(CURLM *multi, CURL *easy);
CURLMcode ccurl_multi_remove(CURLM *multi, CURL *easy);
CURLMcode ccurl_multi_perform(CURLM *multi, int *running);
/// Waits for activity, for ccurl_multi_wakeup(), or for the time in milliseconds.
CURLMcode ccurl_multi_wait(CURLM *multi, int milliseconds);
/// The one function that another thread may call on a multi handle.
CURLMcode ccurl_multi_wakeup(CURLM *multi);
/// Takes one finished transfer off the queue: its handle and its result. NULL if none is left.
CURL *ccurl_multi_finished(CURLM *multi, CURLcode *result);

#ifdef __cplusplus
}
#endif
