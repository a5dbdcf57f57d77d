/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the models of the mailbox share, for spin: `state`, the eventfd, who is inside, and how a sleeping loop is woken
 * (mailbox.c). They are mail.pml (how mail is put and taken), mailbox.pml (how a loop that runs sleeps, and is asked to
 * quit) and fd.pml (how a foreign loop is told); each says what it leaves out. tests/test-model.sh verifies them.
 *
 * Each atomic operation of the code is one step, in the order of the code, under the name of the function that makes
 * it. Two things are put together: a load of `state` and the compare-exchange that follows it, where nothing lies
 * between, since what is done then depends on what the compare-exchange finds, and where it finds nothing to do, on the
 * load; and what only the loop thread can see.
 *
 * Memory is sequentially consistent here. What the code does with less than that, and why it is enough:
 *
 *	the slot's cb   release and acquire: who sees it full sees cb_data, and what was written before the post.
 *	n_taken         release and acquire, handed on through n_taken_seen likewise: who sees that there is room sees
 *	                the slot emptied, so that the NULL in it cannot come after what is put there.
 *	n_slots         relaxed, and the ring plain. They change while LATE is set and before it is taken away: who has
 *	                reserved since has read that. Who has not only compares, and n_slots grows: an old one says full.
 *	state           the load before a compare-exchange may be an old one: so it may here, as others go on after it.
 *	has_late        relaxed. The loop decides by LATE whether it sleeps; has_late only says when it can go on.
 *	has_to_quit     relaxed where a run ends, which has seen NEWS before; the next run sees what this one does not.
 */
#define ASLEEP 1
#define LATE 2
#define CLOSED 4
#define ONE 8
#define POSITION(state) ((state) / ONE)

byte state;		/* the position, and its flags */
bool eventfd;		/* readable */
byte n_inside;
bool is_freeing;	/* iou_free() has begun: a call that begins now is the caller's error */
bool is_free;		/* from here on nobody may touch anything */

#define HERE assert(!is_free)

/* What the kernel does as somebody writes to the eventfd. */
#ifndef TELL_KERNEL
#define TELL_KERNEL
#endif

inline enter() { d_step { HERE; n_inside++ } }
inline leave() { d_step { HERE; n_inside-- } }
inline raise() { d_step { HERE; eventfd = true; TELL_KERNEL } }
inline lower() { eventfd = false }

/* A compare-exchange that takes ASLEEP away; whoever succeeds writes to the eventfd. */
inline wake() {
	d_step { HERE; was_asleep = (state & ASLEEP) != 0; state = state & ~ASLEEP };
	if :: was_asleep -> was_asleep = false; raise() :: else fi
}

/* The loop thread: doze(), but for what is no flag. */
inline say_asleep(is_emptied) {
	d_step {
#ifdef DEAF_DOZE
		parks = (is_emptied);
#else
		parks = !(state & LATE) && (is_emptied);
#endif
		if :: parks -> state = state | ASLEEP :: else fi
	}
}

/* It does that only if it may be asleep: it is the loop alone that sets it. */
inline rouse() { state = state & ~ASLEEP }

inline close() { state = state | CLOSED }
