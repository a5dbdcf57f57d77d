/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of iou_fd() (fd.c) in a foreign loop, for spin. See wake.pml for what a step is, and what memory is.
 *
 * Modelled: a loop that polls the descriptor and then has one turn that does not wait (iou_run_once() with no time);
 * expose(), which lowers, looks and says that it sleeps, and raises what it has found; ASLEEP, which stays between the
 * runs; posts, quit from two threads, a completion, which the ring tells through an eventfd of its own (ring.c); and
 * iou_free() between two runs, whoever is still on the way.
 *
 * Left out: the timer; the late list, which doze() does not sleep over, see mail.pml; the ring's poll on the eventfd,
 * which is there only if the program waits in runs as well; requests that have not been sent.
 *
 * Mutants that spin has to refute:
 *
 *	-DNO_LOOK      expose() does not look for mail after it has lowered
 *	-DNO_STOP      it does not look whether it has to stop
 *	-DNO_DOZE      it does not say that it sleeps
 *	-DDOZE_FIRST   it looks whether it has to stop before it says that it sleeps
 *	-DLOWER_LATE   it lowers after it has looked
 *	-DLOOK_FIRST   the ring's look() looks before it lowers the ring's eventfd
 *	-DHASTY_CALM   the loop does not look for another quit after it has calmed
 *	-DNO_WAIT      iou_free() does not wait until everybody has left
 *	-DINSIDE_FIRST  it looks whether anybody is inside before it looks whether all is full
 */
#define N_POSTERS 2
#define N_POSTS 1
#define N_MAIL (N_POSTERS * N_POSTS)
#define N_QUITTERS 2

#include "wake.pml"

byte cells[N_MAIL + 1];	/* 0: empty; there are as many as are needed, and the next */
byte n_taken;
bool has_news;		/* in pulse */
bool has_to_quit;

/* The ring's. */
bool has_cqe;
bool ring_eventfd;	/* readable */

/* What the program knows. */
byte n_delivered;
byte n_quits;		/* how many have set their flag */
byte n_completed;

#define HAS_MAIL (cells[n_taken] != 0)
#define IS_EMPTIED (POSITION(state) == n_taken)

/* One thread posts and quits then, another one does the same. */
proctype other() {
	byte slot, i;
	bool was_asleep;
	for (i : 1 .. N_POSTS) {
		/* reserve() */
		atomic {
			if
			:: is_freeing -> goto end
			:: else ->
				HERE;
				was_asleep = (state & ASLEEP) != 0;
				slot = POSITION(state);
				state = (state + ONE) & ~ASLEEP
			fi
		};
		/* fill_and_wake(), or fill() */
		if
		:: was_asleep ->
			was_asleep = false;
			enter();
			d_step { HERE; cells[slot] = 1 };
			raise();
			leave()
		:: else ->
			d_step { HERE; cells[slot] = 1 }
		fi
	};
	/* iou_quit() */
	atomic { if :: is_freeing -> goto end :: else -> HERE; n_inside++ fi };
	d_step { HERE; has_to_quit = true; n_quits++ };
	d_step { HERE; has_news = true };
	wake();
	leave();
end:	skip
}

proctype kernel() {
	has_cqe = true;
	ring_eventfd = true
}

/* iou__has_to_stop() */
inline look_whether_to_stop() {
	stops = has_news;
	if :: stops -> stops = has_to_quit :: else fi
}

inline deliver_mail() {
	if
	:: HAS_MAIL ->
		cells[n_taken] = 0;
		n_taken++;
		n_delivered++
	:: else
	fi
}

/* deliver(): what there was as it began. */
inline deliver() {
	look_whether_to_stop();
	if
	:: !stops ->
		deliver_mail();
		look_whether_to_stop();
		if
		:: !stops && has_cqe -> d_step { has_cqe = false; n_completed++ }
		:: else
		fi
	:: else
	fi;
	stops = false
}

/* The engine's. */
inline look() {
#ifdef LOOK_FIRST
	finds = has_cqe;
	ring_eventfd = false
#else
	ring_eventfd = false;
	finds = has_cqe
#endif
}

inline expose() {
#ifndef LOWER_LATE
	lower();
#endif
	look();
	/* iou__mailbox_doze() */
#ifdef DOZE_FIRST
	look_whether_to_stop();
	finds = finds || stops;
#endif
#ifdef NO_DOZE
	parks = IS_EMPTIED;
#else
	say_asleep(IS_EMPTIED);
#endif
	if :: !parks -> HAS_MAIL :: else fi;
#ifndef NO_LOOK
	finds = finds || !parks;
#endif
#if !defined(NO_STOP) && !defined(DOZE_FIRST)
	look_whether_to_stop();
	finds = finds || stops;
#endif
#ifdef LOWER_LATE
	lower();
#endif
	if :: finds -> raise() :: else fi;
	d_step { finds = false; parks = false; stops = false }
}

/* iou_run_once() */
inline a_run() {
	rouse();
	look_whether_to_stop();
	if
	:: !stops -> deliver()
	:: else -> stops = false
	fi;
	/* end_run() */
	if
	:: has_to_quit ->
		has_to_quit = false;
		/* iou__calm() */
		has_news = false;
#ifndef HASTY_CALM
		if :: has_to_quit -> has_news = true :: else fi
#endif
	:: else
	fi;
	expose()
}

inline is_filled() {
	d_step {
		n = n_taken;
		do
		:: n != POSITION(state) && cells[n] -> n++
		:: else -> break
		od;
		is_all_full = (n == POSITION(state));
		n = 0
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
#ifndef NO_WAIT
		if :: n_inside == 0 :: else -> is_all_full = false fi
#endif
#endif
	od
}

#define IS_DONE (n_delivered == N_MAIL && n_completed == 1 && n_quits == N_QUITTERS && !has_to_quit)

/* The foreign loop, until all has come, or until the program has had enough of it. */
active proctype loop() {
	byte n;
	bool parks, stops, finds, is_all_full;
	atomic {
		run other();
		run other();
		run kernel()
	};
	/* iou_fd() */
	expose();
	do
	:: !IS_DONE ->
		/* poll() */
		eventfd || ring_eventfd;
		a_run()
	:: true -> break
	od;
	is_freeing = true;
	/* end(), and deliver_the_last() */
	close();
	wait_until_left();
	do
	:: HAS_MAIL -> deliver_mail()
	:: else -> break
	od;
	is_free = true
}
