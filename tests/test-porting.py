#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Talk to an echo server: test-porting.py SERVER. What is wrong is printed; the status is 0 if nothing is.

Many connections at a time, of small and of large messages, of a peer that closes first and of one that resets; and then SIGINT
while some are open, and one has sent what it does not take back. The server has to end then, with status 0 and no complaint.
"""

import os
import selectors
import signal
import socket
import struct
import subprocess
import sys

N_CLIENTS = 50
TIMEOUT_S = 120


class Client:
    def __init__(self, port, number):
        self.message = os.urandom(1 if number % 5 == 0 else 2000 * number)
        self.n_sent, self.answer, self.is_over = 0, bytearray(), False
        self.socket = socket.create_connection(('127.0.0.1', port))
        self.socket.setblocking(False)

    def events(self):
        more = self.n_sent < len(self.message)
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if more else 0)

    def move(self, events):
        if events & selectors.EVENT_WRITE:
            self.n_sent += self.socket.send(self.message[self.n_sent:])
            if self.n_sent == len(self.message):
                self.socket.shutdown(socket.SHUT_WR)
        if events & selectors.EVENT_READ:
            said = self.socket.recv(65536)
            self.answer += said
            self.is_over = not said


def talk(port):
    """All at once."""
    clients = [Client(port, number) for number in range(N_CLIENTS)]
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.socket, client.events(), client)
    while selector.get_map():
        ready = selector.select(TIMEOUT_S)
        if not ready:
            return 'no answer comes any more'
        for key, events in ready:
            client = key.data
            client.move(events)
            if client.is_over:
                selector.unregister(client.socket)
                client.socket.close()
            else:
                selector.modify(client.socket, client.events(), client)
    wrong = sum(client.answer != client.message for client in clients)
    return f'{wrong} answers are wrong' if wrong else None


def reset(port):
    """A connection that is reset must not end the server."""
    peer = socket.create_connection(('127.0.0.1', port))
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    peer.send(b'x')
    peer.close()


def leave_open(port):
    """One that is silent, one that has had its answer, and one that takes no answers until the server takes no more."""
    peers = [socket.create_connection(('127.0.0.1', port)) for _ in range(3)]
    peers[1].send(b'x')
    peers[1].recv(1)
    peers[2].settimeout(1)
    try:
        while True:
            peers[2].send(bytes(65536))
    except TimeoutError:
        return peers


def main(program):
    server = subprocess.Popen([program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        port = int(server.stdout.readline().split()[-1])
        finding = talk(port)
        reset(port)
        finding = finding or talk(port)
        peers = leave_open(port)
        server.send_signal(signal.SIGINT)
        complaints = server.communicate(timeout=TIMEOUT_S)[1].decode()
        for peer in peers:
            peer.close()
    finally:
        server.kill()
    if finding or server.returncode or complaints:
        print(finding, f'status {server.returncode}', complaints)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
