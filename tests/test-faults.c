/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * G12: every call that the library makes and that can fail does so in turn: the first alone, then all from the first
 * on, then the second, ...; up to the one that is not reached any more.
 *
 * Of what repeats itself, and under sanitizers and valgrind, not each call is tried but each so many-th, from another one
 * on in each run. From the environment:
 *	IOU_FAULTS_STRIDE	try each so many-th call of all functions with all settings; 1: every one. That takes
 *				minutes, and with sanitizers an hour: CK_TIMEOUT_MULTIPLIER=100 lets it.
 *	IOU_FAULTS_OFFSET	where to begin: the number that a failure's words end with has the same calls tried again.
 */
#include "faults.h"
#include "play.h"
#include "promises.h"

#include <dirent.h>
#include <limits.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

/* A kernel that wants a call to be made again does not want so for ever. */
#define N_TRANSIENT 24
/* What is tried again only after a while, each time a longer one, would take too long. */
#define N_TRANSIENT_RESULTS 6

/* The last act, and what follows it, make so many. */
#define N_LAST_ENTERS 3

struct setting {
	const char *name;
	iou_config_t config;
	bool is_old_kernel;
	unsigned away_at; /* call of io_uring_enter() from which on io_uring is taken away; 0: never */
	bool is_away_late;
	int refusal; /* the error with which rings are refused; 0: they are not */
	bool is_sandbox;
	bool is_slow; /* so that one call is tried, of some functions */
};

#define RING .config.engine = IOU_ENGINE_URING
#define THREADS .config.engine = IOU_ENGINE_THREADS

static const struct setting on_ring[] = {
	{ .name = "defaults", RING },
	{ .name = "two workers, limits, 64 entries",
	  RING,
	  .config.entries = 64,
	  .config.workers = 2,
	  .config.iowq_bounded = 2,
	  .config.iowq_unbounded = 2 },
	{ .name = "spinning", RING, .config.flags = IOU_SPIN, .config.spin_ns = 20000 },
	{ .name = "a thread of the kernel's submits", RING, .config.flags = IOU_SQPOLL, .is_slow = true },
	{ .name = "any thread", RING, .config.flags = IOU_ANY_THREAD },
	{ .name = "as on Linux 5.10", RING, .config.workers = 1, .is_old_kernel = true },
	{ .name = "io_uring is taken away early", RING, .away_at = 5 },
	{ .name = "io_uring is taken away late", RING, .is_away_late = true },
};

static const struct setting on_threads[] = {
	{ .name = "threads", THREADS },
	{ .name = "two of each thread, spinning",
	  THREADS,
	  .config.flags = IOU_SPIN,
	  .config.spin_ns = 20000,
	  .config.workers = 2,
	  .config.iowq_bounded = 2,
	  .config.iowq_unbounded = 2 },
	{ .name = "rings are refused", .refusal = EPERM, .config.flags = IOU_ANY_THREAD },
	{ .name = "threads in a sandbox", THREADS, .is_sandbox = true },
};

/* All settings of an engine. */
struct settings {
	const struct setting *first;
	int n;
};

static const struct settings engines[] = {
	{ on_ring, sizeof(on_ring) / sizeof(on_ring[0]) },
	{ on_threads, sizeof(on_threads) / sizeof(on_threads[0]) },
};

enum { ON_RING, ON_THREADS, N_ENGINES };
enum { N_MOST_SETTINGS = 16, N_MOST_FUNCTIONS = 128 };

/* The functions are tried in so many processes. */
#define N_GROUPS 12

struct trial {
	const struct setting *setting;
	int function, error;
	unsigned first, last;
};

#define NOTHING_FAILS ((struct trial){ .function = -1 })

static struct play_choice choice;

/* What is being tried, for who has to be told that it crashed or hung. */
static char words[256];

static void describe(const struct trial *trial)
{
	snprintf(words, sizeof(words), "%s: call %u%s of %s fails with %s (%s)", trial->setting->name, trial->first,
		 trial->last > trial->first ? " and later ones" : "",
		 trial->function < 0 ? "nothing" : faults[trial->function].name,
		 trial->error == FAULT_SHORT ? "half of it" : strerror(trial->error), choice.words);
}

static void tell(const char *what)
{
	dprintf(STDERR_FILENO, "test-faults: %s: %s: it waits for %s\n", what, words, play_waits_for());
}

static void has_crashed(int number)
{
	tell(number == SIGALRM ? "it hangs" : "it crashes");
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* A sanitizer's last word would not say which call it was that failed. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

/* Of ThreadSanitizer, where it is there: it takes longer than others, and has a thread. */
extern void __tsan_init(void) __attribute__((weak));

static void has_died(void)
{
	tell("it dies");
}

static int n_mappings, n_threads, n_descriptors;

static int mappings_of_rings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	while (maps && fgets(line, sizeof(line), maps))
		n += strstr(line, "[io_uring]") != NULL;
	if (maps)
		fclose(maps);
	return n;
}

static void set_up(void)
{
	/* Threads' own arenas would come and go. */
	mallopt(M_ARENA_MAX, 1);
	signal(SIGALRM, has_crashed);
	if (!support_sanitized()) {
		signal(SIGSEGV, has_crashed);
		signal(SIGABRT, has_crashed);
	}
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(has_died);
	n_descriptors = support_descriptors();
}

#define NAME_SIZE 16

static bool name_of_thread(const char *id, char *name)
{
	char path[300];
	FILE *file;
	bool has_name;

	snprintf(path, sizeof(path), "/proc/self/task/%s/comm", id);
	file = fopen(path, "re");
	if (!file)
		return false;
	has_name = fgets(name, NAME_SIZE, file);
	fclose(file);
	if (has_name)
		name[strcspn(name, "\n")] = '\0';
	return has_name;
}

/* For who has to find out which one it is that was left. */
static const char *names_of_threads(void)
{
	static char names[512];
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	size_t length = 0;

	names[0] = '\0';
	while (tasks && (task = readdir(tasks)) && length < sizeof(names)) {
		char name[NAME_SIZE];

		if (task->d_name[0] != '.' && name_of_thread(task->d_name, name))
			length += (size_t)snprintf(names + length, sizeof(names) - length, " %s", name);
	}
	if (tasks)
		closedir(tasks);
	return names;
}

/*
 * The first time libc, and a sanitizer's threads, get what they keep for later. The allocators of sanitizers and
 * valgrind go on so. The kernel's threads leave when they like.
 */
static void count_what_is_there(void)
{
	support_settle(support_threads, __tsan_init ? 2 : 1);
	n_threads = support_steady(support_threads);
	n_mappings = support_slowness() > 1 ? INT_MAX : support_steady(support_mappings);
}

static void check_that_nothing_was_left(void)
{
	int n_left;

	ck_assert_int_eq(support_settle(mappings_of_rings, 0), 0);
	n_left = support_settle(support_threads, n_threads);
	ck_assert_msg(n_left == n_threads, "%d threads instead of %d:%s; %s", n_left, n_threads, names_of_threads(),
		      choice.words);
	ck_assert_int_le(support_settle(support_mappings, n_mappings), n_mappings);
}

static void tear_down(void)
{
	const int numbers[] = { SIGALRM, SIGSEGV, SIGABRT };

	alarm(0);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (numbers[i] == SIGALRM || !support_sanitized())
			signal(numbers[i], SIG_DFL);
}

/* How often a function is called where nothing fails, by setting. */
static unsigned n_good_calls[N_MOST_SETTINGS][N_MOST_FUNCTIONS];

static int find_function(const char *name)
{
	int i = 0;

	while (faults[i].name && strcmp(faults[i].name, name) != 0)
		i++;
	ck_assert_ptr_nonnull(faults[i].name);
	return i;
}

/* Where nothing is taken away there are not many fewer calls, nor more. */
static unsigned away_at(const struct setting *setting)
{
	return setting->is_away_late ? n_good_calls[0][find_function("io_uring_enter2")] - N_LAST_ENTERS
				     : setting->away_at;
}

static bool is_on_ring(const struct trial *trial)
{
	return trial->setting >= on_ring && trial->setting < on_ring + engines[ON_RING].n;
}

static bool is_operation(const struct trial *trial)
{
	return trial->function >= 0 && faults[trial->function].is_operation && !is_on_ring(trial);
}

/* On threads that may be the result of an op. */
static bool must_go_unnoticed(const struct trial *trial)
{
	if (is_operation(trial))
		return faults_is_transient(trial->function, trial->error);
	return trial->function < 0 || faults_is_harmless(trial->function, trial->error);
}

static void set_rules(const struct trial *trial, struct play_rules *rules)
{
	if (away_at(trial->setting))
		rules->engine_error = EPERM;
	else
		rules->is_strict = must_go_unnoticed(trial);
	rules->is_operation = is_operation(trial);
}

/*
 * The failure of an operation is one op's, and nobody else's. In the sandbox there may be yet another way; and what
 * valgrind does not know is there for nobody.
 */
static void check_number_of_results(const struct trial *trial)
{
	if (RUNNING_ON_VALGRIND && trial->error == ENOSYS)
		return;
	if (is_operation(trial) && faults_is_a_result(trial->function, trial->error) && trial->first == trial->last &&
	    !trial->setting->is_sandbox)
		ck_assert_msg(play_n_errors() == 1, "%s: %d ops got the error", words, play_n_errors());
}

/* Whether it came as far as to the call that was to fail. */
static bool try(const struct trial *trial)
{
	struct play_rules rules = { .config = trial->setting->config, .error = trial->error };
	const char *complaint, *left;
	bool has_failed;

	set_rules(trial, &rules);
	describe(trial);
	alarm(20U * (unsigned)support_slowness());
	faults_pretend_old_kernel(trial->setting->is_old_kernel);
	faults_take_io_uring_away(away_at(trial->setting));
	faults_refuse_rings(trial->setting->refusal);
	faults_put_into_sandbox(trial->setting->is_sandbox);
	faults_arm(trial->function, trial->error, trial->first, trial->last);
	complaint = play(&rules);
	has_failed = faults_disarm();
	left = faults_left_behind();
	ck_assert_msg(!complaint, "%s: %s", words, complaint);
	ck_assert_msg(!left, "%s: %s", words, left);
	ck_assert_msg(support_descriptors() == n_descriptors, "%s: %d descriptors instead of %d", words,
		      support_descriptors(), n_descriptors);
	if (has_failed)
		check_number_of_results(trial);
	return has_failed;
}

static int number_of_setting(const struct trial *trial)
{
	return (int)(trial->setting - (is_on_ring(trial) ? on_ring : on_threads));
}

static unsigned thinning(void)
{
	if (support_slowness() > 10)
		return 20;
	return __tsan_init ? 7 : support_sanitized() ? 3 : 1;
}

/*
 * Every call with the first setting, and with the others not all of what repeats itself: of what is called often. Under
 * sanitizers and valgrind fewer.
 */
static unsigned stride(const struct trial *trial)
{
	unsigned n_calls = n_good_calls[number_of_setting(trial)][trial->function];
	unsigned n = faults[trial->function].is_harmless || !is_on_ring(trial) ? 6 : 3;

	if (choice.stride)
		return choice.stride;
	if (trial->setting->is_slow)
		return n_calls;
	if (number_of_setting(trial) == 0)
		return thinning() < n_calls ? thinning() : n_calls;
	return thinning() * (n_calls / 4 < n ? n_calls / 4 + 1 : n);
}

/* Each error of a function begins with another call. */
static unsigned offset(const struct trial *trial, bool is_lasting)
{
	return choice.offset + (unsigned)(trial->function + trial->error + number_of_setting(trial) + is_lasting);
}

static int try_each_call(struct trial trial, bool is_lasting)
{
	bool is_transient = must_go_unnoticed(&trial);
	unsigned n_transient = is_operation(&trial) ? N_TRANSIENT_RESULTS : N_TRANSIENT;
	int n = 0;

	for (trial.first = 1 + offset(&trial, is_lasting) % stride(&trial);; trial.first += stride(&trial)) {
		trial.last = !is_lasting ? trial.first : is_transient ? trial.first + n_transient : UINT_MAX;
		if (!try(&trial))
			return n;
		n++;
	}
}

/* Once alone, and once from then on; where that takes minutes each error one way or the other. */
static int try_each_error(int function, const struct setting *setting)
{
	static unsigned n_before;
	bool is_very_slow = support_slowness() > 10 || (setting->is_slow && !choice.stride);
	int n = 0;

	for (const int *error = faults[function].errors; *error; error++, n_before++)
		for (unsigned is_lasting = 0; is_lasting < 2; is_lasting++)
			if (!is_very_slow || (choice.offset + n_before) % 2 == is_lasting)
				n += try_each_call((struct trial){ setting, function, *error, 0, 0 }, is_lasting);
	return n;
}

static void try_good_ones(const struct settings *settings)
{
	struct trial trial = NOTHING_FAILS;

	for (int i = 0; i < settings->n; i++) {
		trial.setting = &settings->first[i];
		try(&trial);
		for (int j = 0; faults[j].name; j++)
			n_good_calls[i][j] = faults_n_calls(j);
	}
}

/* With a slow setting each third one. */
static bool is_tried(int function, const struct setting *setting)
{
	return !setting->is_slow || choice.stride || (choice.offset + (unsigned)function) % 3 == 0;
}

static int try_each_setting(int function, const struct settings *settings)
{
	int n = 0;

	for (int i = 0; i < settings->n; i++)
		if (n_good_calls[i][function] && is_tried(function, &settings->first[i]))
			n += try_each_error(function, &settings->first[i]);
	return n;
}

/* What is counted from outside, once for all trials: what one of them leaves, many do. */
static void fail_in_turn(const struct settings *settings, int group)
{
	int n = 0;

	try_good_ones(settings);
	try_good_ones(settings);
	count_what_is_there();
	for (int i = 0; faults[i].name; i++)
		n += i % N_GROUPS == group ? try_each_setting(i, settings) : 0;
	ck_assert_int_gt(n, 0);
	check_that_nothing_was_left();
}

PROMISE(12, no_failure_loses_an_op_leaks_or_hangs)
{
	fail_in_turn(&engines[ON_RING], _i);
}
END_TEST

PROMISE(12, no_failure_on_threads_loses_an_op_leaks_or_hangs)
{
	fail_in_turn(&engines[ON_THREADS], _i);
}
END_TEST

/* Two failures at a time: io_uring is gone, and there is no memory to copy its last results. */
PROMISE(12, what_has_completed_is_told_when_io_uring_is_taken_away)
{
	iou_t *iou = open_with((iou_config_t){ .flags = IOU_ANY_THREAD });
	struct seen done, blocked, late;
	char bytes[2];
	int fds[2], r;

	open_pipe(fds);
	put_bytes(fds[1], "x", 1);
	queue_read(iou, &done, fds[0], &bytes[0], 1, 0);
	queue_read(iou, &blocked, fds[0], &bytes[1], 1, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_nop(iou, &late, 0);
	faults_take_io_uring_away(1);
	faults_arm(find_function("calloc"), ENOMEM, 1, UINT_MAX);
	r = iou_run(iou);
	iou = iou_free(iou);
	faults_disarm();
	ck_assert_int_eq(r, -EPERM);
	ck_assert_ptr_null(iou);
	expect(&done, 1);
	expect(&blocked, -ECANCELED);
	expect(&late, -ECANCELED);
	close_pipe(fds);
	faults_take_io_uring_away(0);
}
END_TEST

/* So many are cancelled by requests that take memory each, but there is always some for one. */
#define N_MANY 300

PROMISE(12, many_are_cancelled_without_memory)
{
	const struct timespec no_time = { 0 };
	static struct seen polls[N_MANY];
	iou_t *iou = open_iou(64);
	int fds[2];

	open_pipe(fds);
	for (int i = 0; i < N_MANY; i++) {
		io_uring_prep_poll_add(take(iou, &polls[i]), fds[0], POLLIN);
		queue(&polls[i]);
	}
	ck_assert_int_eq(iou_flush(iou), 0);
	faults_arm(find_function("calloc"), ENOMEM, 1, UINT_MAX);
	while (iou_op_new(iou))
		;
	ck_assert_int_eq(iou_cancel_all(iou), N_MANY);
	for (int i = 0; i < 10 * N_MANY && n_seen < N_MANY; i++)
		ck_assert_int_ge(iou_run_once(iou, &no_time), 0);
	ck_assert_int_eq(n_seen, N_MANY);
	faults_disarm();
	ck_assert_ptr_null(iou_free(iou));
	for (int i = 0; i < N_MANY; i++)
		expect(&polls[i], -ECANCELED);
	close_pipe(fds);
}
END_TEST

#define N_CHAINS 4
#define N_IN_CHAIN 8

/* More complete at once than there is room for: they have to wait until what is there has been taken. */
PROMISE(12, chains_are_cancelled_without_memory_for_their_completions)
{
	static struct seen ops[N_CHAINS * N_IN_CHAIN];
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .cq_entries = 8, .engine = IOU_ENGINE_THREADS });
	int fds[2];

	open_pipe(fds);
	for (int i = 0; i < N_CHAINS * N_IN_CHAIN; i++) {
		bool is_last = i % N_IN_CHAIN == N_IN_CHAIN - 1;

		if (i % N_IN_CHAIN == 0)
			io_uring_prep_poll_add(take(iou, &ops[i]), fds[0], POLLIN);
		else
			io_uring_prep_nop(take(iou, &ops[i]));
		ops[i].op->sqe->flags = is_last ? 0 : IOSQE_IO_LINK;
		queue(&ops[i]);
	}
	ck_assert_int_eq(iou_flush(iou), 0);
	faults_arm(find_function("calloc"), ENOMEM, 1, UINT_MAX);
	ck_assert_int_gt(iou_cancel_all(iou), 0);
	for (int i = 0; i < 100 && n_seen < N_CHAINS * N_IN_CHAIN; i++)
		ck_assert_int_ge(turn(iou), 0);
	ck_assert_int_eq(n_seen, N_CHAINS * N_IN_CHAIN);
	faults_disarm();
	ck_assert_ptr_null(iou_free(iou));
	for (int i = 0; i < N_CHAINS * N_IN_CHAIN; i++)
		expect(&ops[i], -ECANCELED);
	close_pipe(fds);
}
END_TEST

/* One whose listener has no room stays under way, however it is waited for. */
static int connect_to(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ck_assert_int_eq(connect(fd, (const struct sockaddr *)address, sizeof(*address)), -1);
	ck_assert_int_eq(errno, EINPROGRESS);
	return fd;
}

#define N_CONNECTIONS 4

PROMISE(12, connection_under_way_that_cannot_be_watched_is_not_taken_for_made)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int fd, fds[N_CONNECTIONS], listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	iou_t *iou = open_with((iou_config_t){ .engine = IOU_ENGINE_THREADS });
	struct seen connect_op;

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	ck_assert_int_eq(listen(listener, 0), 0);
	for (int i = 0; i < N_CONNECTIONS; i++)
		fds[i] = connect_to(&address);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	io_uring_prep_connect(take(iou, &connect_op), fd, (struct sockaddr *)&address, length);
	queue(&connect_op);
	faults_arm(find_function("epoll_ctl"), ENOSPC, 1, UINT_MAX);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = 5000000 }), 0);
	faults_disarm();
	ck_assert_int_eq(connect_op.n_calls, 0);
	ck_assert_ptr_null(iou_free(iou));
	expect(&connect_op, -ECANCELED);
	for (int i = 0; i < N_CONNECTIONS; i++)
		close(fds[i]);
	close(fd);
	close(listener);
}
END_TEST

/* Or a test that seems to fail something would fail nothing. */
START_TEST(test_each_wrapped_function_is_called)
{
	unsigned n_calls[N_MOST_FUNCTIONS] = { 0 };

	for (int engine = 0; engine < N_ENGINES; engine++) {
		try_good_ones(&engines[engine]);
		for (int i = 0; i < engines[engine].n; i++)
			for (int j = 0; faults[j].name; j++)
				n_calls[j] += n_good_calls[i][j];
	}
	for (int i = 0; faults[i].name; i++)
		ck_assert_msg(n_calls[i], "%s is never called", faults[i].name);
}
END_TEST

/* What need not fail, because it cannot, or because the library does not ask whether it has. */
static const char *const infallible[] = {
	/* They say no more than that something was wrong with an argument. */
	"__isoc99_sscanf",
	"bcmp",
	"memcmp",
	"memcpy",
	"memmove",
	"memset",
	"sigfillset",
	"snprintf",
	"strchr",
	"strcmp",
	"strcspn",
	"strlen",
	"strncmp",
	"strrchr",
	"strstr",
	"__sched_cpucount",
	"clock_gettime",
	"timerfd_settime",
	/* What poll(2) refuses to look at: if this does so too, it is as if it were ready. */
	"select",
	"fdelt", /* FD_SET() of a fortified build: __fdelt_chk() */
	/* What /proc says of an eventfd: if it says nothing, that is tried. */
	"open64",
	"pthread_sigmask",
	"pthread_attr_destroy",
	"pthread_attr_init",
	"pthread_mutex_init",
	"pthread_mutex_lock",
	"pthread_mutex_unlock",
	"pthread_mutex_destroy",
	"pthread_cond_init",
	"pthread_cond_signal",
	"pthread_cond_broadcast",
	"pthread_cond_wait",
	"pthread_cond_destroy",
	/* It is checked before that the size is a valid one. */
	"pthread_attr_setstacksize",
	/* They always have an answer. */
	"sched_getcpu",
	"__errno_location",
	"getpid",
	"gettid",
	"pthread_equal",
	"pthread_self",
	"sched_yield",
	/* They give back. */
	"__sched_cpufree",
	"fclose",
	/* No answer is one as well: no such variable, an unknown number of CPUs, a thread that must not be looked at. */
	"secure_getenv",
	"sysconf",
	"__sysconf",
	"tgkill",
	/* Which engine it is to be, and why, is told as far as it can be known. */
	"getrlimit64",
	"atoi",
	"strtol",
	"strtoull",
	/* The end. */
	"__assert_fail",
	"__stack_chk_fail",
	/* Of the linker, and of pages' sizes on some machines. */
	"_GLOBAL_OFFSET_TABLE_",
	"__tls_get_addr",
};

static bool is_infallible(const char *name)
{
	for (size_t i = 0; i < sizeof(infallible) / sizeof(infallible[0]); i++)
		if (strcmp(infallible[i], name) == 0)
			return true;
	return false;
}

/* What compilers add for sanitizers and for coverage. */
static bool is_instrumentation(const char *name)
{
	static const char *const beginnings[] = { "__asan_", "__ubsan_", "__tsan_", "__sanitizer_",
						  "__gcov_", "__llvm_",  "llvm_" };

	for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
		if (strncmp(name, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	return false;
}

static bool has_word(const char *list, const char *word)
{
	char padded[4096], wanted[512];

	snprintf(padded, sizeof(padded), " %s ", list);
	snprintf(wanted, sizeof(wanted), " %s ", word);
	return strstr(padded, wanted);
}

/* Of __read_chk() and the like, which _FORTIFY_SOURCE calls, it is read() that counts. */
static void unfortify(char *name)
{
	size_t length = strlen(name);

	if (length > 6 && strncmp(name, "__", 2) == 0 && strcmp(name + length - 4, "_chk") == 0) {
		memmove(name, name + 2, length - 6);
		name[length - 6] = '\0';
	}
}

/* Names of the library's own begin like this. */
static bool is_own(const char *name)
{
	return strncmp(name, "iou_", 4) == 0;
}

/* In the objects of the play. */
static void read_played(char *names, size_t size)
{
	FILE *lines = popen("nm -u " PLAY, "r");
	char line[512], name[256];

	ck_assert_ptr_nonnull(lines);
	names[0] = '\0';
	while (fgets(line, sizeof(line), lines))
		if (sscanf(line, " U %255s", name) == 1 && is_own(name))
			snprintf(names + strlen(names), size - strlen(names), "%s ", name);
	ck_assert_int_eq(pclose(lines), 0);
}

START_TEST(test_each_function_of_the_library_is_played)
{
	FILE *map = fopen(MAP, "re");
	char line[256], name[256], played[2048];
	int n = 0;

	ck_assert_ptr_nonnull(map);
	read_played(played, sizeof(played));
	while (fgets(line, sizeof(line), map)) {
		if (sscanf(line, " %255[a-z0-9_];", name) != 1 || !is_own(name))
			continue;
		n++;
		ck_assert_msg(has_word(played, name), "%s() is not played", name);
	}
	fclose(map);
	ck_assert_int_gt(n, 30);
}
END_TEST

START_TEST(test_each_function_that_the_library_calls_is_wrapped_or_cannot_fail)
{
	FILE *names = popen("nm -u " LIBRARY, "r");
	char line[512], name[256];
	int n = 0, n_wrapped = 0;

	ck_assert_ptr_nonnull(names);
	while (fgets(line, sizeof(line), names)) {
		if (sscanf(line, " U %255s", name) != 1 || is_own(name) || is_instrumentation(name))
			continue;
		unfortify(name);
		n++;
		n_wrapped += has_word(WRAPPED, name);
		ck_assert_msg(has_word(WRAPPED, name) || is_infallible(name),
			      "%s() is neither wrapped nor known to be infallible", name);
	}
	ck_assert_int_eq(pclose(names), 0);
	ck_assert_int_gt(n_wrapped, 20);
	ck_assert_int_gt(n, n_wrapped);
}
END_TEST

/* Each trial of a group has its own bound; this is for all together. */
static TCase *add_case(Suite *s, const char *name)
{
	TCase *tcase = tcase_create(name);

	tcase_set_timeout(tcase, 240);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	suite_add_tcase(s, tcase);
	return tcase;
}

Suite *suite(void)
{
	Suite *s = suite_create("faults");
	TCase *tcase = add_case(s, "faults");

	choice = play_choose();
	tcase_add_test(tcase, test_each_wrapped_function_is_called);
	tcase_add_test(tcase, test_each_function_that_the_library_calls_is_wrapped_or_cannot_fail);
	tcase_add_test(tcase, test_each_function_of_the_library_is_played);
	tcase_add_test(tcase, PROMISE_TEST(12, what_has_completed_is_told_when_io_uring_is_taken_away));
	tcase_add_test(tcase, PROMISE_TEST(12, many_are_cancelled_without_memory));
	tcase_add_test(tcase, PROMISE_TEST(12, chains_are_cancelled_without_memory_for_their_completions));
	tcase_add_test(tcase, PROMISE_TEST(12, connection_under_way_that_cannot_be_watched_is_not_taken_for_made));
	tcase_add_loop_test(tcase, PROMISE_TEST(12, no_failure_loses_an_op_leaks_or_hangs), 0, N_GROUPS);
	tcase = add_case(s, "threads");
	tcase_add_loop_test(tcase, PROMISE_TEST(12, no_failure_on_threads_loses_an_op_leaks_or_hangs), 0, N_GROUPS);
	return s;
}
