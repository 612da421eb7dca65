#pragma once

// What running other programs needs and Swift cannot say: functions of the C library that its module does not show, and a
// list that a signal handler may read. No system header is included, so that Swift takes their types from that module
// alone.

#ifdef __cplusplus
extern "C" {
#endif

/// A pipe whose two ends no other program gets.
int cprocess_pipe(int ends[2]);

/// Adds to a posix_spawn_file_actions_t that the program gets no open file from this number on.
int cprocess_close_from(void *actions, int first);

/// The variables of this process, each as NAME=VALUE, and NULL at the end.
char **cprocess_environment(void);

/// The words that this program was started with, after which there is NULL; NULL itself where they are not known.
char **cprocess_arguments(void);

/// Remembers what is to end with this process: a process, or the group that a negative number names, as kill() has it. If too
/// many run already, it is not remembered.
void cprocess_began(int target);
void cprocess_ended(int target);

/// Kills what is remembered. May be called by a signal handler.
void cprocess_kill_all(void);

/// Has a thread that is made with these attributes (a pthread_attr_t) begin on another processor than this one, if there is one:
/// a system may leave it on this one, until that is free. Does nothing where that cannot be said.
void cprocess_begin_elsewhere(void *attributes);

/// Lets a thread that has begun elsewhere go on wherever the process may run.
void cprocess_go_on_anywhere(void);

/// The number of the user whose process is at the other end of a Unix socket: who connected, or who listens there.
int cprocess_peer_user(int socket, unsigned *user);

#ifdef __cplusplus
}
#endif
