/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a plugin of the host in plugins.c offers: a symbol named plugin. That it uses libiou the host does not know. */
#ifndef PLUGIN_H
#define PLUGIN_H

struct plugin {
	const char *name;
	/* Begin to work. NULL: it cannot, errno says why. */
	void *(*open)(void);
	/* Readable when turn() has something to do. Or -errno. */
	int (*fd)(void *state);
	/* What there is to do now. 1: there will be more, 0: that was all, or -errno. */
	int (*turn)(void *state);
	/* At any time; what it came to, or -errno. */
	int (*close)(void *state);
};

#endif
