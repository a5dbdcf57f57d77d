#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""hash.py: what sha256sum does, through libiou, from Python with nothing but ctypes.

usage: hash.py FILE...

Each file is opened, read and closed with one op, block by block, 64 files at a time. The helpers of liburing are inline
functions, which are not to be had from here, so that SQEs are filled in as io_uring_enter(2) describes them. Callbacks run in
the thread that runs the loop.
"""

import collections
import ctypes
import hashlib
import os
import sys

OP_OPENAT, OP_CLOSE, OP_READ = 18, 19, 22
AT_FDCWD = -100
BLOCK = 1 << 16
MOST_AT_ONCE = 64
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class Sqe(ctypes.Structure):
    _fields_ = [
        ('opcode', ctypes.c_uint8), ('flags', ctypes.c_uint8), ('ioprio', ctypes.c_uint16), ('fd', ctypes.c_int32),
        ('off', ctypes.c_uint64), ('addr', ctypes.c_uint64), ('len', ctypes.c_uint32), ('op_flags', ctypes.c_uint32),
        ('user_data', ctypes.c_uint64), ('rest', ctypes.c_uint64 * 3),
    ]


class Op(ctypes.Structure):
    _fields_ = [('sqe', ctypes.POINTER(Sqe)), ('result', ctypes.c_int), ('flags', ctypes.c_uint)]


iou = ctypes.CDLL(os.environ.get('LIBIOU', 'libiou.so.1'), use_errno=True)
iou.iou_new.argtypes, iou.iou_new.restype = [ctypes.c_uint], ctypes.c_void_p
iou.iou_free.argtypes, iou.iou_free.restype = [ctypes.c_void_p], ctypes.c_void_p
iou.iou_run.argtypes = [ctypes.c_void_p]
iou.iou_op_new.argtypes, iou.iou_op_new.restype = [ctypes.c_void_p], ctypes.POINTER(Op)
iou.iou_op_reset.argtypes, iou.iou_op_reset.restype = [ctypes.c_void_p, ctypes.POINTER(Op)], None
iou.iou_op_queue.argtypes = [ctypes.c_void_p, ctypes.POINTER(Op), CALLBACK, ctypes.c_void_p]
iou.iou_op_queue.restype = None


class File:
    """One file. What the kernel and the library have pointers to lives as long as it is on its way."""

    def __init__(self, loop, name, waiting):
        self.loop, self.name, self.waiting, self.fd, self.offset, self.error = loop, name, waiting, -1, 0, 0
        self.hash = hashlib.sha256()

    def start(self):
        self.path = ctypes.create_string_buffer(os.fsencode(self.name))
        self.block = ctypes.create_string_buffer(BLOCK)
        self.op = iou.iou_op_new(self.loop)
        if not self.op:
            return -ctypes.get_errno()
        return self.queue(self.opened, OP_OPENAT, AT_FDCWD, ctypes.addressof(self.path), 0, 0, os.O_RDONLY | os.O_CLOEXEC)

    def end(self):
        self.block = None
        return self.waiting.popleft().start() if self.waiting else 0

    def queue(self, then, opcode, fd, addr=0, length=0, off=0, op_flags=0):
        iou.iou_op_reset(self.loop, self.op)
        sqe = self.op.contents.sqe.contents
        sqe.opcode, sqe.fd, sqe.addr, sqe.len, sqe.off, sqe.op_flags = opcode, fd, addr, length, off, op_flags
        # The one that is running must outlive its return.
        self.running, self.callback = getattr(self, 'callback', None), CALLBACK(then)
        iou.iou_op_queue(self.loop, self.op, self.callback, None)
        return 0

    def read(self):
        return self.queue(self.have_read, OP_READ, self.fd, ctypes.addressof(self.block), BLOCK, self.offset)

    def opened(self, _):
        self.fd = self.op.contents.result
        if self.fd >= 0:
            return self.read()
        self.error = -self.fd
        return self.end()

    def have_read(self, _):
        n = self.op.contents.result
        if n > 0:
            self.hash.update(memoryview(self.block)[:n])
            self.offset += n
            return self.read()
        self.error = -n
        return self.queue(lambda _: self.end(), OP_CLOSE, self.fd)


def main(names):
    loop = iou.iou_new(64)
    if not loop:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    waiting = collections.deque()
    files = [File(loop, name, waiting) for name in names]
    waiting.extend(files)
    r = 0
    for _ in files[:MOST_AT_ONCE]:
        r = r or waiting.popleft().start()
    r = r or iou.iou_run(loop)
    if r < 0:
        raise OSError(-r, os.strerror(-r))
    iou.iou_free(loop)
    for file in files:
        if file.error:
            print(f'hash.py: {file.name}: {os.strerror(file.error)}', file=sys.stderr)
        else:
            print(f'{file.hash.hexdigest()}  {file.name}')
    return any(file.error for file in files)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
