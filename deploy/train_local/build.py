"""Brings the programs: installs what is missing, builds them, and says where they are.

Environment:
    LOCKSTEP_BAZEL        the Bazel command, with start-up options ("bazel")
    LOCKSTEP_BAZEL_FLAGS  flags of the build, such as --config=tsan
    LOCKSTEP_BIN_DIR      take the programs from this folder, and neither install nor build
"""

import collections
import os
import pwd
import shlex
import subprocess
import tempfile
import time

from process import die_with

Programs = collections.namedtuple('Programs', ['server', 'worker', 'ctl'])

_IN_BAZEL_BIN = Programs('server/lockstep-server', 'worker/trainer/lockstep-worker',
                         'deploy/ctl/lockstepctl')
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class BuildError(Exception):
    """The programs are not there; the message says why and what to do."""


class Stopped(Exception):
    """A signal came."""


def programs(build, say, stopped):
    """Installs and builds if `build`, and returns the paths of the programs. Blocks; `stopped()`
    is asked several times a second, and ends it with Stopped."""
    folder = os.environ.get('LOCKSTEP_BIN_DIR')
    if folder:
        return _check(Programs(*(os.path.join(folder, os.path.basename(p)) for p in _IN_BAZEL_BIN)))
    environment = dict(os.environ, HOME=_home())
    bazel = shlex.split(os.environ.get('LOCKSTEP_BAZEL', 'bazel'))
    flags = shlex.split(os.environ.get('LOCKSTEP_BAZEL_FLAGS', ''))
    if build:
        start = time.monotonic()
        _run([os.path.join(ROOT, 'deploy', 'install-deps')], environment, stopped)
        say('building (the first time takes minutes)')
        _run(bazel + ['build'] + flags + ['//:programs'], environment, stopped)
        say(f'built in {time.monotonic() - start:.0f} s')
    output = _run(bazel + ['info'] + flags + ['bazel-bin'], environment, stopped, capture=True)
    return _check(Programs(*(os.path.join(output.strip(), path) for path in _IN_BAZEL_BIN)))


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


def _run(command, environment, stopped, capture=False):
    # In our process group: Ctrl-C reaches it by itself, and sudo may ask for a password.
    try:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, text=True,
                                 stdout=subprocess.PIPE if capture else 2,
                                 preexec_fn=die_with(os.getpid()))
    except FileNotFoundError:
        raise BuildError(f'cannot find {command[0]}; deploy/install-deps installs what is needed')
    try:
        output = _wait(child, stopped)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode != 0:
        raise BuildError(f'{shlex.join(command)} failed with code {child.returncode}; '
                         'its output above says why')
    return output


def _wait(child, stopped):
    while True:
        try:
            return child.communicate(timeout=0.1)[0]
        except subprocess.TimeoutExpired:
            if stopped():
                _stop(child)
                raise Stopped


def _stop(child):
    child.terminate()
    try:
        child.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        pass
