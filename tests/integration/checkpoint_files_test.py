"""Checkpoints as their users meet them: files that anybody can read, and from which a run goes on, elsewhere.

Nothing of Lockstep reads the files here: struct and json do, and PyTorch's safetensors too where it is installed.

    LOCKSTEP_BIN_DIR=FOLDER python3 tests/integration/checkpoint_files_test.py [CLASS[.TEST]]
"""

import importlib.util
import json
import os
import re
import shutil
import struct
import tempfile
import unittest

from local_run import LocalRun, eventually, read_safetensors

ROUNDS = 60
SLOWED = ('--delay-max', '0.2')  # so that there is time to ask; no bit depends on it


def read_file(path):
    """Name to (shape, bytes) of one .safetensors file, whatever the order of its tensors."""
    with open(path, 'rb') as file:
        (size,) = struct.unpack('<Q', file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    header.pop('__metadata__', None)
    return {name: (entry['shape'], data[slice(*entry['data_offsets'])]) for name, entry in header.items()}


def read_checkpoint(folder):
    """{section: {tensor: bytes}} of all shards' files: sections are parameters, optimizer/exp_avg and so on. Each
    element must be there once."""
    with open(os.path.join(folder, 'manifest.json'), encoding='utf-8') as file:
        manifest = json.load(file)
    sections = {}
    taken = {}
    for entry in manifest['files']:
        for name, (_, data) in read_file(os.path.join(folder, entry['name'])).items():
            # NAME is all of a tensor, or what begins at its first element; SECTION@N/NAME begins at element N.
            section, first, tensor = re.fullmatch(r'(parameters|optimizer/[^@/]+)(?:@(\d+))?/(.*)', name).groups()
            begin = 4 * int(first or 0)
            whole = sections.setdefault(section, {}).setdefault(tensor, bytearray())
            whole.extend(bytes(max(0, begin + len(data) - len(whole))))
            whole[begin:begin + len(data)] = data
            taken[section, tensor] = taken.get((section, tensor), 0) + len(data)
    for (section, tensor), count in taken.items():
        if count != len(sections[section][tensor]):
            raise AssertionError(f'{folder}: {section}/{tensor}: {count} bytes in the files, which end at byte '
                                 f'{len(sections[section][tensor])} of the tensor')
    return {section: {tensor: bytes(data) for tensor, data in tensors.items()} for section, tensors in sections.items()}


class CheckpointsTest(unittest.TestCase):

    def setUp(self):
        self.checkpoints = tempfile.mkdtemp(dir=os.environ.get('TEST_TMPDIR'))
        self.addCleanup(shutil.rmtree, self.checkpoints)

    def run_on(self, shards, *arguments, checkpoints='first'):
        return LocalRun('--rounds', str(ROUNDS), '--shards', str(shards), '--checkpoint-dir',
                        os.path.join(self.checkpoints, checkpoints), '--keep-checkpoints', '1000', *arguments)

    def fingerprint(self, run):
        """Of the model that the run ends with."""
        self.assertEqual(run.finish(), 0, run.output)
        return run.json('summary.json')['fingerprint']


class FilesTest(CheckpointsTest):

    def test_each_tensor_is_what_lockstepctl_exports_of_that_version(self):
        for optimizer, state in (('adam', {'optimizer/exp_avg', 'optimizer/exp_avg_sq'}), ('sgd', set())):
            with self.subTest(optimizer):
                self.check(optimizer, state)

    def check(self, optimizer, state):
        shutil.rmtree(os.path.join(self.checkpoints, 'first'), ignore_errors=True)
        with self.run_on(3, *SLOWED, '--optimizer', optimizer, '--checkpoint-rounds', '10') as run:
            folder, exported = self.checkpoint_and_export(run)
        found = read_checkpoint(folder)
        self.assertEqual(set(found), {'parameters'} | state)
        self.assertEqual(found['parameters'], {name: data for name, _, data in exported})
        for section in state:
            self.assertEqual({name: len(data) for name, data in found[section].items()},
                             {name: len(data) for name, _, data in exported})
            self.assertTrue(any(any(data) for data in found[section].values()), f'{section} is not all zeros')
        self.read_with_safetensors(folder)

    def checkpoint_and_export(self, run):
        """A version's folder, and its tensors as exported. Very fast rounds may leave either out: then the next."""
        run.wait_for_version(1)
        for version in range(10, ROUNDS, 10):
            path = run.path('exported.safetensors')
            done = run.ctl('export', path, '--version', str(version))
            folder = os.path.join(self.checkpoints, 'first', f'version-{version:010}')
            if done.returncode != 0:
                self.assertIn('is gone', done.stderr)  # the run was faster than this machine starts a program
                continue
            eventually(lambda: (run.status() or {'version': ROUNDS})['version'] > version + 2, 'the run is further')
            newest = eventually(lambda: [name for name in os.listdir(os.path.join(self.checkpoints, 'first'))
                                         if self.is_whole(name) and self.number(name) >= version], 'a checkpoint')
            if os.path.basename(folder) in newest:
                return folder, read_safetensors(path)
        self.fail('no version was both exported and a checkpoint')
        return None

    def is_whole(self, name):
        return os.path.exists(os.path.join(self.checkpoints, 'first', name, 'manifest.json'))

    @staticmethod
    def number(name):
        return int(name.removeprefix('version-'))

    def read_with_safetensors(self, folder):
        if importlib.util.find_spec('safetensors') is None or importlib.util.find_spec('numpy') is None:
            print('safetensors for Python is not installed: read with struct and json alone')
            return
        numpy_reader = importlib.import_module('safetensors.numpy')
        for name in os.listdir(folder):
            if not name.endswith('.safetensors'):
                continue
            path = os.path.join(folder, name)
            tensors = numpy_reader.load_file(path)
            self.assertEqual({n: (list(t.shape), t.tobytes()) for n, t in tensors.items()}, {
                n: (shape, data) for n, (shape, data) in read_file(path).items()})


class RestoreTest(CheckpointsTest):

    def test_run_goes_on_from_lockstepctl_checkpoint_on_more_and_on_fewer_shards(self):
        """2 shards -> 3 -> 1, with momentum; each begins with what the one before was told to keep."""
        with self.run_on(2, checkpoints='none') as undisturbed:
            expected = self.fingerprint(undisturbed)
        with self.run_on(2, *SLOWED, checkpoints='first') as first:
            kept = self.checkpoint(first, beyond=5)
        self.assertIn('optimizer/momentum_buffer', read_checkpoint(kept))
        with self.run_on(3, *SLOWED, '--restore', kept, checkpoints='second') as second:
            kept_later = self.checkpoint(second, beyond=20)
        self.assertGreater(int(kept_later[-10:]), int(kept[-10:]))
        with self.run_on(1, '--restore', kept_later, checkpoints='third') as third:
            self.assertEqual(self.fingerprint(third), expected)
            rounds = [json.loads(line)['round'] for line in third.text('metrics.jsonl').splitlines()]
            self.assertEqual(rounds, list(range(int(kept_later[-10:]) + 1, ROUNDS + 1)), 'it goes on from there')

    def checkpoint(self, run, beyond):
        """What `lockstepctl checkpoint` says: the folder of a version of at least `beyond`."""
        run.wait_for_version(beyond)
        done = run.ctl('checkpoint', '-o', 'json')
        self.assertEqual(done.returncode, 0, done.stderr)
        taken = json.loads(done.stdout)
        self.assertGreaterEqual(taken['version'], beyond)
        return os.path.join(taken['folder'], f'version-{taken["version"]:010}')


if __name__ == '__main__':
    unittest.main(verbosity=2)
