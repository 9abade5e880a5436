"""Runs Python where the kernel answers as for a file system without locks and without a flush.

A seccomp filter: fcntl(F_SETLK) is answered with ENOLCK, fsync with EINVAL, for this process and all that it
starts: `python without_locks.py MODULE …` or `python without_locks.py -c CODE`.
"""

import ctypes
import errno
import platform
import runpy
import struct
import sys

SYSTEM_CALLS = {"x86_64": (72, 74), "aarch64": (25, 82)}
"""Numbers of fcntl and fsync."""
F_SETLK = 6
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER_MODE = 22, 38, 2
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBER_AT, SECOND_ARGUMENT_AT = 0, 24


def install() -> None:
    fcntl, fsync = SYSTEM_CALLS[platform.machine()]
    program = [
        (LOAD, 0, 0, NUMBER_AT),
        (EQUALS, 4, 0, fsync),
        (EQUALS, 0, 2, fcntl),
        (LOAD, 0, 0, SECOND_ARGUMENT_AT),
        (EQUALS, 2, 0, F_SETLK),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERRNO | errno.EINVAL),
        (RETURN, 0, 0, ERRNO | errno.ENOLCK),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, FILTER_MODE, header, 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp filter can be set")


if __name__ == "__main__":
    install()
    del sys.argv[0]
    if sys.argv[0] == "-c":
        code = sys.argv.pop(1)
        exec(compile(code, "<given>", "exec"))
    else:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
