/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of how workers fall asleep and are woken (async.c, jobs.c), for spin. Each atomic operation of the code is one
 * step here, under the name of the function that makes it. A job is short, or does not end before all of its round have
 * begun: where one waits for such a job while a worker sleeps, nothing goes on.
 *
 * Memory is sequentially consistent, as are `turn` and `n_asleep` in the code; that a job has been finished may be seen
 * late there, and then one is woken for nothing. Left out: laps of the ring and its successors, withdrawal, how workers
 * are started. tests/test-model.sh verifies it, and that spin refutes each mutant:
 *
 *	-DNO_LOOK     a worker does not look for a job again after it has said that it sleeps
 *	-DLATE_WORD   it looks first and says so then
 *	-DONE_IS_ENOUGH  the loop wakes nobody while any worker is awake
 *	-DSILENT_STOP stop does not wake
 */
#define N_WORKERS 2
#define N_ROUNDS 2
#define N_JOBS 5	/* a short one, and then a round of as many as there are workers, and so on */

mtype = { FREE, READY, TAKEN };

mtype turns[N_JOBS + 1] = FREE;
byte n_asleep;
byte n_tokens;
bool is_locked;
bool has_to_stop;
byte n_put;
byte n_finished;
byte n_begun[N_ROUNDS];

/* Who takes a job runs it; the first of all is short. */
#define ROUND(job) ((job - 1) / N_WORKERS)

inline lock() { atomic { !is_locked -> is_locked = true } }
inline unlock() { is_locked = false }

/* iou__jobs_take(): what is not there yet ends it. */
inline take() {
	job = N_JOBS;
	do
	:: turns[at] == TAKEN -> at++
	:: turns[at] == READY ->
		/* The compare-exchange. */
		atomic { if :: turns[at] == READY -> turns[at] = TAKEN; job = at :: else fi };
		at++;
		if :: job != N_JOBS -> break :: else fi
	:: turns[at] == FREE -> break
	od
}

proctype worker() {
	byte at, job;
	do
	:: true ->
		take();
		/* Spinning is to take again and again: it changes nothing. */
		if
		:: job == N_JOBS ->
			lock();
			do
			:: true ->
#ifdef LATE_WORD
				take();
				n_asleep++;
#else
				n_asleep++;
#ifndef NO_LOOK
				take();
#endif
#endif
				if
				:: job != N_JOBS || has_to_stop -> n_asleep--; break
				:: else
				fi;
				/* The condition variable's wait gives up the lock and gets it again. */
				unlock();
				atomic { n_tokens > 0 && !is_locked -> is_locked = true; n_tokens-- };
				take();
				if :: job != N_JOBS -> break :: else fi
			od;
			unlock()
		:: else
		fi;
		if
		:: job == N_JOBS -> break
		:: job == 0 -> n_finished++
		:: else ->
			n_begun[ROUND(job)]++;
			n_begun[ROUND(job)] == N_WORKERS;
			n_finished++
		fi
	od
}

inline wake(n) {
	lock();
	n_woken = (n < n_asleep -> n : n_asleep);
	n_asleep = n_asleep - n_woken;
	n_tokens = n_tokens + n_woken;
	unlock()
}

/* iou__async_submit() */
inline submit() {
	turns[n_put] = READY;
	n_put++;
	n_seen = n_asleep;
	if
#ifdef ONE_IS_ENOUGH
	:: n_seen == N_WORKERS -> wake(1)
#else
	:: n_seen > 0 && n_put - n_finished > N_WORKERS - n_seen -> wake(1)
#endif
	:: else
	fi
}

active proctype loop() {
	byte i, j, n_seen, n_woken;
	run worker();
	run worker();
	submit();
	for (i : 1 .. N_ROUNDS) {
		/* The jobs of the round before have ended, or not; a worker may be anywhere. */
		for (j : 1 .. N_WORKERS) {
			submit()
		}
		if
		:: n_finished == n_put
		:: i == 1
		fi
	}
	n_finished == N_JOBS;
	lock();
	has_to_stop = true;
	unlock();
#ifndef SILENT_STOP
	wake(N_WORKERS)
#endif
}
