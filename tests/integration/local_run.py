"""A run of deploy/train-local with the real programs, for tests: start it, disturb it, ask about it.

Where the programs are: LOCKSTEP_BIN_DIR if it is set (all three in one folder), else Bazel's runfiles.
"""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

_SOURCES = os.environ.get('TEST_SRCDIR')
if _SOURCES:
    ROOT = os.path.join(_SOURCES, os.environ['TEST_WORKSPACE'])
else:
    ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PROGRAMS = ('server/lockstep-server', 'worker/trainer/lockstep-worker', 'deploy/ctl/lockstepctl')
_MARK = 'LOCKSTEP_TEST_RUN'

# Only so that a test that hangs ends; nothing here is a requirement.
PATIENCE = 120.0


class Timeout(AssertionError):
    """It did not happen."""


def eventually(look, what, patience=PATIENCE):
    """What `look` returns, once that is something."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            found = look()
        except (FileNotFoundError, KeyError, ValueError):  # not written yet
            found = None
        if found:
            return found
        time.sleep(0.02)
    raise Timeout(f'not within {patience:g} s: {what}')


def collect_programs(folder):
    """Links to the three programs in one folder."""
    given = os.environ.get('LOCKSTEP_BIN_DIR')
    for program in _PROGRAMS:
        name = os.path.basename(program)
        source = os.path.join(given, name) if given else os.path.join(ROOT, program)
        os.symlink(os.path.realpath(source), os.path.join(folder, name))
    return folder


def processes_marked(mark):
    """Processes that run with this mark in their environment, which children inherit."""
    marked = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/environ', 'rb') as file:
                if f'{_MARK}={mark}'.encode() in file.read().split(b'\0'):
                    marked.append(int(pid))
        except OSError:
            continue  # it has ended, or is somebody else's
    return marked


class LocalRun:
    """One `train-local`. As a context manager: at its end every process of the run is gone."""

    def __init__(self, *arguments, dataset='digits'):
        self._scratch = tempfile.mkdtemp(dir=os.environ.get('TEST_TMPDIR'))
        self.out = os.path.join(self._scratch, 'run')
        os.mkdir(os.path.join(self._scratch, 'bin'))
        self.programs = collect_programs(os.path.join(self._scratch, 'bin'))
        self.environment = dict(os.environ, LOCKSTEP_BIN_DIR=self.programs,
                                **{_MARK: self._scratch})
        self.environment.pop('LOCKSTEP_ENDPOINT', None)
        self.output = ''
        self.command = [sys.executable, '-B', os.path.join(ROOT, 'deploy', 'train_local', 'main.py'),
                        '--dataset', dataset, '--out', self.out, *arguments]
        self._popen = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=self.environment)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._popen.kill()  # and so all that it started
        self._popen.wait()
        self._popen.stdout.close()
        for pid in processes_marked(self._scratch):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not processes_marked(self._scratch), 'every process has gone')
        if error[0] is None:
            shutil.rmtree(self._scratch)
        else:
            print(f'kept for you: {self.out}', file=sys.stderr)

    # ---- how it goes ----

    def finish(self):
        """The exit code of train-local; its output is in `output` from then on."""
        self.output, _ = self._popen.communicate(timeout=PATIENCE)
        return self._popen.returncode

    def send(self, number):
        self._popen.send_signal(number)

    def left_over(self):
        return processes_marked(self._scratch)

    def path(self, name):
        return os.path.join(self.out, name)

    def text(self, name):
        with open(self.path(name), encoding='utf-8') as file:
            return file.read()

    def json(self, name):
        return json.loads(self.text(name))

    def pid(self, name):
        """Of "worker-3" or "shard-0", once it runs."""
        return eventually(lambda: self.json('pids.json').get(name), f'{name} runs')

    def pids(self):
        """Name to pid of the workers and shards that run at this moment."""
        try:
            pids = self.json('pids.json')
        except (FileNotFoundError, ValueError):
            return {}
        pids.pop('supervisor', None)
        return pids

    def kill(self, *names, signal_=signal.SIGKILL):
        """To all of them at nearly the same moment."""
        for pid in [self.pid(name) for name in names]:
            os.kill(pid, signal_)

    # ---- lockstepctl ----

    def endpoint(self):
        return eventually(lambda: self.text('endpoint').strip(), 'shard 0 listens')

    def ctl(self, *arguments, endpoint=None, environment=None):
        """A finished lockstepctl: returncode, stdout, stderr."""
        return self.ctl_process(*arguments, endpoint=endpoint, environment=environment)()

    def ctl_process(self, *arguments, endpoint=None, environment=None):
        """Starts lockstepctl, and returns what waits for its end."""
        command = [os.path.join(self.programs, 'lockstepctl'), *arguments]
        if environment is None:
            command += ['--endpoint', endpoint or self.endpoint()]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True,
                                   env=dict(self.environment, **(environment or {})))

        def wait():
            out, err = process.communicate(timeout=PATIENCE)
            return subprocess.CompletedProcess(command, process.returncode, out, err)

        return wait

    def status(self):
        """`lockstepctl status -o json`; None while nobody answers."""
        answer = self.ctl('status', '-o', 'json')
        return json.loads(answer.stdout) if answer.returncode in (0, 1) and answer.stdout else None

    def wait_for_version(self, version):
        def reached():
            status = self.status()
            return status and status['version'] is not None and status['version'] >= version

        eventually(reached, f'version {version}')


def read_safetensors(path):
    """[(name, shape, bytes)] in the order of the file's data; knows nothing of Lockstep."""
    with open(path, 'rb') as file:
        (header_bytes,) = struct.unpack('<Q', file.read(8))
        header = json.loads(file.read(header_bytes))
        data = file.read()
    header.pop('__metadata__', None)
    tensors = sorted(header.items(), key=lambda entry: entry[1]['data_offsets'])
    found, at = [], 0
    for name, entry in tensors:
        begin, end = entry['data_offsets']
        elements = 1
        for dimension in entry['shape']:
            elements *= dimension
        if entry['dtype'] != 'F32' or begin != at or end - begin != 4 * elements:
            raise AssertionError(f'{path}: {name}: {entry}, expected to begin at {at}')
        found.append((name, entry['shape'], data[begin:end]))
        at = end
    if at != len(data):
        raise AssertionError(f'{path}: {len(data)} bytes of data, of which tensors take {at}')
    return found
