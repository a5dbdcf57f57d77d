/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of how the threads engine's workers and its loop fall asleep and are woken (iopool.c, and in turn.c how the loop
 * waits), for spin. What is done under the lock is done so here, under the name of the function that does it. Of each
 * round's requests the first does not end before the other has begun. tests/test-model.sh verifies it, and that spin
 * refutes each mutant:
 *
 *	-DNO_LOOK     the loop says that it sleeps without a look at what is finished
 *	-DSILENT      who hands back does not wake the loop
 *	-DNO_SIGNAL   who puts does not wake a worker
 *	-DIDLE_IS_ENOUGH  no worker is started while any is idle
 *	-DSILENT_STOP stop does not wake
 */
#define N_ROUNDS 2
#define N_AT_ONCE 2
#define N_REQUESTS (N_ROUNDS * N_AT_ONCE)
#define N_MAX 3		/* workers */

bool is_locked;
chan waiting = [N_REQUESTS] of { byte };
chan finished = [N_REQUESTS] of { byte };
bool is_asleep;
bool has_to_stop;
byte n_idle;
byte n_waiting;
bool eventfd;		/* readable */

/* The condition variable: who waits for it, and how many of those have been woken. */
byte n_blocked;
byte n_tokens;

byte n_threads;
byte n_ended;
bool has_begun[N_REQUESTS];

inline lock() { atomic { !is_locked -> is_locked = true } }
inline unlock() { is_locked = false }

inline signal() {
	atomic { if :: n_blocked > 0 -> n_blocked--; n_tokens++ :: else fi }
}

inline broadcast() {
	atomic { n_tokens = n_tokens + n_blocked; n_blocked = 0 }
}

proctype worker() {
	byte request;
	lock();
	do
	:: true ->
		/* claim() */
		do
		:: len(waiting) > 0 -> waiting?request; n_waiting--; break
		:: len(waiting) == 0 && !has_to_stop ->
			n_idle++;
			atomic { n_blocked++; unlock() };
			atomic { n_tokens > 0 -> n_tokens-- };
			lock();
			n_idle--
		:: len(waiting) == 0 && has_to_stop -> goto end
		od;
		unlock();
		has_begun[request] = true;
		if
		:: request % N_AT_ONCE == 0 -> has_begun[request + 1]
		:: else
		fi;
		lock();
		/* hand_back() */
		finished!request;
#ifndef SILENT
		if :: is_asleep -> eventfd = true :: else fi;
#endif
		is_asleep = false
	od;
end:
	n_ended++;
	unlock()
}

/* iou__iopool_put(); a worker that has been woken and does not run yet is idle. */
inline put(request) {
	lock();
	if
#ifdef IDLE_IS_ENOUGH
	:: n_idle == 0 && n_threads < N_MAX -> n_threads++; run worker()
#else
	:: n_waiting >= n_idle && n_threads < N_MAX -> n_threads++; run worker()
#endif
	:: else
	fi;
	waiting!request;
	n_waiting++;
	n_out++;
#ifndef NO_SIGNAL
	signal();
#endif
	unlock()
}

/* iou__iopool_take() */
inline take() {
	if
	:: n_out > 0 ->
		lock();
		do
		:: len(finished) > 0 -> finished?request; n_out--
		:: len(finished) == 0 -> break
		od;
		unlock()
	:: else
	fi
}

active proctype loop() {
	byte i, j, request, n_out;
	bool sleeps;
	for (i : 0 .. N_ROUNDS - 1) {
		for (j : 0 .. N_AT_ONCE - 1) {
			put(i * N_AT_ONCE + j)
		}
		do
		:: n_out > 0 ->
			/* iou__iopool_doze() */
			lock();
#ifdef NO_LOOK
			is_asleep = true;
#else
			is_asleep = (len(finished) == 0);
#endif
			sleeps = is_asleep;
			unlock();
			/* epoll_wait(), and iou__iopool_rouse() */
			if :: sleeps -> eventfd; eventfd = false :: else fi;
			take()
		:: n_out == 0 -> break
		/* The next requests may come before these have ended. */
		:: n_out > 0 && i + 1 < N_ROUNDS -> break
		od
	}
	/* iou__iopool_stop() */
	lock();
	has_to_stop = true;
#ifndef SILENT_STOP
	broadcast();
#endif
	unlock();
	n_ended == n_threads;
	assert(len(finished) == 0 && n_waiting == 0)
}
