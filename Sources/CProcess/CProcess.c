#define _GNU_SOURCE
#include "CProcess.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

static _Atomic pid_t groups[64];
static const size_t limit = sizeof groups / sizeof groups[0];

int cprocess_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int cprocess_close_from(void *actions, int first) {
  return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

static void change(pid_t from, pid_t to) {
  for (size_t i = 0; i < limit; i++) {
    pid_t expected = from;
    if (atomic_compare_exchange_strong(&groups[i], &expected, to)) return;
  }
}

void cprocess_began(int group) { change(0, group); }
void cprocess_ended(int group) { change(group, 0); }

void cprocess_kill_all(void) {
  for (size_t i = 0; i < limit; i++) {
    pid_t group = atomic_exchange(&groups[i], 0);
    if (group > 0) kill(-group, SIGKILL);
  }
}
