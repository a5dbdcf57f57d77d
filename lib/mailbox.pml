/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of how a loop that runs parks and is woken (loop.c, own.c, deliver.c, mailbox.c), and is asked to quit (post.c,
 * internal.h), for spin. See wake.pml for what a step is, and what memory is.
 *
 * Modelled: park() with its two looks, the order in which they look; `pulse`, and what takes it back; posts, holds, quit
 * from two threads; the poll on the eventfd that the ring has, multishot or not, with completions that come when the
 * kernel finds the time, and (with -DPOSTS_ALONE) cancelled once with everything else; that the eventfd is lowered after
 * the mail has been delivered; runs one after the other, and iou_free() after the last, whoever is still on the way.
 *
 * Left out: the late list, and that the ring of slots has an end, see mail.pml; ops, but for one completion that nobody
 * waits for; run_once(), whose turns are these, and its timeout; the look before parking, which changes nothing; the
 * longest wait, which would hide what is lost; iou_free() in a callback; a loop that is not the library's, see fd.pml.
 *
 * With -DQUIT_ALONE nobody releases, so that nothing but quit can end a run, and there is a run for each quit that has
 * not ended one. With -DPOSTS_ALONE nobody quits, and it is the callback of each poster's last post that releases:
 * iou_free() may begin while that call is still returning.
 * Mutants that spin has to refute:
 *
 *	-DNO_RECHECK   the loop does not look at quit and holds again after it has said that it sleeps
 *	-DNO_DOZE      the loop parks without having said so
 *	-DMAIL_FIRST   it looks for mail before it looks at the holds
 *	-DLOWER_LATE   it lowers the eventfd after it has said that it sleeps
 *	-DNO_WAIT      iou_free() does not wait until everybody has left
 *	-DNOT_FILLED   it does not wait until what has been reserved is full
 *	-DINSIDE_FIRST  it looks whether anybody is inside before it looks whether all is full
 *	-DLATE_ENTER   a post that has to wake enters after it has filled its slot
 *	-DLATE_FLAG    quit wakes first and sets its flag then; with -DQUIT_ALONE
 *	-DLATE_STIR    quit wakes before it stirs; with -DQUIT_ALONE
 *	-DSTIR_FIRST   quit stirs before it has set its flag; with -DQUIT_ALONE
 *	-DHASTY_CALM   the loop does not look for another quit after it has calmed; with -DQUIT_ALONE
 *	-DNO_FORGET    it does not watch the eventfd again where the poll has ended; with -DPOSTS_ALONE
 *
 * A call begins with the reservation of a slot, or as it enters: what comes before leaves no trace.
 */
#ifdef QUIT_ALONE
#define N_POSTERS 1
#define N_QUITTERS 2
#else
#define N_POSTERS 2
#define N_QUITTERS 1
#endif
#ifndef N_POSTS
#define N_POSTS 1
#endif
#define N_MAIL (N_POSTERS * N_POSTS)

#define TELL_KERNEL if :: is_watched -> has_to_look = true :: else fi

/* The ring's poll on the eventfd. */
bool is_multishot;
bool is_watched;	/* the poll is there */
bool has_to_look;	/* somebody has written; the kernel has yet to look, and then to complete */
byte n_cqes;		/* of the poll */
bool is_last;		/* the last of them is without IORING_CQE_F_MORE, */
bool is_cancelled;	/* and says -ECANCELED */
bool has_message;	/* a completion of something else */

#include "wake.pml"

byte cells[N_MAIL + 1];	/* 0: empty; there are as many as are needed, and the next */
byte n_taken;
bool has_news;		/* in pulse */
bool has_to_quit;
byte n_held = N_POSTERS;	/* iou_hold() was called before the threads began */

/* What the program knows. */
byte n_delivered;
byte n_of[N_POSTERS];	/* how many of each poster's have been delivered */
byte n_quits;		/* how many have set their flag */

#define HAS_MAIL (cells[n_taken] != 0)
#define HAS_CQE (n_cqes > 0 || has_message)
#define IS_EMPTIED (POSITION(state) == n_taken)

inline fill(what) {
	d_step { HERE; assert(!cells[slot]); cells[slot] = what + 1; slot = 0 }
}

/* Holds, posts, and last of all releases. */
proctype poster(byte me) {
	byte i, slot;
	bool was_asleep, is_zero;
	for (i : 0 .. N_POSTS - 1) {
		/* reserve() */
		atomic {
			if
			:: is_freeing -> break
			:: else ->
				HERE;
				was_asleep = (state & ASLEEP) != 0;
				slot = POSITION(state);
				state = (state + ONE) & ~ASLEEP
			fi
		};
		if
		:: was_asleep ->
			/* fill_and_wake() */
			was_asleep = false;
#ifdef LATE_ENTER
			fill(me * N_POSTS + i);
			enter();
#else
			enter();
			fill(me * N_POSTS + i);
#endif
			raise();
			leave()
		:: else -> fill(me * N_POSTS + i)
		fi
	};
#if !defined(POSTS_ALONE) && !defined(QUIT_ALONE)
	/* iou_release() */
	atomic { if :: is_freeing -> goto end :: else -> HERE; n_inside++ fi };
	d_step { HERE; n_held--; is_zero = (n_held == 0) };
	if :: is_zero -> is_zero = false; wake() :: else fi;
	leave();
#endif
end:	skip
}

inline stir() { d_step { HERE; has_news = true } }
inline set_flag() { d_step { HERE; has_to_quit = true; n_quits++ } }

/* iou_quit() */
proctype quitter() {
	bool was_asleep;
	atomic { if :: is_freeing -> goto end :: else -> HERE; n_inside++ fi };
#if defined(LATE_FLAG)
	stir();
	wake();
	set_flag();
#elif defined(LATE_STIR)
	set_flag();
	wake();
	stir();
#elif defined(STIR_FIRST)
	stir();
	set_flag();
	wake();
#else
	set_flag();
	stir();
	wake();
#endif
	leave();
end:	skip
}

/* The kernel: a completion of the poll if the eventfd is readable, and one of something else at any time. */
inline complete() {
	n_cqes++;
	if :: !is_multishot -> is_watched = false; is_last = true :: else fi
}

proctype kernel() {
	bool can_send = true;
#ifdef POSTS_ALONE
	bool can_cancel = true;
#endif
end:	do
	:: d_step {
		has_to_look -> has_to_look = false;
		if :: eventfd && is_watched -> complete() :: else fi
	   }
	:: d_step { can_send -> can_send = false; has_message = true }
#ifdef POSTS_ALONE
	:: d_step {
		can_cancel && is_watched -> can_cancel = false;
		is_watched = false;
		has_to_look = false;
		n_cqes++;
		is_last = true;
		is_cancelled = true
	   }
#endif
	od
}

/* In the order in which each posted. */
inline deliver_mail() {
	what = cells[n_taken];
	if
	:: what ->
		cells[n_taken] = 0;
		n_taken++;
		d_step {
			what--;
			assert(what % N_POSTS == n_of[what / N_POSTS]);
			n_of[what / N_POSTS]++;
			n_delivered++;
#ifdef POSTS_ALONE
			if :: n_of[what / N_POSTS] == N_POSTS -> n_held-- :: else fi;
#endif
			what = 0
		}
	:: else
	fi
}

/* wake_completed(): what is the last is so for who looks at it now, too. */
inline deliver_cqes() {
	do
	:: n > 0 ->
		d_step {
			n--;
			n_cqes--;
			has_failed = false;
			if
			:: n_cqes == 0 && is_last ->
				is_last = false;
#ifndef NO_FORGET
				is_wake_armed = false;
#endif
				has_failed = is_cancelled;
				is_cancelled = false
			:: else
			fi
		};
#ifndef LOWER_LATE
		if :: has_failed -> has_failed = false :: else -> lower() fi
#else
		has_failed = false
#endif
	:: else -> break
	od;
	has_message = false
}

/* iou__has_to_stop() */
inline look_whether_to_stop() {
	stops = has_news;
	if :: stops -> stops = has_to_quit :: else fi
}

/* iou__is_pending() */
inline look_whether_pending() {
#ifdef MAIL_FIRST
	is_pending = HAS_MAIL;
	if :: !is_pending -> is_pending = (n_held > 0) :: else fi
#else
	is_pending = (n_held > 0);
	if :: !is_pending -> is_pending = HAS_MAIL :: else fi
#endif
}

inline park() {
	parks = !HAS_CQE;
	if :: parks -> parks = !HAS_MAIL :: else fi;
	if
	:: parks ->
		/* iou__own_arm_wake() */
		if :: !is_wake_armed -> is_wake_armed = true; is_staged = true :: else fi;
		/* iou__mailbox_doze() */
#ifdef NO_DOZE
		parks = IS_EMPTIED;
#else
		say_asleep(IS_EMPTIED);
#endif
		if
		:: !parks -> HAS_MAIL
		:: else ->
#ifndef NO_RECHECK
			look_whether_to_stop();
			look_whether_pending();
			if
			:: stops || !is_pending -> rouse(); parks = false
			:: else
			fi;
			d_step { stops = false; is_pending = false }
#else
			skip
#endif
		fi
	:: else
	fi
}

/* The engine's: submit what is staged, and wait. */
inline engine_enter() {
	if
	:: is_staged ->
		d_step {
			is_staged = false;
			is_watched = true;
			if :: eventfd -> complete() :: else fi
		}
	:: else
	fi;
	if :: parks -> HAS_CQE :: else fi
}

/* A turn: submit_and_wait(), and deliver(). */
inline turn() {
	park();
#ifdef LOWER_LATE
	lower();
#endif
	engine_enter();
	if :: parks -> rouse(); parks = false :: else fi;
	n = n_cqes;
	deliver_mail();
	look_whether_to_stop();
	if :: !stops -> deliver_cqes() :: else fi;
	d_step { n = 0; stops = false }
}

/* iou_run() */
inline a_run() {
	do
	:: look_whether_to_stop();
		if :: stops -> stops = false; break :: else fi;
		is_pending = HAS_CQE;
		if :: !is_pending -> look_whether_pending() :: else fi;
		if
		:: !is_pending ->
			/* Who has posted and then released has been heard. */
			assert(n_held > 0 || n_delivered == N_MAIL);
			break
		:: else -> is_pending = false
		fi;
		turn()
	od;
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
	fi
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
#ifdef NOT_FILLED
		is_all_full = true;
#endif
#ifndef NO_WAIT
		if :: n_inside == 0 :: else -> is_all_full = false fi
#endif
#endif
	od
}

/* The loop thread: a run, or as many as there are quits for, then iou_free(). */
active proctype loop() {
	byte what, n;
	bool parks, stops, has_failed, is_pending, is_wake_armed, is_staged, is_all_full;
	atomic {
		if :: is_multishot = true :: true fi;
		run poster(0);
#ifdef QUIT_ALONE
		run quitter();
#else
		run poster(1);
#endif
#ifndef POSTS_ALONE
		run quitter();
#endif
		run kernel()
	};
#ifdef QUIT_ALONE
	do
	:: atomic { n_quits == N_QUITTERS && !has_to_quit -> break }
	:: else -> a_run()
	od;
#else
	a_run();
#endif
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
