/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * G12 for the library as it ships, and with it what liburing has inlined: the system calls themselves fail in turn. A
 * seccomp filter makes each a SIGSYS, whose handler counts, and gives an error, or carries the call out: that call is
 * marked in a half of a register which the kernel does not look at, and the filter lets it pass.
 *
 * Filters cannot be taken away, so each trial is a process. They are inherited by threads, and workers block SIGSYS
 * as all signals, so they had better not make such a call: the kernel kills who does. (So these are not all that the
 * threads engine makes; the rest is up to test-faults.c.)
 *
 * Which calls are tried can be had by IOU_FAULTS_STRIDE and IOU_FAULTS_OFFSET: see there.
 */
#include "play.h"
#include "support.h"

#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* A kernel that wants a call to be made again does not want so for ever. */
#define N_TRANSIENT 24

#define MARK 0x10dU

/* Of the arguments of a trapped call, and where its result goes. */
#if defined(__x86_64__)
#define KNOWS_REGISTERS true
static const int registers[] = { REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9 };
#define REGISTER(context, i) (context)->uc_mcontext.gregs[registers[i]]
#define RESULT(context) (context)->uc_mcontext.gregs[REG_RAX]
#elif defined(__aarch64__)
#define KNOWS_REGISTERS true
#define REGISTER(context, i) (context)->uc_mcontext.regs[i]
#define RESULT(context) (context)->uc_mcontext.regs[0]
#else
#define KNOWS_REGISTERS false
static long nowhere;
#define REGISTER(context, i) ((void)(context), (void)(i), nowhere)
#define RESULT(context) *((void)(context), &nowhere)
#endif

/* As libc's epoll_wait() makes it. */
#ifdef SYS_epoll_wait
#define CALL_EPOLL_WAIT SYS_epoll_wait
#else
#define CALL_EPOLL_WAIT SYS_epoll_pwait
#endif

struct call {
	const char *name;
	int number;
	/* Of this argument the kernel takes 32 bits. */
	unsigned marked;
	/* Others let be: those where that argument is, or is not, this value. */
	enum { ALL, ONLY, BUT } which;
	unsigned value;
	int errors[8];
	/* Of these, the ones that must go unnoticed. */
	int transient[5];
};

static const struct call calls[] = {
	{ "io_uring_setup", SYS_io_uring_setup, 0, ALL, 0, { ENOMEM, EPERM, ENOSYS, EMFILE, EINVAL } },
	{ "io_uring_enter",
	  SYS_io_uring_enter,
	  0,
	  ALL,
	  0,
	  { EAGAIN, EBUSY, EINTR, ENOMEM, EPERM, ENOSYS, EBADR },
	  { EAGAIN, EBUSY, EINTR, ENOMEM } },
	{ "io_uring_register", SYS_io_uring_register, 0, ALL, 0, { ENOMEM, EINVAL, EPERM } },
	{ "eventfd2", SYS_eventfd2, 0, ALL, 0, { EMFILE, ENFILE, ENOMEM } },
	{ "epoll_create1", SYS_epoll_create1, 0, ALL, 0, { EMFILE, ENFILE, ENOMEM } },
	{ "epoll_ctl", SYS_epoll_ctl, 0, ALL, 0, { ENOMEM, ENOSPC } },
	{ "timerfd_create", SYS_timerfd_create, 0, ALL, 0, { EMFILE, ENFILE, ENOMEM } },
	{ "mmap of a descriptor", SYS_mmap, 4, BUT, -1U, { ENOMEM, EAGAIN } },
	{ "madvise(MADV_WIPEONFORK)", SYS_madvise, 2, ONLY, MADV_WIPEONFORK, { EINVAL, ENOMEM } },
	/* On threads, by the loop thread alone. */
	{ "epoll_wait", CALL_EPOLL_WAIT, 0, ALL, 0, { EINTR, EBADF }, { EINTR } },
	{ "epoll_pwait2", SYS_epoll_pwait2, 0, ALL, 0, { EINTR, ENOSYS, EPERM }, { EINTR, ENOSYS, EPERM } },
	{ "accept4", SYS_accept4, 0, ALL, 0, { EMFILE, EINTR, EAGAIN }, { EINTR, EAGAIN } },
};

#define N_CALLS ((int)(sizeof(calls) / sizeof(calls[0])))

struct trial {
	const char *setting;
	iou_config_t config;
	int call, error;
	unsigned first, last;
};

/* What the trial's process tells its parent. */
struct report {
	unsigned n_calls[N_CALLS];
	bool has_failed;
	char complaint[256];
};

static struct play_choice choice;
static struct report *report;
static const struct trial *trial;

/* Let go of a failed ring faster than the library does: what is waited for there is not what this is about. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
	struct timespec shorter = { .tv_nsec = time->tv_nsec / 100 };

	return clock_nanosleep(CLOCK_MONOTONIC, 0, &shorter, left);
}

/* In the handler. */

static int find_call(int number)
{
	int i = 0;

	while (i < N_CALLS - 1 && calls[i].number != number)
		i++;
	return i;
}

static long carry_out(const struct call *call, const ucontext_t *context)
{
	long arguments[6];
	long r;

	for (int i = 0; i < 6; i++)
		arguments[i] = (long)REGISTER(context, i);
	arguments[call->marked] = (long)(((unsigned long)MARK << 32) | (unsigned)arguments[call->marked]);
	r = syscall(call->number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
	return r < 0 ? -errno : r;
}

static void trapped(int signal, siginfo_t *info, void *data)
{
	ucontext_t *context = data;
	int saved = errno, i = find_call(info->si_syscall);
	unsigned n = ++report->n_calls[i];
	bool fails = i == trial->call && n >= trial->first && n <= trial->last;

	(void)signal;
	report->has_failed |= fails;
	RESULT(context) = fails ? -trial->error : carry_out(&calls[i], context);
	errno = saved;
}

/* The filter. */

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOW 0U
#else
#define LOW 4U
#endif
#define ARGUMENT(i) ((unsigned)offsetof(struct seccomp_data, args) + 8 * (i))

static struct sock_filter filter[16 * N_CALLS];
static unsigned short filter_length;

static void add(unsigned code, unsigned value, unsigned skip_if, unsigned skip_if_not)
{
	filter[filter_length++] =
		(struct sock_filter){ (unsigned short)code, (unsigned char)skip_if, (unsigned char)skip_if_not, value };
}

static void add_load(unsigned offset)
{
	add(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
}

static void add_call(const struct call *call)
{
	add_load(offsetof(struct seccomp_data, nr));
	add(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call->number, 0, call->which == ALL ? 4 : 6);
	if (call->which != ALL) {
		add_load(ARGUMENT(call->marked) + LOW);
		add(BPF_JMP | BPF_JEQ | BPF_K, call->value, call->which == ONLY ? 0 : 2, call->which == ONLY ? 2 : 0);
	}
	add_load(ARGUMENT(call->marked) + (4 - LOW));
	add(BPF_JMP | BPF_JEQ | BPF_K, MARK, 0, 1);
	add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	add(BPF_RET | BPF_K, SECCOMP_RET_TRAP, 0, 0);
}

static const char *trap(void)
{
	struct sigaction action = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO };
	struct sock_fprog program = { .filter = filter };

	filter_length = 0;
	for (int i = 0; i < N_CALLS; i++)
		add_call(&calls[i]);
	add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	program.len = filter_length;
	sigaction(SIGSYS, &action, NULL);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return "there can be no filter";
	return NULL;
}

/* A trial. */

static bool must_go_unnoticed(void)
{
	if (trial->call < 0)
		return true;
	for (const int *error = calls[trial->call].transient; *error; error++)
		if (trial->error == *error)
			return true;
	return false;
}

/* Of LeakSanitizer, where it is there. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static const char *perform(void)
{
	struct play_rules rules = { .config = trial->config, .error = trial->error, .is_strict = must_go_unnoticed() };
	int n_descriptors = support_descriptors(), n_threads = support_threads();
	bool needs_stage = trial->config.engine == IOU_ENGINE_THREADS;
	const char *complaint = needs_stage && !play_open_stage() ? "no stage" : trap();

	if (!complaint)
		complaint = play(&rules);
	if (!complaint && support_descriptors() != n_descriptors)
		complaint = "descriptors were left";
	/* TSan's own thread may have come. */
	if (!complaint &&
	    support_settle(support_threads, n_threads + support_sanitized()) > n_threads + support_sanitized())
		complaint = "threads were left";
	if (!complaint && __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
		complaint = "memory was left";
	return complaint;
}

static void be_trial(void)
{
	const char *complaint;

	signal(SIGALRM, SIG_DFL);
	alarm(20U * (unsigned)support_slowness());
	complaint = perform();
	if (complaint)
		snprintf(report->complaint, sizeof(report->complaint), "%s", complaint);
	_exit(0);
}

static void check_report(int status)
{
	char words[192];

	snprintf(words, sizeof(words), "%s: call %u%s of %s fails with %s (%s)", trial->setting, trial->first,
		 trial->last > trial->first ? " and later ones" : "",
		 trial->call < 0 ? "nothing" : calls[trial->call].name, strerror(trial->error), choice.words);
	ck_assert_msg(!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM, "%s: it hangs", words);
	ck_assert_msg(!WIFSIGNALED(status), "%s: it dies of signal %d", words, WTERMSIG(status));
	ck_assert_msg(WEXITSTATUS(status) == 0, "%s: it ends with %d", words, WEXITSTATUS(status));
	ck_assert_msg(!report->complaint[0], "%s: %s", words, report->complaint);
}

/* Whether it came as far as to the call that was to fail. */
static bool try(const struct trial *which)
{
	int status;
	pid_t child;

	trial = which;
	memset(report, 0, sizeof(*report));
	child = fork();
	if (child == 0)
		be_trial();
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	check_report(status);
	return report->has_failed;
}

/* Everything. */

static const struct trial settings[] = {
	{ .setting = "defaults", .config = { .workers = 2, .engine = IOU_ENGINE_URING }, .call = -1 },
	{ .setting = "threads", .config = { .workers = 2, .engine = IOU_ENGINE_THREADS }, .call = -1 },
	{ .setting = "any thread, limits",
	  .config = { .flags = IOU_ANY_THREAD, .iowq_bounded = 2, .engine = IOU_ENGINE_URING },
	  .call = -1 },
};

#define N_SETTINGS ((int)(sizeof(settings) / sizeof(settings[0])))

/* How often the call is made where nothing fails: at least one is tried. */
static unsigned n_good_calls;

static unsigned stride(const struct trial *of)
{
	unsigned n = of->config.flags ? 3 : 1;

	if (choice.stride)
		return choice.stride;
	n *= support_slowness() == 1 ? 1 : 5;
	return n < n_good_calls ? n : n_good_calls;
}

/* Each error of a call begins with another one. */
static unsigned offset(const struct trial *of, bool is_lasting)
{
	return choice.offset + (unsigned)(of->call + of->error + is_lasting);
}

static int try_each_call(struct trial next, bool is_lasting)
{
	int n = 0;

	trial = &next;
	for (next.first = 1 + offset(&next, is_lasting) % stride(&next);; next.first += stride(&next)) {
		next.last = !is_lasting ? next.first : must_go_unnoticed() ? next.first + N_TRANSIENT : UINT_MAX;
		if (!try(&next))
			return n;
		n++;
	}
}

static int try_each_error(struct trial next, int call)
{
	int n = 0;

	next.call = call;
	for (const int *error = calls[call].errors; *error; error++) {
		next.error = *error;
		n += try_each_call(next, false) + try_each_call(next, true);
	}
	return n;
}

static void set_up(void)
{
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(report, MAP_FAILED);
}

static void tear_down(void)
{
	munmap(report, sizeof(*report));
}

/* Valgrind makes the system calls itself, and would be trapped in the place of the program. */
static bool cannot_trap(void)
{
	return !KNOWS_REGISTERS || RUNNING_ON_VALGRIND || sizeof(long) < 8;
}

START_TEST(test_each_system_call_is_trapped)
{
	unsigned n_calls[N_CALLS] = { 0 };

	if (cannot_trap())
		SKIP("system calls cannot be trapped here");
	for (int i = 0; i < N_SETTINGS; i++) {
		try(&settings[i]);
		for (int j = 0; j < N_CALLS; j++)
			n_calls[j] += report->n_calls[j];
	}
	for (int j = 0; j < N_CALLS; j++)
		ck_assert_msg(n_calls[j], "%s is never called", calls[j].name);
}
END_TEST

PROMISE(12, no_failing_system_call_loses_an_op_leaks_or_hangs)
{
	int n = 0;

	if (cannot_trap())
		SKIP("system calls cannot be trapped here");
	for (int i = 0; i < N_SETTINGS; i++) {
		try(&settings[i]);
		n_good_calls = report->n_calls[_i];
		if (n_good_calls)
			n += try_each_error(settings[i], _i);
	}
	ck_assert_int_gt(n, 0);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("faults-seccomp");
	TCase *tcase = ADD_CASE(s, "trap", test_each_system_call_is_trapped);

	choice = play_choose();
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = tcase_create("faults");
	/* For all trials of a call together; each has its own bound. */
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, PROMISE_TEST(12, no_failing_system_call_loses_an_op_leaks_or_hangs), 0, N_CALLS);
	suite_add_tcase(s, tcase);
	return s;
}
