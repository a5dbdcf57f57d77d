/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a program where io_uring is blocked, as container hosts block it: a seccomp filter answers its three system calls
 * with an error. The program, and what it starts, finds the error's name in IOU_BLOCKED.
 *
 * usage: blocked EPERM|EACCES|ENOSYS|ENOMEM|EINVAL|EOPNOTSUPP PROGRAM [ARGUMENT...]
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
	const char *name;
	int number;
} errors[] = {
	{ "EPERM", EPERM },   { "EACCES", EACCES }, { "ENOSYS", ENOSYS },
	{ "ENOMEM", ENOMEM }, { "EINVAL", EINVAL }, { "EOPNOTSUPP", EOPNOTSUPP },
};

static int error_of(const char *name)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (strcmp(errors[i].name, name) == 0)
			return errors[i].number;
	return 0;
}

/* Whoever may do so without gives up no privileges: what is run may have to. */
static int block(int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_enter, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_register, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
		return 0;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -1 : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Each call, and nothing but the filter says so: of these arguments the kernel would complain in other words. */
static int is_blocked(int error)
{
	if (syscall(__NR_io_uring_setup, 0, NULL) != -1 || errno != error)
		return 0;
	if (syscall(__NR_io_uring_enter, -1, 0, 0, 0, NULL, 0) != -1 || errno != error)
		return 0;
	return syscall(__NR_io_uring_register, -1, 0, NULL, 0) == -1 && errno == error;
}

int main(int argc, char **argv)
{
	int error = argc > 2 ? error_of(argv[1]) : 0;

	if (!error) {
		fprintf(stderr, "usage: blocked ERRNO PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	if (block(error) < 0 || !is_blocked(error)) {
		fprintf(stderr, "blocked: io_uring cannot be blocked here: %s\n", strerror(errno));
		return 126;
	}
	setenv("IOU_BLOCKED", argv[1], 1);
	execvp(argv[2], argv + 2);
	fprintf(stderr, "blocked: %s: %s\n", argv[2], strerror(errno));
	return 127;
}
