"""What a hostile program does, once it runs as Python: acts for every kind of sealed worker.

An act is plain Python statements. Before them goes ``prelude(targets)``, which names what an
attacker would be after: a key in the environment, a home with a private key, the store of another run,
servers, a process. What an act reaches it shows by running to its end; a sealed worker must end it
with ``kind`` and ``reason`` instead. ``unsealed`` says how it ends in an ordinary process, so
that ``test_hostile_acts_work`` can prove that the seal is what stops it.
"""

from __future__ import annotations

from typing import NamedTuple

DENIED = r"PermissionError|Operation not permitted|Permission denied"
NO_IMPORT = rf"{DENIED}|ModuleNotFoundError|ImportError"
SLEEP_S = 5  # of what an act leaves behind, where it is not stopped


class Act(NamedTuple):
    """One attack, and how it must end in a sealed worker."""

    source: str
    kind: str = "crashed"  # outcome, or several separated by |
    reason: str = DENIED
    # Without a seal: "ends" (did what it says), "hangs", "dies" (takes its process down), "raises"
    # (harmless anywhere, here for its outcome), "unsafe" (not tried).
    unsealed: str = "ends"


class Targets(NamedTuple):
    """What acts may reach for; see the fixture ``arena``."""

    folder: str
    tcp: int
    udp: int
    victim: int  # process
    parent: int  # process


def prelude(targets: Targets) -> str:
    """Definitions that every act may use."""
    return f"""
import ctypes, errno, os, signal, sys, time
ARENA = {targets.folder!r}
KEY_FILE, STORE = ARENA + "/home/.ssh/id_ed25519", ARENA + "/runs/other/run.sqlite"
UNIX, TCP, UDP, VICTIM, PARENT = ARENA + "/unix", {targets.tcp}, {targets.udp}, {targets.victim}, {targets.parent}
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
"""


READS = {
    "read a system file": Act("open('/etc/passwd').read()"),
    "read the own environment": Act("open('/proc/self/environ').read()"),
    "read the parent's environment": Act("open(f'/proc/{PARENT}/environ').read()"),
    "read the parent's memory": Act("open(f'/proc/{PARENT}/mem', 'rb').close()"),
    "read the own memory map": Act("open('/proc/self/maps').read()"),
    "use a key from the environment": Act("os.environ['OPENAI_API_KEY']", reason="KeyError"),
    "find a key in the C environment": Act(
        "libc.getenv.restype = ctypes.c_char_p\nassert libc.getenv(b'OPENAI_API_KEY'), 'no key'", reason="no key"
    ),
    "read a private key": Act("open(KEY_FILE).read()"),
    "read another run's store": Act("open(STORE, 'rb').read()"),
    "list a folder": Act("os.listdir(ARENA)"),
    "stat a file": Act("os.stat(STORE)"),
    "ask whether a file exists": Act("assert os.path.exists(STORE), 'nothing there'", reason="nothing there"),
    "read through native code": Act("call('open', STORE.encode(), os.O_RDONLY)"),
    "read through the root of a process": Act("open('/proc/self/root' + STORE, 'rb').read()"),
    "read through a handle": Act("call('open_by_handle_at', -100, bytes(64), 0)", unsealed="raises"),
    "import a file": Act("sys.path.insert(0, ARENA)\nimport planted", reason=NO_IMPORT),
    "read the source of a module": Act("open(os.__file__).read()"),
    "use an inherited descriptor": Act(
        "found = []\n"
        "for number in range(4, 256):\n"
        "    try: os.read(number, 0)\n"
        "    except OSError as error:\n"
        "        if error.errno != errno.EBADF: found.append(number)\n"
        "    else: found.append(number)\n"
        "assert found, 'none is open'",
        reason="none is open",
        unsealed="unsafe",
    ),
}

WRITES = {
    "write a file": Act("open(ARENA + '/escaped', 'w').write('x')"),
    "overwrite another run's store": Act("open(STORE, 'r+b').write(b'x')"),
    "append to the journal": Act("open(STORE, 'ab').write(b'x')"),
    "delete another run's store": Act("os.unlink(STORE)"),
    "delete all runs": Act("import shutil\nshutil.rmtree(ARENA + '/runs')"),
    "rename the store": Act("os.rename(STORE, STORE + '.bak')"),
    "truncate the store": Act("os.truncate(STORE, 0)"),
    "make a folder": Act("os.mkdir(ARENA + '/escaped')"),
    "symlink to the store": Act("os.symlink(STORE, ARENA + '/link')"),
    "hard-link the store": Act("os.link(STORE, ARENA + '/link')"),
    "write through a planted symlink": Act("open(ARENA + '/planted_link', 'ab').write(b'x')"),
    "change permissions": Act("os.chmod(KEY_FILE, 0o644)"),
    "change times": Act("os.utime(STORE, (0, 0))"),
    "leave a named pipe": Act("os.mkfifo(ARENA + '/escaped')"),
    "leave an extended attribute": Act("os.setxattr(STORE, 'user.x', b'x')"),
    "fill /dev/shm": Act(
        "open('/dev/shm/evolve-escaped', 'wb').write(bytes(4096))\nos.unlink('/dev/shm/evolve-escaped')"
    ),
    "open shared memory": Act(
        "call('shm_open', b'/evolve-escaped', os.O_CREAT | os.O_RDWR, 0o600)\ncall('shm_unlink', b'/evolve-escaped')"
    ),
    "get System V shared memory": Act("call('shmctl', call('shmget', 0, 4096, 0o1600), 0, None)"),
    "make an anonymous file": Act("os.close(call('memfd_create', b'x', 0))"),
    "spoil the numba cache": Act("open(ARENA + '/cache/kernel.nbc', 'wb').write(b'x')"),
    "move its root folder": Act("os.chroot(ARENA)", unsealed="unsafe"),
    "mount a file system": Act("call('mount', b'none', ARENA.encode(), b'tmpfs', 0, None)", unsealed="unsafe"),
}

NETWORK = {
    "connect over TCP": Act("import socket\nsocket.socket().connect(('127.0.0.1', TCP))"),
    "listen on TCP": Act("import socket\nsocket.create_server(('127.0.0.1', 0))"),
    "send a datagram": Act("import socket\nsocket.socket(2, 2).sendto(b'x', ('127.0.0.1', UDP))"),
    "connect to a unix socket": Act("import socket\nsocket.socket(1, 1).connect(UNIX)"),
    "connect to an abstract socket": Act("import socket\nsocket.socket(1, 1).connect('\\0evolve-' + str(TCP))"),
    "make a socket pair": Act("import socket\nsocket.socketpair()"),
    "make a raw socket": Act("import socket\nsocket.socket(17, 3)", unsealed="unsafe"),
    "talk to the kernel over netlink": Act("import socket\nsocket.socket(16, 3)"),
    "resolve a name": Act("import socket\nsocket.getaddrinfo('example.org', 80)", reason=".", unsealed="unsafe"),
    "open a socket in native code": Act("call('socket', 2, 1, 0)"),
    "send a descriptor over the answer": Act(
        "import socket\nsocket.socket(fileno=3)", reason=rf"{DENIED}|Bad file|not a socket", unsealed="unsafe"
    ),
}

PROCESSES = {
    "fork": Act("if os.fork() == 0: os._exit(0)"),
    "fork in native code": Act("if call('fork') == 0: os._exit(0)"),
    "fork bomb": Act(
        f"for _ in range(30):\n    if os.fork() == 0:\n        time.sleep({SLEEP_S})\n        os._exit(0)"
    ),
    "leave a daemon": Act(
        f"if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep({SLEEP_S})\n    os._exit(0)"
    ),
    "start a helper, then overrun": Act(
        f"if os.fork() == 0:\n    time.sleep({SLEEP_S})\n    os._exit(0)\nwhile True: pass", unsealed="hangs"
    ),
    "start a thread": Act("import _thread\n_thread.start_new_thread(int, ())", reason="can't start new thread"),
    "run a program": Act("os.execv('/bin/true', ['true'])", unsealed="dies"),
    "run a program from a shell": Act("assert os.system('true') == 0, 'refused'", reason=rf"refused|{DENIED}"),
    "start a subprocess": Act("import subprocess\nsubprocess.run(['/bin/true'], check=True)", reason=NO_IMPORT),
    "start a pool": Act(
        "import multiprocessing\nmultiprocessing.get_context('fork').Process(target=int).start()", reason=NO_IMPORT
    ),
    "lead a new session": Act("if os.fork() == 0:\n    os.setsid()\n    os._exit(0)"),
    "leave its group": Act("os.setpgid(0, os.getppid())", unsealed="unsafe"),
    "outlive the zygote": Act("call('prctl', 1, 0, 0, 0, 0)"),
    "make itself traceable": Act("call('prctl', 4, 1, 0, 0, 0)"),
    "become root": Act("os.setuid(0)", unsealed="unsafe"),
    "enter new namespaces": Act("call('unshare', 0x10000000)"),
    "raise its limits": Act(
        "import resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))", reason=rf"{DENIED}|not allowed|ValueError"
    ),
    "change its priority": Act("os.nice(1)"),
    "trace a process": Act("call('ptrace', 0x4206, VICTIM, None, None)"),
    "ask to be traced": Act("call('ptrace', 0, 0, None, None)"),
    "read another process's memory": Act(
        "libc.process_vm_readv.argtypes = [ctypes.c_int] + [ctypes.c_void_p, ctypes.c_ulong] * 2 + [ctypes.c_ulong]\n"
        "call('process_vm_readv', VICTIM, None, 0, None, 0, 0)"
    ),
    "use io_uring": Act("call('syscall', ctypes.c_long(425), 1, bytes(120))", unsealed="unsafe"),
    "load a BPF program": Act("call('syscall', ctypes.c_long(321), 0, bytes(120), 120)", unsealed="raises"),
}

SIGNALS = {
    "kill a process": Act("os.kill(VICTIM, signal.SIGKILL)"),
    "signal the parent": Act("os.kill(PARENT, 0)"),
    "signal the zygote": Act("os.kill(os.getppid(), 0)"),
    "signal everybody": Act("os.kill(-1, 0)"),
    "signal its group": Act("os.killpg(0, 0)"),
    "signal through a descriptor": Act("call('syscall', ctypes.c_long(434), VICTIM, 0)"),
    "queue a signal": Act("call('sigqueue', VICTIM, 0, None)"),
    "stop itself": Act("os.kill(os.getpid(), signal.SIGSTOP)", unsealed="hangs"),
    "set an alarm": Act("signal.setitimer(signal.ITIMER_REAL, 9)"),
    "wait for a signal": Act("signal.pause()", reason="survived", unsealed="hangs"),
    "sleep": Act("time.sleep(60)", unsealed="hangs"),
}

TIME = r"killed after"
HANGS = {
    "endless loop": Act("while True: pass", "timed_out", TIME, "hangs"),
    "endless loop that ignores signals": Act(
        "for number in (1, 2, 10, 12, 14, 15, 24): signal.signal(number, signal.SIG_IGN)\nwhile True: pass",
        "timed_out",
        TIME,
        "hangs",
    ),
    "endless loop that catches everything": Act(
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass", "timed_out", TIME, "hangs"
    ),
    "endless loop in a finally": Act("try: pass\nfinally:\n    while True: pass", "timed_out", TIME, "hangs"),
    "endless loop in native code": Act("import re\nre.match(r'(a|a)*$', 'a' * 60 + 'b')", "timed_out", TIME, "hangs"),
    "endless arithmetic": Act("10 ** 10 ** 9", "timed_out|out_of_memory", ".", "hangs"),
    "endless loop in numpy": Act(
        "import numpy as np\nvalues = np.ones(10**6)\nwhile True: np.sort(values)", "timed_out", TIME, "hangs"
    ),
    "long call into numpy": Act(
        "import numpy as np\nvalues = np.ones((1500, 1500))\nfor _ in range(10**6): values = values @ values / 1500",
        "timed_out",
        TIME,
        "hangs",
    ),
    "deadlock": Act(
        "import _thread\nlock = _thread.allocate_lock()\nlock.acquire()\nlock.acquire()", "timed_out", TIME, "hangs"
    ),
    "wait for input that never comes": Act("while True: os.read(3, 1)", "timed_out", TIME, "unsafe"),
    "endless destructor": Act(
        "class Clingy:\n    def __del__(self):\n        while True: pass\nClingy()", "timed_out", TIME, "hangs"
    ),
}

MEMORY = {
    "20 GB of bytes": Act("bytearray(20 * 10**9)", "out_of_memory", ".", "unsafe"),
    "20 GB of ones": Act("import numpy as np\nnp.ones(20 * 10**9 // 8)", "out_of_memory", "allocate", "unsafe"),
    "memory by and by": Act("hoard = []\nwhile True: hoard.append(bytearray(10**7))", "out_of_memory", ".", "unsafe"),
    "memory in small pieces": Act(
        "hoard = []\nwhile True: hoard.append([hoard])", "out_of_memory|timed_out", ".", "unsafe"
    ),
    "native memory": Act(
        "libc.malloc.restype = ctypes.c_void_p\nassert libc.malloc(ctypes.c_size_t(20 * 10**9)), 'refused'",
        reason="refused",
    ),
    "giant string": Act("'x' * 10**11", "out_of_memory", ".", "unsafe"),
    "giant literal": Act("eval('9' * 10**6)", reason="SyntaxError|ValueError", unsealed="raises"),
    "deep nesting": Act("eval('(' * 10**6)", "crashed|out_of_memory", ".", "raises"),
    "deep expression": Act("eval('-' * 10**6 + '1')", "crashed|out_of_memory", ".", "raises"),
    "recursion": Act("def f(): f()\nf()", reason="RecursionError", unsealed="raises"),
    "recursion bomb": Act(
        "sys.setrecursionlimit(10**9)\ndef f(): return f() + 1\nf()", "crashed|out_of_memory|timed_out", ".", "unsafe"
    ),
    "native recursion bomb": Act(
        "sys.setrecursionlimit(10**9)\nnest = []\nfor _ in range(2 * 10**5): nest = [nest]\nrepr(nest)",
        "crashed|out_of_memory|timed_out",
        ".",
        "unsafe",
    ),
}

EXITS = {
    "os._exit": Act("os._exit(7)", reason="exit code 7 and no answer", unsealed="dies"),
    "os._exit(0)": Act("os._exit(0)", reason="exit code 0 and no answer", unsealed="dies"),
    # what a worker says of its end may be lost with its socket: the outcome is the same
    "sys.exit(0)": Act("sys.exit(0)", reason="SystemExit|exit code 0 and no answer", unsealed="dies"),
    "raise KeyboardInterrupt": Act("raise KeyboardInterrupt", reason="KeyboardInterrupt", unsealed="raises"),
    "raise what cannot be printed": Act(
        "class Odd(Exception):\n    def __str__(self): os._exit(3)\nraise Odd", reason="exit code 3", unsealed="raises"
    ),
    "abort": Act("os.abort()", reason=r"died of SIG(SEGV|ABRT|ILL)", unsealed="dies"),
    "read address 0": Act("ctypes.string_at(0)", reason="died of SIGSEGV", unsealed="dies"),
    "write out of bounds": Act(
        "import numpy as np\nvalues = np.zeros(4)\nctypes.memset(values.ctypes.data, 255, 2**33)",
        reason=r"died of SIG(SEGV|BUS)",
        unsealed="dies",
    ),
    "illegal instruction": Act(
        "import mmap\npage = mmap.mmap(-1, 4096, prot=7)\npage.write(b'\\x0f\\x0b' * 8)\n"
        "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()",
        reason=r"died of SIG(ILL|SEGV)",
        unsealed="dies",
    ),
    "system call of another architecture": Act(
        "import mmap\npage = mmap.mmap(-1, 4096, prot=7)\npage.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')\n"
        "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()",
        reason=r"died of SIG(SYS|SEGV|ILL)",
        unsealed="unsafe",  # depends on the kernel
    ),
    "flood of standard output": Act(
        "for _ in range(100): os.write(1, bytes(10**6)); os.write(2, bytes(10**6))", reason="survived", unsealed="ends"
    ),
    "a warning per line": Act(
        "import warnings\nfor i in range(1000): warnings.warn(str(i))", reason="survived", unsealed="ends"
    ),
}

ACTS = READS | WRITES | NETWORK | PROCESSES | SIGNALS | HANGS | MEMORY | EXITS
