"""Brings the programs: installs what is missing, builds them, and says where they are.

Environment:
    LOCKSTEP_BAZEL        the Bazel command, with start-up options ("bazel")
    LOCKSTEP_BAZEL_FLAGS  flags of the build, such as --config=tsan
    LOCKSTEP_BIN_DIR      take the programs from this folder, and neither install nor build
"""

import collections
import os
import pwd
import re
import shlex
import subprocess
import tempfile
import time

from process import die_with
from run_folder import last_lines

Programs = collections.namedtuple('Programs', ['server', 'worker', 'ctl'])

_IN_BAZEL_BIN = Programs('server/lockstep-server', 'worker/trainer/lockstep-worker',
                         'deploy/ctl/lockstepctl')
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class BuildError(Exception):
    """The programs are not there; the message says why and what to do."""


class Stopped(Exception):
    """A signal came."""


# Lines that can be read in a file. --show_progress: .bazelrc switches it off.
_BAZEL_FLAGS = ['--color=no', '--curses=no', '--show_progress', '--show_progress_rate_limit=1']
_PROGRESS = re.compile(rb'\[([\d,]+) / ([\d,]+)\]')
_SILENT_SECONDS = 3.0  # nothing to build: no line of progress in a log
_PROGRESS_SECONDS = 10.0
_QUIET_SECONDS = 10.0  # a build that takes no longer needs no word at its end


def programs(build, display, log_path, stopped):
    """Installs and builds if `build`, and returns the paths of the programs. What Bazel says goes to `log_path`, how far
    it is to `display`. Blocks; `stopped()` is asked several times a second, and ends it with Stopped."""
    folder = os.environ.get('LOCKSTEP_BIN_DIR')
    if folder:
        return _check(Programs(*(os.path.join(folder, os.path.basename(p)) for p in _IN_BAZEL_BIN)))
    environment = dict(os.environ, HOME=_home())
    bazel = shlex.split(os.environ.get('LOCKSTEP_BAZEL', 'bazel'))
    flags = shlex.split(os.environ.get('LOCKSTEP_BAZEL_FLAGS', ''))
    if build:
        _run([os.path.join(ROOT, 'deploy', 'install-deps')], environment, stopped)
        display.say('building; the first time takes minutes')
        start = time.monotonic()

        def show():
            elapsed = time.monotonic() - start
            if elapsed > _SILENT_SECONDS or display.is_terminal:
                display.show(progress(log_path), elapsed, pause=_PROGRESS_SECONDS)

        with open(log_path, 'wb') as log:
            _run(bazel + ['build'] + _BAZEL_FLAGS + flags + ['//:programs'], environment, stopped, log=log, show=show)
        if time.monotonic() - start > _QUIET_SECONDS:
            display.say(f'built in {time.monotonic() - start:.0f} s')
    with open(log_path, 'ab') as log:
        output = _run(bazel + ['info'] + flags + ['bazel-bin'], environment, stopped, log=log, capture=True)
    return _check(Programs(*(os.path.join(output.strip(), path) for path in _IN_BAZEL_BIN)))


def progress(log_path):
    """"building: 312 of 1,024 steps", from what Bazel said last."""
    try:
        with open(log_path, 'rb') as file:
            file.seek(max(0, os.path.getsize(log_path) - 8192))
            counts = _PROGRESS.findall(file.read())
    except OSError:
        counts = []
    done, steps = counts[-1] if counts else (b'0', b'0')
    return f'building: {done.decode()} of {steps.decode()} steps' if counts else 'building: Bazel looks what is to be done'


def _check(found):
    for path in found:
        if not os.access(path, os.X_OK):
            raise BuildError(f'there is no program {path}; run without --no-build to build it')
    return found


def _home():
    """Bazel needs a home; services and bare containers may have none."""
    for home in (os.environ.get('HOME'), _home_of_user()):
        if home and os.access(home, os.W_OK):
            return home
    return tempfile.gettempdir()


def _home_of_user():
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None


def _run(command, environment, stopped, log=None, capture=False, show=lambda: None):
    """Returns what it prints to standard output, if `capture`. `log` takes the rest; without one, the terminal does."""
    # In our process group: Ctrl-C reaches it by itself, and sudo may ask for a password.
    try:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, text=True,
                                 stdout=subprocess.PIPE if capture else log or 2, stderr=log,
                                 preexec_fn=die_with(os.getpid()))
    except FileNotFoundError:
        raise BuildError(f'cannot find {command[0]}; deploy/install-deps installs what is needed')
    try:
        output = _wait(child, stopped, show)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode != 0:
        why = '\n  '.join(['its output ends with'] + last_lines(log.name, 20)) if log else 'its output above says why'
        raise BuildError(f'{shlex.join(command)} failed with code {child.returncode}; {why}' +
                         (f'\nAll of it: {log.name}' if log else ''))
    return output


def _wait(child, stopped, show):
    while True:
        try:
            return child.communicate(timeout=0.1)[0]
        except subprocess.TimeoutExpired:
            show()
            if stopped():
                _stop(child)
                raise Stopped


def _stop(child):
    child.terminate()
    try:
        child.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        pass
