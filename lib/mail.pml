/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of mail.c, of how mailbox.c sleeps and waits until all have left, and of drain.c (wait_for_mail()) and iou.c
 * (end()), for spin. See wake.pml for what a step is, and what memory is.
 *
 * Modelled: reserve() with what it knows of n_taken, which may be stale; fill() by those who have to wake and those who
 * have not; the late list with its lock and has_late; a post that stays inside and tries again; CLOSED; tasks, whose
 * worker does not enter, and is joined; a job that posts while iou_free() runs; the ring that is replaced, or not for
 * want of memory; iou_free() in any state, then. The eventfd is waited for by poll(); see mailbox.pml for the ring.
 * The loop takes one at a time: that ready() counts them only bounds a turn.
 *
 * Left out: quit, holds and what else is no mail, see mailbox.pml; -ENOMEM, which touches nothing; a closed eventfd
 * (is_deaf); the position does not wrap.
 *
 * When does a call begin? iou_free() can wait only for those of which there is a trace: who has reserved a slot, or
 * has entered. Up to there a post is about to begin, and the program keeps iou_free() from beginning.
 *
 * With -DTASKS one of the posters is a worker: its job posts, and then it hands the job back.
 * Mutants that spin has to refute:
 *
 *	-DNO_WAIT       iou_free() does not wait until everybody has left
 *	-DNOT_FILLED    it does not wait until what has been reserved is full
 *	-DINSIDE_FIRST  it looks whether anybody is inside before it looks whether all is full
 *	-DLATE_ENTER    a post that has to wake enters after it has filled its slot
 *	-DSILENT        who adds to the late mail does not wake the loop
 *	-DDEAF_DOZE     the loop parks while there is late mail
 *	-DOVERTAKE      late mail is taken before the ring is empty
 *	-DFORGET        the ring is used again while there is late mail
 *	-DGROW_EARLY    the ring is replaced while somebody has a slot of it
 *	-DGROW_LATE     the ring is replaced when it may be used again
 *	-DROOM_EARLY    a slot counts as free before it is empty
 *	-DOPEN          posts are not refused; with -DTASKS
 *	-DOPEN_INSIDE   nor where they try again; with -DTASKS
 */
#ifndef N_POSTS
#define N_POSTS 2
#endif
#define N_POSTERS 2
#ifndef N_FIRST
#define N_FIRST N_POSTS	/* of the first */
#endif
#define N_MAIL (N_FIRST + N_POSTS)
#ifndef N_SLOTS
#define N_SLOTS 2	/* at first */
#endif
#define MOST_SLOTS (2 * N_SLOTS)

#include "wake.pml"

byte cells[MOST_SLOTS];	/* of the ring that there is; 0: empty */
byte ring;		/* which one that is: those before have been freed */
byte n_slots = N_SLOTS;
byte n_taken;
byte n_taken_seen;
bool is_locked;
bool has_late;
chan late = [N_MAIL] of { byte };	/* under the lock */
chan next = [N_MAIL] of { byte };	/* the loop's */

/* What the program knows. */
byte n_about;			/* calls that are about to begin */
byte n_accepted;
byte n_refused;
byte n_delivered;
byte n_of[N_POSTERS];		/* how many of each poster's have been delivered */
byte task;			/* which one is the job, and 1; 0: none yet */
bool has_job;			/* one has not been handed back */
bool has_worker;
bool has_time = true;		/* the wait may time out, once: so it hides no lost wake-up */

#define CELL(position) cells[(position) & (n_slots - 1)]
#define HAS_MAIL (CELL(n_taken) || has_late || len(next) > 0)
#define IS_EMPTIED (POSITION(state) == n_taken)

inline lock() { d_step { !is_locked -> HERE; is_locked = true } }
inline unlock() { d_step { HERE; is_locked = false } }

inline is_full() {
	d_step { HERE; seen = n_taken_seen };
	d_step { HERE; is_it_full = (POSITION(s) - seen >= n_slots) };
	if
	:: is_it_full ->
		d_step { HERE; seen = n_taken };
		d_step { HERE; n_taken_seen = seen };
		d_step { HERE; seen = n_taken_seen };
		d_step { HERE; is_it_full = (POSITION(s) - seen >= n_slots) }
	:: else
	fi;
	seen = 0
}

/*
 * What is put says who it is from, and which of theirs it is. Who is no worker and not inside begins with the
 * reservation.
 */
#ifdef FORGET
#define NOT_WITH(refused) (refused)
#else
#define NOT_WITH(refused) (refused | LATE)
#endif

inline accept() {
	assert(!is_late_comer);
	n_accepted++
}

inline fill(what) {
	d_step { HERE; n = n_slots };
	d_step { HERE; r = ring };
	d_step {
		HERE;
		assert(r == ring);
		assert(!cells[POSITION(s) & (n - 1)]);
		cells[POSITION(s) & (n - 1)] = what + 1
	}
}

inline put(refused, what) {
	d_step { HERE; s = state };
	do
	:: s & NOT_WITH(refused) -> break
	:: else ->
		is_full();
		if
		:: is_it_full -> is_it_full = false; break
		:: else ->
			d_step {
				HERE;
				if
				:: s == state ->
					state = (s + ONE) & ~ASLEEP;
					is_put = true;
					accept();
					if :: is_about -> is_about = false; n_about-- :: else fi
				:: else -> s = state
				fi
			};
			if :: is_put -> break :: else fi
		fi
	od;
	if
	:: is_put && (s & ASLEEP) ->
		/* fill_and_wake() */
#ifdef LATE_ENTER
		fill(what);
		enter();
#else
		enter();
		fill(what);
#endif
		raise();
		leave()
	:: is_put && !(s & ASLEEP) ->
		fill(what)
	:: else
	fi;
	d_step { s = 0; n = 0; r = 0 }
}

inline put_late(refused, what) {
	lock();
	d_step { HERE; s = state };
	if
	:: s & refused
	:: else ->
		if :: !(s & LATE) -> is_full() :: else fi;
		if
		:: (s & LATE) || is_it_full ->
			is_it_full = false;
			d_step { HERE; state = state | LATE };
			d_step { HERE; late!what; is_put = true; accept() };
			d_step { HERE; has_late = true }
		:: else
		fi
	fi;
	s = 0;
	unlock();
#ifndef SILENT
	if :: is_put -> wake() :: else fi
#endif
}

#ifdef OPEN
#define REFUSED 0
#else
#define REFUSED CLOSED
#endif
#ifdef OPEN_INSIDE
#define REFUSED_INSIDE 0
#else
#define REFUSED_INSIDE REFUSED
#endif

/* iou__mailbox_post() */
inline post(what) {
	put(REFUSED, what);
	if
	:: !is_put ->
		d_step { HERE; n_inside++; if :: is_about -> is_about = false; n_about-- :: else fi };
		do
		:: is_put -> break
		:: else ->
			d_step { HERE; is_closed = (state & REFUSED_INSIDE) != 0 };
			if :: is_closed -> is_closed = false; break :: else fi;
			put_late(REFUSED_INSIDE, what);
			if :: !is_put -> put(REFUSED_INSIDE, what) :: else fi
		od;
		if :: !is_put -> n_refused++ :: else fi;
		leave()
	:: else
	fi
}

#define LOCALS \
	byte s, n, r, seen; \
	bool is_put, is_it_full, is_about, is_closed, was_asleep, is_late_comer

/* A thread of the program's. */
proctype poster(byte me, n_posts) {
	LOCALS;
	byte i;
	for (i : 0 .. n_posts - 1) {
		is_put = false;
		atomic { if :: is_freeing -> break :: else -> is_about = true; n_about++ fi };
		post(me * N_POSTS + i)
	}
}

/* A job that posts, and then is handed back: iou__mailbox_put(). The instance is there until its worker has ended. */
proctype worker(byte me) {
	LOCALS;
	byte i, n_tried;
	for (n_tried : 1 .. N_POSTS - 1) {
		is_put = false;
		is_late_comer = (state & CLOSED) != 0;
		post(me * N_POSTS + i);
		d_step { if :: is_put -> i++ :: else fi; is_late_comer = false }
	};
	atomic { n_tried = 0; is_put = false; task = me * N_POSTS + i + 1 };
	do
	:: is_put -> break
	:: else ->
		put(0, me * N_POSTS + i);
		if :: !is_put -> put_late(0, me * N_POSTS + i) :: else fi
	od;
	has_worker = false
}

/* Of each poster in the order in which it posted. */
inline deliver(what) {
	d_step {
		assert((what) % N_POSTS == n_of[(what) / N_POSTS]);
		n_of[(what) / N_POSTS]++;
		n_delivered++;
		if :: (what) + 1 == task -> has_job = false :: else fi
	}
}

/* Without memory it stays as it is. */
inline grow() {
	if
	:: true ->
		n = n_slots;
		do
		:: n < 2 * (n_slots + len(late)) && n < MOST_SLOTS -> n = 2 * n
		:: else -> break
		od;
		atomic {
			ring++;
			for (i : 0 .. MOST_SLOTS - 1) { cells[i] = 0 };
			i = 0
		};
		d_step { n_slots = n; n = 0 }
	:: true
	fi
}

inline wait_for_slot() {
#ifndef OVERTAKE
	(CELL(n_taken) || IS_EMPTIED)
#else
	skip
#endif
}

inline take_late() {
	lock();
#ifdef GROW_EARLY
	grow();
#endif
	if
#ifdef OVERTAKE
	:: true ->
#else
	:: IS_EMPTIED ->
#endif
#if !defined(GROW_EARLY) && !defined(GROW_LATE) && !defined(OVERTAKE)
		grow();
#endif
		d_step {
			do
			:: len(late) > 0 -> late?what; next!what
			:: else -> break
			od;
			what = 0
		};
		has_late = false;
		state = state & ~LATE;
#ifdef GROW_LATE
		grow()
#endif
#ifndef OVERTAKE
	:: else
#endif
	fi;
	unlock()
}

/* ready(), and take() or take_next(). */
inline take() {
	if
	:: len(next) > 0 -> d_step { next?what; deliver(what); what = 0 }
	:: else ->
		what = CELL(n_taken);
		if
		:: what ->
#ifdef ROOM_EARLY
			n_taken++;
			CELL(n_taken - 1) = 0;
#else
			CELL(n_taken) = 0;
			n_taken++;
#endif
			d_step { deliver(what - 1); what = 0 }
		:: else ->
			if
			:: has_late -> wait_for_slot(); take_late()
			:: else
			fi
		fi
	fi
}

/* end_some(): wait_for_mail(), then deliver. */
inline turn() {
	if
	:: HAS_MAIL
	:: else ->
		say_asleep(IS_EMPTIED && len(next) == 0);
		if
		:: parks ->
			parks = false;
			if
			:: eventfd
			:: has_time -> has_time = false
			fi;
			rouse();
			lower()
		:: else -> HAS_MAIL
		fi
	fi;
	take()
}

/* What is full stays so: so to find all of it full at once is to find one after the other. */
inline is_filled() {
	d_step {
		i = n_taken;
		do
		:: i != POSITION(state) && CELL(i) -> i++
		:: else -> break
		od;
		is_all_full = (i == POSITION(state));
		i = 0
	}
}

inline wait_until_left() {
	do
	:: is_all_full -> break
	:: else ->
#ifdef INSIDE_FIRST
		n_inside == 0;
		is_filled()
#else
		is_filled();
#ifdef NOT_FILLED
		is_all_full = true;
#endif
#ifndef NO_WAIT
		if :: n_inside == 0 :: else -> is_all_full = false fi
#endif
#endif
	od
}

/* The loop thread: turns, then iou_free(). */
active proctype loop() {
	byte what, i, n;
	bool parks, is_all_full;
	atomic {
		run poster(0, N_FIRST);
#ifdef TASKS
		has_job = true;
		has_worker = true;
		run worker(1)
#else
		run poster(1, N_POSTS)
#endif
	};
	do
	:: n_delivered < N_MAIL -> turn()
	:: atomic { n_about == 0 -> is_freeing = true }; break
	od;
	/* end(): end_all(), deliver_the_last(), async_stop(), destroy(). */
	close();
	do
	:: has_job -> turn()
	:: else -> break
	od;
	wait_until_left();
	do
	:: HAS_MAIL -> take()
	:: else -> break
	od;
	!has_worker;
#ifndef NOT_FILLED
	assert(n_delivered == n_accepted);
#endif
	is_free = true
}
