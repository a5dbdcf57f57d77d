/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the servers that are compared have in common. */
#ifndef LISTEN_H
#define LISTEN_H

/* A socket that listens on a port of 127.0.0.1, which is printed; 0: any. Or -errno. */
int listen_on(int port);

#endif
