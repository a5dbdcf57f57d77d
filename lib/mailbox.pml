/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of mailbox.c and of how loop.c parks, for spin. Each atomic operation of the code is one step here, under the
 * name of the function that makes it. tests/test-model.sh verifies it, and that spin refutes each mutant:
 *
 *	-DNO_RECHECK  the loop does not look at quit and holds again after it has said that it sleeps
 *	-DNO_DOZE     the loop parks without having said so
 *	-DNO_WAIT     iou_free() does not wait until everybody has left
 *	-DLATE_FLAG   quit wakes first and sets its flag then; with -DQUIT_ALONE
 *	-DLATE_ENTER  a post that has to wake enters after it has filled its slot; with -DPOSTS_ALONE
 *	-DSILENT      who adds to the late mail does not wake the loop; with -DPOSTS_ALONE
 *	-DDEAF_DOZE   the loop parks while there is late mail; with -DPOSTS_ALONE
 *	-DOVERTAKE    late mail is taken before the ring is empty
 *	-DFORGET      the ring is used again while there is late mail
 *
 * With -DQUIT_ALONE those who hold release only after the run, so that nothing but quit can end it. With -DPOSTS_ALONE
 * nobody quits, and it is the callback of each poster's last post that releases: iou_free() may begin while that call
 * is still returning.
 */
#define N_POSTERS 2
#define N_POSTS 2
#define N_SLOTS 2
#define EMPTY 255

/* state: the position, and its flags. */
byte n_reserved;
bool is_asleep;
bool is_late;

byte slots[N_SLOTS];
byte n_taken;
bool is_locked;
chan late = [4] of { byte };	/* under the lock */
chan next = [4] of { byte };	/* the loop's */
bool eventfd;		/* readable */
bool has_to_quit;
byte n_held = N_POSTERS;	/* iou_hold() was called before the threads began */
byte n_inside;
byte n_delivered;
byte n_of[N_POSTERS];	/* how many of each poster's have been delivered */
bool run_has_ended;
bool is_freeing;
bool is_free;		/* from here on nobody may touch anything */

#define HERE assert(!is_free)
#define HAS_MAIL (slots[n_taken % N_SLOTS] != EMPTY || len(late) > 0 || len(next) > 0)
#define IS_EMPTIED (n_reserved == n_taken)

inline raise() { HERE; eventfd = true }
inline enter() { atomic { HERE; n_inside++ } }
inline leave() { atomic { HERE; n_inside-- } }

/* A compare-exchange that takes ASLEEP away; whoever succeeds writes to the eventfd. */
inline wake() {
	has_won = false;
	atomic { HERE; if :: is_asleep -> is_asleep = false; has_won = true :: else fi }
	if :: has_won -> raise() :: else fi
}

#ifdef FORGET
#define REFUSED (n_reserved - n_taken == N_SLOTS)
#else
#define REFUSED (is_late || n_reserved - n_taken == N_SLOTS)
#endif

/* What is handed over says who it is from, and which of theirs it is. */
inline put(what) {
	is_put = false;
	do
	:: is_put -> break
	:: else ->
		/* reserve() */
		has_slot = false;
		was_asleep = false;
		atomic {
			HERE;
			if
			:: !REFUSED ->
				has_slot = true;
				slot = n_reserved % N_SLOTS;
				n_reserved++;
				was_asleep = is_asleep;
				is_asleep = false
			:: else
			fi
		};
		if
		:: has_slot && was_asleep ->
			/* fill_and_wake() */
#ifdef LATE_ENTER
			atomic { HERE; assert(slots[slot] == EMPTY); slots[slot] = what };
			enter();
#else
			enter();
			atomic { HERE; assert(slots[slot] == EMPTY); slots[slot] = what };
#endif
			raise();
			leave();
			is_put = true
		:: has_slot && !was_asleep ->
			atomic { HERE; assert(slots[slot] == EMPTY); slots[slot] = what };
			is_put = true
		:: else ->
			/* put_late() */
			enter();
			atomic { HERE; !is_locked -> is_locked = true };
			if
			:: is_late || n_reserved - n_taken == N_SLOTS ->
				is_late = true;
				late!what;
				is_put = true
			:: else
			fi;
			is_locked = false;
#ifndef SILENT
			if :: is_put -> wake() :: else fi;
#endif
			leave()
		fi
	od
}

/* Holds, posts, and last of all releases. */
proctype poster(byte me) {
	byte i, slot;
	bool is_put, has_slot, was_asleep, has_won, is_last;
	for (i : 0 .. N_POSTS - 1) {
		put(me * N_POSTS + i)
	}
#ifdef QUIT_ALONE
	run_has_ended;
#endif
#ifndef POSTS_ALONE
	enter();
	is_last = false;
	atomic { HERE; n_held--; is_last = (n_held == 0) }
	if :: is_last -> wake() :: else fi
	leave()
#endif
}

/* A call that begins after iou_free() began is the caller's error. */
proctype quitter() {
	bool may, has_won;
	atomic { if :: !is_freeing -> may = true; n_inside++ :: else fi }
	if
	:: may ->
#ifdef LATE_FLAG
		wake();
		HERE; has_to_quit = true;
#else
		HERE; has_to_quit = true;
		wake();
#endif
		leave()
	:: else
	fi
}

inline deliver(what) {
	/* In the order in which each posted. */
	assert(what % N_POSTS == n_of[what / N_POSTS]);
	n_of[what / N_POSTS]++;
	n_delivered++;
#ifdef POSTS_ALONE
	if :: n_of[what / N_POSTS] == N_POSTS -> n_held-- :: else fi
#endif
}

/* One, if there is any: the late mail that was taken, what is in the ring, then what is late now. */
inline take() {
	if
	:: len(next) > 0 -> atomic { next?what; deliver(what) }
	:: len(next) == 0 && slots[n_taken % N_SLOTS] != EMPTY ->
		atomic {
			what = slots[n_taken % N_SLOTS];
			slots[n_taken % N_SLOTS] = EMPTY;
			deliver(what)
		};
		n_taken++
	:: len(next) == 0 && slots[n_taken % N_SLOTS] == EMPTY && len(late) > 0 ->
		/* take_late() */
#ifndef OVERTAKE
		(slots[n_taken % N_SLOTS] != EMPTY || IS_EMPTIED);
#endif
		atomic { !is_locked -> is_locked = true };
		if
#ifdef OVERTAKE
		:: true ->
#else
		:: IS_EMPTIED ->
#endif
			do
			:: atomic { len(late) > 0 -> late?what; next!what }
			:: len(late) == 0 -> break
			od;
			is_late = false
#ifndef OVERTAKE
		:: else
#endif
		fi;
		is_locked = false
	:: else
	fi
}

/* The loop thread: a run, then iou_free(). */
active proctype loop() {
	bool parks, has_io = true; /* something else wakes it, once */
	byte what;
	slots[0] = EMPTY;
	slots[1] = EMPTY;
	run poster(0);
	run poster(1);
#ifndef POSTS_ALONE
	run quitter();
#endif
	do
	:: has_to_quit -> break
	:: else ->
		/* iou__is_pending(): first the holds */
		if
		:: n_held == 0 ->
			if :: !HAS_MAIL -> break :: else fi
		:: else
		fi;
		/* park() */
		parks = false;
#ifdef NO_DOZE
		parks = IS_EMPTIED && !is_late && len(next) == 0;
#else
		if
		:: HAS_MAIL
		:: else ->
			atomic {
				if
#ifdef DEAF_DOZE
				:: IS_EMPTIED && len(next) == 0 -> is_asleep = true; parks = true
#else
				:: IS_EMPTIED && !is_late && len(next) == 0 -> is_asleep = true; parks = true
#endif
				:: else
				fi
			};
			/* Who has reserved a slot is waited for. */
			if :: !parks -> HAS_MAIL :: else fi
		fi;
#endif
#ifndef NO_RECHECK
		if
		:: parks && (has_to_quit || n_held == 0) -> parks = false
		:: else
		fi;
#endif
		/* the engine's enter(), which also lowers the eventfd */
		if
		:: parks ->
			if
			:: eventfd -> eventfd = false
#ifdef POSTS_ALONE
			:: has_io -> has_io = false
#endif
			fi
		:: else
		fi;
		is_asleep = false; /* rouse() */
		take()
	od;
	run_has_ended = true;

	/*
	 * A thread that holds makes its calls before iou_free() begins, or is in error. Where quit has ended the run
	 * the program waits for its threads here, by means of its own.
	 */
	n_held == 0;
	is_freeing = true;
#ifndef NO_WAIT
	n_inside == 0;
#endif
	do
	:: HAS_MAIL -> take()
	:: else -> break
	od;
	assert(n_delivered == N_POSTERS * N_POSTS);
	is_free = true
}
