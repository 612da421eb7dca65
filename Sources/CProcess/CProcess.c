#define _GNU_SOURCE
#include "CProcess.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <crt_externs.h>
#endif

// The children of a process are the process's: a signal handler, which gets nothing but a number, ends all of them.
static _Atomic pid_t targets[64];
static const size_t limit = sizeof targets / sizeof targets[0];

int cprocess_pipe(int ends[2]) {
#if defined(__linux__)
  return pipe2(ends, O_CLOEXEC);
#else
  // A program that another thread starts between these calls gets the ends, unless it was started from here: then it gets
  // no open file that is not for it.
  if (pipe(ends) != 0) return -1;
  for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFD, FD_CLOEXEC);
  return 0;
#endif
}

int cprocess_close_from(void *actions, int first) {
#if defined(__GLIBC__)
  return posix_spawn_file_actions_addclosefrom_np(actions, first);
#elif defined(__APPLE__)
  // Done by a flag of posix_spawn: POSIX_SPAWN_CLOEXEC_DEFAULT.
  (void)actions, (void)first;
  return 0;
#else
  // What is opened here is closed by itself (O_CLOEXEC); this is for what the rest of the process has left open.
  long end = sysconf(_SC_OPEN_MAX);
  if (end < 0 || end > 65536) end = 65536;
  for (int file = first; file < end; file++) {
    int flags = fcntl(file, F_GETFD);
    if (flags < 0 || flags & FD_CLOEXEC) continue;
    int failed = posix_spawn_file_actions_addclose(actions, file);
    if (failed) return failed;
  }
  return 0;
#endif
}

char **cprocess_environment(void) {
#if defined(__APPLE__)
  return *_NSGetEnviron();
#else
  return environ;
#endif
}

static char **words;

#if defined(__GLIBC__) || defined(__APPLE__)
// Both give initialisers what they give main().
__attribute__((constructor)) static void keep_words(int count, char **given) {
  (void)count;
  words = given;
}
#endif

char **cprocess_arguments(void) { return words; }

static void change(pid_t from, pid_t to) {
  for (size_t i = 0; i < limit; i++) {
    pid_t expected = from;
    if (atomic_compare_exchange_strong(&targets[i], &expected, to)) return;
  }
}

void cprocess_began(int target) { change(0, target); }
void cprocess_ended(int target) { change(target, 0); }

void cprocess_kill_all(void) {
  for (size_t i = 0; i < limit; i++) {
    pid_t target = atomic_exchange(&targets[i], 0);
    if (target != 0) kill(target, SIGKILL);
  }
}

#if defined(__GLIBC__)
void cprocess_begin_elsewhere(void *attributes) {
  cpu_set_t processors;
  int here = sched_getcpu();
  if (here < 0 || here >= CPU_SETSIZE || sched_getaffinity(0, sizeof processors, &processors) != 0) return;
  CPU_CLR(here, &processors);
  if (CPU_COUNT(&processors) > 0) pthread_attr_setaffinity_np(attributes, sizeof processors, &processors);
}

void cprocess_go_on_anywhere(void) {
  cpu_set_t processors;
  if (sched_getaffinity(getpid(), sizeof processors, &processors) == 0) {
    sched_setaffinity(0, sizeof processors, &processors);
  }
}
#else
void cprocess_begin_elsewhere(void *attributes) { (void)attributes; }
void cprocess_go_on_anywhere(void) {}
#endif

int cprocess_peer_user(int socket, unsigned *user) {
#if defined(__linux__)
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || size != sizeof peer) return -1;
  *user = peer.uid;
  return 0;
#else
  uid_t peer;
  gid_t group;
  if (getpeereid(socket, &peer, &group) != 0) return -1;
  *user = peer;
  return 0;
#endif
}
