/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of mailbox.c and of how loop.c parks, for spin. Each atomic operation of the code is one step here, under the
 * name of the function that makes it. tests/test-model.sh verifies it, and that spin refutes each mutant:
 *
 *	-DNO_RECHECK  the loop does not look at quit and holds again after it has said that it sleeps
 *	-DNO_DOZE     the loop parks without having exchanged empty for asleep
 *	-DNO_WAIT     iou_free() does not wait until everybody has left
 *	-DLATE_FLAG   quit wakes first and sets its flag then; with -DQUIT_ALONE
 *
 * With -DQUIT_ALONE those who hold release only after the run, so that nothing but quit can end it.
 */
#define N_POSTERS 2
#define N_POSTS 2

mtype = { NOTHING, ASLEEP, MAIL };

mtype head = NOTHING;
byte n_mail;		/* how long the list behind head is */
bool eventfd;		/* readable */
bool has_to_quit;
byte n_held = N_POSTERS;	/* iou_hold() was called before the threads began */
byte n_inside;
byte n_delivered;
bool run_has_ended;
bool is_freeing;
bool is_free;		/* from here on nobody may touch anything */

#define HERE assert(!is_free)

inline raise() { HERE; eventfd = true }

/* A compare-exchange of asleep for empty; whoever succeeds writes to the eventfd. */
inline wake() {
	bool has_won = false;
	atomic { HERE; if :: head == ASLEEP -> head = NOTHING; has_won = true :: else fi }
	if :: has_won -> raise() :: else fi
}

/* The compare-exchange in iou__mailbox_put(): it replaces what it saw, in one step. */
inline put() {
	bool was_asleep = false;
	atomic { HERE; was_asleep = (head == ASLEEP); head = MAIL; n_mail++ }
	if :: was_asleep -> raise() :: else fi
}

inline enter() { atomic { HERE; n_inside++ } }
inline leave() { atomic { HERE; n_inside-- } }

/* Holds, posts, and last of all releases. */
proctype poster() {
	byte i;
	for (i : 1 .. N_POSTS) {
		enter();
		put();
		leave()
	}
#ifdef QUIT_ALONE
	run_has_ended;
#endif
	enter();
	bool is_last = false;
	atomic { HERE; n_held--; is_last = (n_held == 0) }
	if :: is_last -> wake() :: else fi
	leave()
}

/* A call that begins after iou_free() began is the caller's error. */
proctype quitter() {
	bool may = false;
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

inline take() {
	atomic {
		if
		:: head == MAIL -> n_delivered = n_delivered + n_mail; n_mail = 0; head = NOTHING
		:: else
		fi
	}
}

/* The loop thread: a run, then iou_free(). */
active proctype loop() {
	bool parks;
	run poster();
	run poster();
	run quitter();
	do
	:: has_to_quit -> break
	:: else ->
		if :: n_held == 0 && head != MAIL -> break :: else fi;
		/* park() */
		parks = false;
#ifdef NO_DOZE
		parks = (head != MAIL);
#else
		atomic { if :: head == NOTHING -> head = ASLEEP; parks = true :: else fi };
#endif
#ifndef NO_RECHECK
		if
		:: parks && (has_to_quit || n_held == 0) -> parks = false
		:: else
		fi;
#endif
		/* the engine's enter(), which also lowers the eventfd */
		if :: parks -> eventfd; eventfd = false :: else fi;
		atomic { if :: head == ASLEEP -> head = NOTHING :: else fi }; /* rouse() */
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
	take();
	assert(n_delivered == N_POSTERS * N_POSTS);
	is_free = true
}
