"""What keeps untrusted Python in its place: resource limits, seccomp and Landlock. Standard library alone.

| what | Linux | elsewhere |
|---|---|---|
| time, memory, file size | rlimits, and the parent's deadline | the same |
| processes | seccomp: no fork, no exec | RLIMIT_NPROC; the process group is killed |
| network | seccomp: no sockets | an audit hook, which determined code can get round |
| files | Landlock: reads the interpreter's and the system's, writes its own folder | an audit hook |

Seccomp and Landlock need no privileges and cannot be undone by what runs under them.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
_CLONE_THREAD = 0x00010000
_SOCK_STREAM = 1

# Audit architecture, and the numbers of the system calls that are refused. Linux 6.x, asm/unistd.h.
_X86_64 = (
    0xC000003E,
    56,  # clone: allowed for threads
    435,  # clone3: "not implemented", so that libc falls back to clone
    53,  # socketpair: allowed for streams, which lead nowhere else; asyncio needs one
    {
        **dict.fromkeys((41,), "socket"),
        **dict.fromkeys((57, 58, 59, 322), "process"),  # fork, vfork, execve, execveat
        **dict.fromkeys(
            (62, 200, 234, 424, 297, 129), "signals"
        ),  # kill, tkill, tgkill, pidfd_send_signal, *sigqueueinfo
        **dict.fromkeys((101, 310, 311, 438), "other processes"),  # ptrace, process_vm_readv/writev, pidfd_getfd
        **dict.fromkeys((425, 426, 427), "io_uring"),
        **dict.fromkeys((165, 166, 161, 155, 272, 308, 321, 250, 248, 249), "the system"),
        **dict.fromkeys((109, 112, 160, 302), "its own limits"),  # setpgid, setsid, setrlimit, prlimit64
        **dict.fromkeys(
            (90, 91, 92, 94, 268, 260), "owners and modes"
        ),  # chmod, fchmod, chown, lchown, fchmodat, fchownat
        **dict.fromkeys((29, 30, 68, 69, 240, 64), "shared memory and queues"),
    },
)
_AARCH64 = (
    0xC00000B7,
    220,
    435,
    199,
    {
        **dict.fromkeys((198,), "socket"),
        **dict.fromkeys((221, 281), "process"),
        **dict.fromkeys((129, 130, 131, 424, 138, 240), "signals"),
        **dict.fromkeys((117, 270, 271, 438), "other processes"),
        **dict.fromkeys((425, 426, 427), "io_uring"),
        **dict.fromkeys((40, 39, 51, 41, 97, 268, 280, 219, 217, 218), "the system"),
        **dict.fromkeys((154, 157, 164, 261), "its own limits"),
        **dict.fromkeys((52, 53, 54, 55), "owners and modes"),
        **dict.fromkeys((194, 190, 186, 180), "shared memory and queues"),
    },
)
_ARCHITECTURES: dict[str, tuple[int, int, int, int, dict[int, str]]] = {
    "x86_64": _X86_64,
    "aarch64": _AARCH64,
    "arm64": _AARCH64,
}

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ = 1 << 2 | 1 << 3 | 1 << 0  # read files, list folders, execute (shared libraries are mapped so)
_ALL_V1 = (1 << 13) - 1
_REFER, _TRUNCATE = 1 << 13, 1 << 14
SYSTEM_FOLDERS = (
    "/usr",
    "/lib",
    "/lib64",
    "/lib32",
    "/etc",
    "/opt",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
    "/dev/random",
)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def available() -> tuple[bool, bool]:
    """Whether seccomp and Landlock can be had here."""
    if not sys.platform.startswith("linux"):
        return False, False
    libc = _libc()
    seccomp = platform.machine() in _ARCHITECTURES and libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, 0, 0, 0) == -1
    seccomp = seccomp and ctypes.get_errno() == 14  # EFAULT: it looked for a filter
    return seccomp, libc.syscall(_LANDLOCK_CREATE, None, 0, 1) > 0


def limit_resources(*, cpu_s: float, memory_bytes: int, file_bytes: int) -> None:
    """Processor time, address space, size of a file, no core dumps, few files and processes."""
    seconds = max(1, int(cpu_s + 0.999))
    for what, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        hard = resource.getrlimit(what)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(what, (bound, bound))
        except (ValueError, OSError):
            if sys.platform.startswith("linux"):
                raise


def forbid_privileges() -> None:
    """Nothing that runs from here on gains privileges; the other two need it."""
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")


def forbid_system_calls() -> None:
    """No processes, programs, sockets, signals to others. Threads and pairs of streams are allowed."""
    arch, clone, clone3, socketpair, refused = _ARCHITECTURES[platform.machine()]
    load, equal, set_, give = 0x20, 0x15, 0x45, 0x06
    code = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, arch),
        (give, 0, 0, _KILL),
        (load, 0, 0, 0),  # the number of the call
        (0x35, 0, 1, 0x40000000),  # the x32 numbers: another way to the same calls
        (give, 0, 0, _KILL if arch == _X86_64[0] else _ALLOW),
        (equal, 0, 1, clone3),
        (give, 0, 0, _ENOSYS),
        (equal, 0, 4, clone),
        (load, 0, 0, 16),  # its flags
        (set_, 0, 1, _CLONE_THREAD),
        (give, 0, 0, _ALLOW),
        (give, 0, 0, _EPERM),
        (equal, 0, 5, socketpair),
        (load, 0, 0, 24),  # its type
        (0x54, 0, 0, 0xF),  # without the flags
        (equal, 0, 1, _SOCK_STREAM),
        (give, 0, 0, _ALLOW),
        (give, 0, 0, _EPERM),
    ]
    for number in sorted(refused):
        code += [(equal, 0, 1, number), (give, 0, 0, _EPERM)]
    code.append((give, 0, 0, _ALLOW))
    filter_ = b"".join(struct.pack("HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(filter_, len(filter_))
    program = struct.pack("HL", len(code), ctypes.addressof(buffer))
    if _libc().prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def confine_files(own: Path, readable: Iterable[str]) -> None:
    """Reads beneath `readable` and `own`, writes beneath `own`, nothing else."""
    libc = _libc()
    abi = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    handled = _ALL_V1 | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)
    rules = struct.pack("Q", handled)
    ruleset = libc.syscall(_LANDLOCK_CREATE, rules, len(rules), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock")
    for path, access in [(str(own), handled), *((p, _READ) for p in readable)]:
        if not os.path.exists(path):  # noqa: PTH110 - also for devices
            continue
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = access if os.path.isdir(path) else access & (1 << 0 | 1 << 1 | 1 << 2 | _TRUNCATE)  # noqa: PTH112
        if path == "/dev/null":
            allowed |= 1 << 1
        beneath = struct.pack("=Qi", allowed & handled, folder)
        if libc.syscall(_LANDLOCK_ADD, ruleset, 1, beneath, 0) != 0:
            raise OSError(ctypes.get_errno(), f"landlock: {path}")
        os.close(folder)
    if libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock")
    os.close(ruleset)


def interpreter_folders() -> list[str]:
    """Where the interpreter and what it may import lie."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, *(p for p in sys.path if p)}
    return sorted(os.path.realpath(p) for p in paths if os.path.exists(p))  # noqa: PTH110


def hook(own: Path, *, sockets: bool, files: bool, processes: bool) -> None:
    """An audit hook that refuses what the kernel does not refuse here. It cannot be taken off, but can be got round."""
    root = os.path.realpath(own) + os.sep
    programs = (
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "subprocess.Popen",
        "pty.spawn",
    )
    changes = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod")
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def inside(path: object) -> bool:
        return isinstance(path, str | bytes) and (os.path.realpath(os.fsdecode(path)) + os.sep).startswith(root)

    def refuse(event: str, args: Sequence[Any]) -> None:
        if sockets and event.startswith("socket."):
            raise PermissionError("no network here")
        if processes and event in programs:
            raise PermissionError("no processes here")
        writes = event == "open" and len(args) > 2 and isinstance(args[2], int) and bool(args[2] & writing)
        if files and (writes or event in changes) and args[0] != os.devnull and not inside(args[0]):
            raise PermissionError("no writing outside the own folder")

    sys.addaudithook(refuse)


def confine(own: Path, *, cpu_s: float, memory_bytes: int, file_bytes: int, readable: Sequence[str]) -> None:
    """Everything above, as far as this system has it; `OSError` where a part that is there cannot be put in place."""
    limit_resources(cpu_s=cpu_s, memory_bytes=memory_bytes, file_bytes=file_bytes)
    seccomp, landlock = available()
    if seccomp or landlock:
        forbid_privileges()
    if not (seccomp and landlock):
        hook(own, sockets=not seccomp, files=not landlock, processes=not seccomp)
    if landlock:
        confine_files(own, readable)
    if seccomp:
        forbid_system_calls()
