/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of how the threads engine's workers and its loop fall asleep and are woken (iopool.c, and in turn.c how the loop
 * waits), for spin. What is done under the lock is done so here, under the name of the function that does it; memory is
 * sequentially consistent, and nothing but has_finished is shared without the lock, which decides nothing here. Of each
 * round's requests the first does not end before the other has begun.
 *
 * Modelled: both lanes, withdrawal, a loop that something else wakes while is_asleep stays set, and stop in any state.
 * Left out: the limits of a lane and threads that cannot be started, where put() fails; iou_fd(), whose look() says once
 * more that it sleeps; the longest wait, which would hide what is lost.
 *
 * The second round goes to the other lane. With -DONE_LANE it does not, and the first is of one request.
 * tests/test-model.sh verifies it, and that spin refutes each mutant:
 *
 *	-DNO_LOOK     the loop says that it sleeps without a look at what is finished
 *	-DSILENT      who hands back does not wake the loop
 *	-DNO_SIGNAL   who puts does not wake a worker; with -DONE_LANE
 *	-DWRONG_LANE  who puts wakes one of the other lane; with -DONE_LANE
 *	-DIDLE_IS_ENOUGH  no worker is started while any is idle; with -DONE_LANE
 *	-DLOWER_LATE  the loop lowers the eventfd after it has said that it sleeps
 *	-DSTILL_OUT   a request that is withdrawn is waited for
 *	-DSILENT_STOP stop does not wake
 */
#define N_LANES 2
#define N_ROUNDS 2
#define N_AT_ONCE 2
#define N_REQUESTS (N_ROUNDS * N_AT_ONCE)
#define N_MAX 2		/* workers of a lane: as many as a round needs */

#ifdef ONE_LANE
#define LANE(request) 0
#define FIRST_OF(round) (1 - (round))
#else
#define FIRST_OF(round) 0
#define LANE(request) (((request) / N_AT_ONCE) % N_LANES)
#endif

bool is_locked;
chan finished = [N_REQUESTS] of { byte };
bool is_asleep;
bool has_to_stop;
bool eventfd;		/* readable */
bool can_wake = true;	/* something else wakes the loop, once */

typedef lane {
	chan waiting = [N_AT_ONCE * 2] of { byte };
	byte n_idle;
	byte n_waiting;
	byte n_threads;
	/* The condition variable: who waits for it, and how many of those have been woken. */
	byte n_blocked;
	byte n_tokens
};
lane lanes[N_LANES];

byte n_ended;
bool has_begun[N_REQUESTS];	/* or never will */

inline lock() { d_step { !is_locked -> is_locked = true } }
inline unlock() { is_locked = false }

inline signal(l) {
	d_step { if :: lanes[l].n_blocked > 0 -> lanes[l].n_blocked--; lanes[l].n_tokens++ :: else fi }
}

inline broadcast(l) {
	d_step { lanes[l].n_tokens = lanes[l].n_tokens + lanes[l].n_blocked; lanes[l].n_blocked = 0 }
}

proctype worker(byte l) {
	byte request;
	lock();
	do
	:: true ->
		/* claim() */
		do
		:: len(lanes[l].waiting) > 0 ->
			d_step { lanes[l].waiting?request; lanes[l].n_waiting-- };
			break
		:: len(lanes[l].waiting) == 0 && !has_to_stop ->
			d_step { lanes[l].n_idle++; lanes[l].n_blocked++; unlock() };
			d_step { lanes[l].n_tokens > 0 -> lanes[l].n_tokens-- };
			lock();
			lanes[l].n_idle--
		:: len(lanes[l].waiting) == 0 && has_to_stop -> goto end
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
		request = 0;
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
inline put(request, l) {
	lock();
	if
#ifdef IDLE_IS_ENOUGH
	:: lanes[l].n_idle == 0 && lanes[l].n_threads < N_MAX -> lanes[l].n_threads++; run worker(l)
#else
	:: lanes[l].n_waiting >= lanes[l].n_idle && lanes[l].n_threads < N_MAX -> lanes[l].n_threads++; run worker(l)
#endif
	:: else
	fi;
	lanes[l].waiting!request;
	lanes[l].n_waiting++;
	n_out++;
#if defined(WRONG_LANE)
	signal(1 - l);
#elif !defined(NO_SIGNAL)
	signal(l);
#endif
	unlock()
}

/* iou__iopool_withdraw(): false if a worker has it. */
inline withdraw(request, l) {
	lock();
	if
	:: lanes[l].waiting??[eval(request)] ->
		d_step {
			lanes[l].waiting??eval(request);
			lanes[l].n_waiting--;
#ifndef STILL_OUT
			n_out--;
#endif
			has_begun[request] = true
		}
	:: else
	fi;
	unlock()
}

/* iou__iopool_take() */
inline take() {
	if
	:: n_out > 0 ->
		lock();
		d_step {
			do
			:: len(finished) > 0 -> finished?request; n_out--
			:: else -> break
			od;
			request = 0
		};
		unlock()
	:: else
	fi
}

/* wait_at_most(), and run_ready() */
inline wait() {
	/* iou__iopool_doze() */
	lock();
#ifdef NO_LOOK
	is_asleep = true;
#else
	is_asleep = (len(finished) == 0);
#endif
	sleeps = is_asleep;
	unlock();
#ifdef LOWER_LATE
	eventfd = false;
#endif
	/* epoll_wait(), and iou__iopool_rouse() if it is that */
	if
	:: sleeps ->
		sleeps = false;
		if
		:: eventfd -> eventfd = false
		:: can_wake -> can_wake = false
		fi
	:: else
	fi;
	take()
}

active proctype loop() {
	byte i, j, request, n_out;
	bool sleeps;
	for (i : 0 .. N_ROUNDS - 1) {
		for (j : FIRST_OF(i) .. N_AT_ONCE - 1) {
			put(i * N_AT_ONCE + j, LANE(i * N_AT_ONCE))
		}
		if
		:: true
		:: i == 0 -> withdraw(1, 0)
		fi;
		do
		:: n_out > 0 -> wait()
		:: n_out == 0 -> break
		/* The next requests, or stop, may come before these have ended. */
		:: n_out > 0 -> break
		od
	}
	/* iou__iopool_stop() */
	lock();
	has_to_stop = true;
	for (i : 0 .. N_LANES - 1) {
		d_step {
			do
			:: len(lanes[i].waiting) > 0 -> lanes[i].waiting?request; n_out--; has_begun[request] = true
			:: else -> break
			od;
			request = 0
		};
#ifndef SILENT_STOP
		broadcast(i)
#endif
	}
	unlock();
	n_ended == lanes[0].n_threads + lanes[1].n_threads;
	take();
	assert(n_out == 0 && len(finished) == 0)
}
