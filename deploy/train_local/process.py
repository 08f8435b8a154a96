"""One supervised process: a shard or a worker, over all its lives."""

import ctypes
import enum
import os
import signal
import subprocess

from restart_policy import RestartPolicy

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class State(enum.Enum):
    DUE = 'due'  # to be started at `due`
    RUNNING = 'running'
    ENDED = 'ended'  # what follows has not been decided, or nothing does
    DONE = 'done'  # ended with code 0
    FENCED = 'fenced'  # another process has its place


class Process:
    """`command` is called for each life, since addresses become known only as others start.

    Its standard output and error are appended to `log_path`. It lives in a process group of its
    own, so that Ctrl-C on the terminal reaches only train-local, and dies when train-local dies.
    """

    def __init__(self, name, command, log_path):
        self.name = name
        self.command = command
        self.log_path = log_path
        self.policy = RestartPolicy()
        self.state = State.DUE
        self.due = 0.0
        self.restarts = 0  # lives that began because the one before ended by itself
        self.started = 0.0
        self.ended = 0.0
        self._counts = False  # the next start
        self._popen = None

    @property
    def pid(self):
        """While it runs; otherwise None."""
        return self._popen.pid if self.state is State.RUNNING else None

    def start(self, now):
        with open(self.log_path, 'ab') as log:
            self._popen = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=_environment(), start_new_session=True, preexec_fn=die_with(os.getpid()))
        self.state = State.RUNNING
        self.restarts += self._counts
        self.started = now

    def poll(self, now):
        """(exit code, seconds lived) if it has ended since the last call; else None."""
        if self.state is not State.RUNNING or self._popen.poll() is None:
            return None
        self.state = State.DONE if self._popen.returncode == 0 else State.ENDED
        self.ended = now
        return self._popen.returncode, now - self.started

    def is_stopped(self):
        """By SIGSTOP or a debugger."""
        try:
            with open(f'/proc/{self.pid}/stat', encoding='utf-8') as file:
                return file.read().rsplit(')', 1)[1].split()[0] in 'Tt'
        except OSError:
            return False  # it has just ended

    def restart_at(self, due, counts=None):
        """`counts`: as a restart; None: as was said before."""
        self.state = State.DUE
        self.due = due
        if counts is not None:
            self._counts = counts

    def send(self, number):
        """A signal to the whole process group, if it runs."""
        if self.state is not State.RUNNING:
            return
        try:
            os.killpg(self._popen.pid, number)
        except ProcessLookupError:
            pass


def die_with(parent):
    """For preexec_fn: the child is killed when `parent` dies, kill -9 included."""

    def prepare():
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # it died in between

    return prepare


def _environment():
    # One thread each: the workers share this machine's cores.
    return dict(os.environ, OPENBLAS_NUM_THREADS='1')
