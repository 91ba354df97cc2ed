"""The system-call filter of a task's processes: everything but a list (compare seccomp.py).

No network, no other process, no program, no signal, no tracing, no way out of the process group or
into the kernel's rarer corners. Threads are fine. What later kernels add is not there (ENOSYS).
"""

from __future__ import annotations

import errno
import struct

# Offsets in struct seccomp_data.
_NUMBER, _ARCHITECTURE = 0, 4
_FIRST_ARGUMENT = 16  # its lower half

_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LAST_KNOWN = 462  # system calls above this are newer than this list
_CLONE, _CLONE3, _PRLIMIT = (56, 220), (435, 435), (302, 261)
_CLONE_THREAD = 0x10000

# By architecture: x86-64, then the common table of newer ones (aarch64).
_DENIED = {
    "accept": (43, 202), "accept4": (288, 242), "acct": (163, 89), "add_key": (248, 217), "adjtimex": (159, 171),
    "bind": (49, 200), "bpf": (321, 280), "capset": (126, 91), "chown": (92, -1), "chroot": (161, 51),
    "clock_adjtime": (305, 266), "clock_settime": (227, 112), "connect": (42, 203), "delete_module": (176, 106),
    "execve": (59, 221), "execveat": (322, 281), "fanotify_init": (300, 262), "fchown": (93, 55),
    "fchownat": (260, 54), "finit_module": (313, 273), "fork": (57, -1), "fremovexattr": (199, 16),
    "fsconfig": (431, 431), "fsetxattr": (190, 7), "fsmount": (432, 432), "fsopen": (430, 430), "fspick": (433, 433),
    "init_module": (175, 105), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425), "ioperm": (173, -1), "iopl": (172, -1), "ioprio_set": (251, 30), "kcmp": (312, 272),
    "kexec_file_load": (320, 294), "kexec_load": (246, 104), "keyctl": (250, 219), "kill": (62, 129),
    "lchown": (94, -1), "listen": (50, 201), "lremovexattr": (198, 15), "lsetxattr": (189, 6), "mbind": (237, 235),
    "migrate_pages": (256, 238), "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429),
    "move_pages": (279, 239), "mq_open": (240, 180), "msgctl": (71, 187), "msgget": (68, 186), "msgrcv": (70, 188),
    "msgsnd": (69, 189), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "perf_event_open": (298, 241), "personality": (135, 92), "pidfd_getfd": (438, 438), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "pivot_root": (155, 41), "prctl": (157, 167), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "ptrace": (101, 117), "quotactl": (179, 60), "reboot": (169, 142), "removexattr": (197, 14),
    "request_key": (249, 218), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "seccomp": (317, 277), "semctl": (66, 191), "semget": (64, 190),
    "semop": (65, 193), "semtimedop": (220, 192), "setdomainname": (171, 162), "setfsgid": (123, 152),
    "setfsuid": (122, 151), "setgid": (106, 144), "setgroups": (116, 159), "sethostname": (170, 161),
    "setns": (308, 268), "setpgid": (109, 154), "setpriority": (141, 140), "setregid": (114, 143),
    "setresgid": (119, 149), "setresuid": (117, 147), "setreuid": (113, 145), "setsid": (112, 157),
    "settimeofday": (164, 170), "setuid": (105, 146), "setxattr": (188, 5), "shmat": (30, 196), "shmctl": (31, 195),
    "shmget": (29, 194), "socket": (41, 198), "swapoff": (168, 225), "swapon": (167, 224), "syslog": (103, 116),
    "tgkill": (234, 131), "tkill": (200, 130), "umount2": (166, 39), "unshare": (272, 97), "userfaultfd": (323, 282),
    "vfork": (58, -1),
}  # fmt: skip
# Landlock does not guard permissions and times of files. Copying a file sets them, and its copier
# gives up on an error: so these do nothing, and say nothing.
_IGNORED = {
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "futimesat": (261, -1),
    "utime": (132, -1), "utimensat": (280, 88), "utimes": (235, -1),
}  # fmt: skip


def program(machine: str) -> bytes:
    """The filter for one architecture, in eight-byte instructions.

    Raises
    ------
    OSError
        If there is no table of system calls for that architecture.
    """
    columns = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
    if machine not in columns:
        raise OSError(f"no table of system calls for {machine!r}; known: {', '.join(columns)}")
    column, architecture = columns[machine]
    answers = {row[column]: _ERRNO | errno.EPERM for row in _DENIED.values()}
    answers |= {row[column]: _ERRNO for row in _IGNORED.values()}
    # without it, libc starts threads with clone, whose flags can be looked at
    answers |= {_CLONE3[column]: _ERRNO | errno.ENOSYS}
    return b"".join(
        [
            _step(_LOAD, _ARCHITECTURE),
            _step(_JUMP_IF_EQUAL, architecture, if_true=1),
            _step(_RETURN, _KILL_PROCESS),
            _step(_LOAD, _NUMBER),
            _step(_JUMP_IF_AT_LEAST, _LAST_KNOWN + 1, if_false=1),
            _step(_RETURN, _ERRNO | errno.ENOSYS),
            *(
                step
                for number, answer in answers.items()
                if number >= 0
                for step in (_step(_JUMP_IF_EQUAL, number, if_false=1), _step(_RETURN, answer))
            ),
            _step(_JUMP_IF_EQUAL, _CLONE[column], if_false=4),
            _step(_LOAD, _FIRST_ARGUMENT),
            _step(_JUMP_IF_ANY, _CLONE_THREAD, if_false=1),
            _step(_RETURN, _ALLOW),
            _step(_RETURN, _ERRNO | errno.EPERM),
            # its own limits may be read and lowered, not those of the processes that watch it
            _step(_JUMP_IF_EQUAL, _PRLIMIT[column], if_false=3),
            _step(_LOAD, _FIRST_ARGUMENT),
            _step(_JUMP_IF_EQUAL, 0, if_true=1),
            _step(_RETURN, _ERRNO | errno.EPERM),
            _step(_RETURN, _ALLOW),
        ]
    )


def _step(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)
