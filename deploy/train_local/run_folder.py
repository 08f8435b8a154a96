"""The files of a run: DIR/... of `train-local --out DIR`.

    summary.json, model.safetensors, metrics.jsonl    results
    endpoint, pids.json                               while it runs: for lockstepctl, and for tests
    result.json, addresses/                           what the processes tell train-local
    lockstepctl                                       a link to the program
    logs/                                             one file for each process, and build.log
    state/                                            one folder for each shard: its journal; and the checkpoints
    .train-local                                      marks the folder as ours, and locks it
"""

import fcntl
import json
import os
import re
import shutil

_RESULTS = ('summary.json', 'model.safetensors', 'metrics.jsonl', 'endpoint', 'pids.json',
            'result.json')
_LOGS = re.compile(r'(shard-\d+|worker-\d+|train-local|build)\.log')
_SHARDS = re.compile(r'shard-\d+')


class FolderError(Exception):
    """The folder cannot be used; the message says why and what to do."""


class RunFolder:

    def __init__(self, path):
        self.path = path
        self.summary = os.path.join(path, 'summary.json')
        self.model = os.path.join(path, 'model.safetensors')
        self.metrics = os.path.join(path, 'metrics.jsonl')
        self.endpoint = os.path.join(path, 'endpoint')
        self.pids = os.path.join(path, 'pids.json')
        self.result = os.path.join(path, 'result.json')
        self.logs = os.path.join(path, 'logs')
        self.addresses = os.path.join(path, 'addresses')
        self.state = os.path.join(path, 'state')
        self.checkpoints = os.path.join(self.state, 'checkpoints')
        self.ctl = os.path.join(path, 'lockstepctl')
        self._lock = None

    def log_file(self, name):
        return os.path.join(self.logs, name + '.log')

    def address_file(self, name):
        return os.path.join(self.addresses, name)

    def state_of(self, name):
        return os.path.join(self.state, name)

    def remove_state(self):
        """What shards keep for their next life. A new run begins without; no shard must run."""
        for name in os.listdir(self.state) if os.path.isdir(self.state) else []:
            if _SHARDS.fullmatch(name) or name == 'checkpoints':
                shutil.rmtree(self.state_of(name))

    def link_ctl(self, program):
        """Makes DIR/lockstepctl, which is shorter to type than Bazel's path, and returns a path of it to show."""
        if os.path.islink(self.ctl) or not os.path.exists(self.ctl):
            _remove(self.ctl)
            os.symlink(os.path.abspath(program), self.ctl)
            return shown(self.ctl)
        return program

    def prepare(self):
        """Makes the folder, takes it for this process, and removes what an earlier run left in it.

        Raises FolderError if another train-local uses it, or if it holds results that no
        train-local wrote.
        """
        try:
            self._check_ours()
            os.makedirs(self.logs, exist_ok=True)
            os.makedirs(self.addresses, exist_ok=True)
            self._take()
            self._remove_old()
        except OSError as error:
            raise FolderError(f'cannot use {self.path}: {error.strerror} ({error.filename}); '
                              'choose another folder with --out')

    def _marker(self):
        return os.path.join(self.path, '.train-local')

    def _check_ours(self):
        if os.path.exists(self._marker()) or not os.path.isdir(self.path):
            return
        strangers = [name for name in _RESULTS if os.path.exists(os.path.join(self.path, name))]
        if strangers:
            raise FolderError(f'{self.path} holds {strangers[0]}, which train-local did not write; '
                              'choose another folder with --out, or move it away')

    def _take(self):
        # Held until this process ends, however it ends.
        self._lock = open(self._marker(), 'a+', encoding='utf-8')
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            holder = self._lock.read().strip()
            self._lock.close()
            raise FolderError(f'another train-local (process {holder}) uses {self.path}; '
                              'stop it, or choose another folder with --out')
        self._lock.truncate(0)
        self._lock.write(f'{os.getpid()}\n')
        self._lock.flush()

    def _remove_old(self):
        for name in _RESULTS:
            _remove(os.path.join(self.path, name))
            _remove(os.path.join(self.path, name + '.tmp'))
        _remove_matching(self.logs, _LOGS)
        _remove_matching(self.addresses, _SHARDS)
        self.remove_state()

    def release(self):
        if self._lock:
            self._lock.close()


def shown(path):
    """As people would type it: from the current folder if the path leads down from there."""
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def _remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _remove_matching(folder, pattern):
    for name in os.listdir(folder):
        if pattern.fullmatch(name):
            os.unlink(os.path.join(folder, name))


def write_whole(path, text):
    """Readers see the old file or the new one, never a part."""
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        file.write(text)
    os.replace(path + '.tmp', path)


def write_json(path, value):
    write_whole(path, json.dumps(value, indent=2) + '\n')


def read_text(path):
    """The file's text without white space around it; empty if there is no file."""
    try:
        with open(path, encoding='utf-8') as file:
            return file.read().strip()
    except FileNotFoundError:
        return ''


def read_json(path):
    """A JSON object from a file; None if there is none (yet)."""
    try:
        value = json.loads(read_text(path))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def last_lines(path, count):
    """For messages: the end of a log."""
    try:
        with open(path, 'rb') as file:
            file.seek(max(0, os.path.getsize(path) - 8192))
            lines = file.read().decode('utf-8', 'replace').splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()][-count:]
