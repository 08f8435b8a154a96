"""Runs that go on from a checkpoint, or begin with a file of somebody else's, as their users meet them: train-local and
lockstepctl; and checkpoints opened with NumPy, without any code of ours.

    LOCKSTEP_BIN_DIR=FOLDER /usr/bin/python3 tests/integration/restore_test.py [CLASS[.TEST]]
"""

import ctypes
import glob
import importlib.util
import json
import os
import re
import signal
import struct
import subprocess
import tempfile
import unittest

import numpy  # Debian's python3-numpy

from local_run import LocalRun, collect_programs, eventually

ENDLESS = 1_000_000_000  # rounds of a run that a test ends
MORE = 20  # rounds after the last checkpoint
EXIT_USAGE = 64
EXIT_DATA = 65


def run(*arguments, rounds, **more):
    return LocalRun('--rounds', str(rounds), *arguments, **more)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def read_tensors(path):
    """Name to array, of any .safetensors file of F32: NumPy and the format's own description are all that it needs."""
    with open(path, 'rb') as file:
        data = file.read()
    (length,) = struct.unpack('<Q', data[:8])
    header = json.loads(data[8:8 + length])
    tensors = {}
    for name, info in header.items():
        if name == '__metadata__':
            continue
        begin, end = info['data_offsets']
        if info['dtype'] != 'F32':
            raise AssertionError(f'{path}: {name}: {info}')
        array = numpy.frombuffer(data, dtype='<f4', count=(end - begin) // 4, offset=8 + length + begin)
        tensors[name] = array.reshape(info['shape'])
    return tensors


def write_tensors(path, tensors, dtype='F32', cut=0):
    header, parts, at = {}, [], 0
    for name, array in tensors.items():
        part = array.tobytes()
        header[name] = {'dtype': dtype, 'shape': list(array.shape), 'data_offsets': [at, at + len(part)]}
        parts.append(part)
        at += len(part)
    text = json.dumps(header).encode()
    whole = struct.pack('<Q', len(text)) + text + b''.join(parts)
    with open(path, 'wb') as file:
        file.write(whole[:len(whole) - cut])


def read_checkpoint(folder):
    """{'parameters/NAME' and 'optimizer/STATE/NAME': array} of all shards' files together. A tensor that lies on several
    shards is in parts, `SECTION@FIRST/NAME`, of which FIRST is the place of the first element."""
    with open(os.path.join(folder, 'manifest.json'), encoding='utf-8') as file:
        manifest = json.load(file)
    shapes = {tensor['name']: tensor['shape'] for tensor in manifest['model']}
    parts = {}
    for path in sorted(glob.glob(os.path.join(folder, '*.safetensors'))):
        for name, array in read_tensors(path).items():
            section, first, tensor = re.fullmatch(r'(parameters|optimizer/\w+)(?:@(\d+))?/(.*)', name).groups()
            parts.setdefault((section, tensor), []).append((int(first or 0), array.reshape(-1)))
    whole = {}
    for (section, tensor), pieces in parts.items():
        pieces.sort(key=lambda piece: piece[0])
        joined = numpy.concatenate([array for _, array in pieces])
        places = numpy.cumsum([0] + [len(array) for _, array in pieces])[:-1]
        if [first for first, _ in pieces] != list(places):
            raise AssertionError(f'{folder}: {section} {tensor}: parts begin at {[first for first, _ in pieces]}')
        whole[f'{section}/{tensor}'] = joined.reshape(shapes[tensor])
    return whole


def take_checkpoint(live, folder):
    """Asks for one, as a user does. Its version and its folder."""
    live.wait_for_version(2)
    asked = live.ctl('checkpoint', '-o', 'json')
    if asked.returncode != 0:
        raise AssertionError(asked.stderr)
    version = json.loads(asked.stdout)['version']
    return version, os.path.join(folder, f'version-{version:010d}')


class RestoreTest(unittest.TestCase):

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get('TEST_TMPDIR'))
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name

    def folder(self, name):
        return os.path.join(self.scratch, name)

    def interrupted(self, name, *arguments):
        """A run that is killed as soon as it has a checkpoint: that one's version and folder."""
        with run('--checkpoint-dir', self.folder(name), '--delay-max', '0.02', *arguments, rounds=ENDLESS) as live:
            return take_checkpoint(live, self.folder(name))

    def finished(self, *arguments, rounds):
        """A run to its end: the model, and its fingerprint."""
        with run(*arguments, rounds=rounds) as whole:
            self.assertEqual(whole.finish(), 0, whole.output)
            return read_tensors(whole.path('model.safetensors')), whole.json('summary.json')['fingerprint']

    def assert_same_tensors(self, left, right):
        self.assertEqual(sorted(left), sorted(right))
        for name, array in left.items():
            self.assertEqual(array.shape, right[name].shape, name)
            self.assertEqual(array.tobytes(), right[name].tobytes(), name)


class ContinuedRunTest(RestoreTest):

    def test_adam_on_two_then_three_then_one_shard(self):
        """Each run is killed once it has its checkpoint."""
        same = ['--optimizer', 'adam']
        first, folder = self.interrupted('first', '--shards', '2', *same)
        second, folder = self.interrupted('second', '--shards', '3', '--restore', folder, *same)
        self.assertGreater(second, first)
        _, continued = self.finished('--shards', '1', '--restore', folder, *same, rounds=second + MORE)
        _, uninterrupted = self.finished('--shards', '2', *same, rounds=second + MORE)
        self.assertEqual(continued, uninterrupted)

    def test_another_optimizer_is_refused(self):
        _, folder = self.interrupted('first', '--optimizer', 'adam')
        with run('--restore', folder, '--optimizer', 'momentum', rounds=ENDLESS) as wrong:
            self.assertEqual(wrong.finish(), EXIT_USAGE)
            self.assertIn('this is of a run with --optimizer adam, but now it is momentum', wrong.output)

    def test_damaged_checkpoint_is_refused_and_its_file_named(self):
        _, folder = self.interrupted('first', '--optimizer', 'adam')
        path = os.path.join(folder, 'shard-1-of-2.safetensors')
        with open(path, 'r+b') as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last ^ 1]))
        with run('--restore', folder, '--optimizer', 'adam', rounds=ENDLESS) as wrong:
            self.assertEqual(wrong.finish(), EXIT_DATA)
            self.assertIn(path, wrong.output)


class OpenedWithoutOurCodeTest(RestoreTest):

    def exported(self, live_folder, version, optimizer):
        """`lockstepctl export` of a run that begins with a checkpoint and ends at once, so that it has that version."""
        with Servers(self.folder('serve'), 3, '--restore', live_folder, '--optimizer', optimizer) as servers:
            self.assertEqual(servers.train(version), 0)
            path = self.folder('exported.safetensors')
            servers.ctl('export', path)
            return read_tensors(path)

    def test_numpy_reads_what_lockstepctl_exports_and_workers_hold(self):
        version, folder = self.interrupted('kept', '--shards', '2', '--optimizer', 'adam')
        checkpoint = read_checkpoint(folder)
        parameters = {name[len('parameters/'):]: array for name, array in checkpoint.items()
                      if name.startswith('parameters/')}
        held, _ = self.finished('--optimizer', 'adam', rounds=version)
        self.assert_same_tensors(parameters, held)
        self.assert_same_tensors(parameters, self.exported(folder, version, 'adam'))
        for state in ('exp_avg', 'exp_avg_sq'):
            arrays = {name: checkpoint[f'optimizer/{state}/{name}'] for name in held}
            self.assertTrue(all(arrays[name].shape == held[name].shape for name in held))
            self.assertTrue(any(numpy.any(array != 0) for array in arrays.values()), state)
        self.assertTrue(all(numpy.all(checkpoint[f'optimizer/exp_avg_sq/{name}'] >= 0) for name in held))

    @unittest.skipUnless(importlib.util.find_spec('torch'), 'SKIPPED: PyTorch is not installed')
    def test_torch_goes_on_from_parameters_and_state(self):
        import torch
        _, folder = self.interrupted('kept', '--shards', '2', '--optimizer', 'adam')
        for name, array in read_checkpoint(folder).items():
            tensor = torch.from_numpy(array.copy())
            self.assertEqual(list(tensor.shape), list(array.shape), name)
            self.assertEqual(tensor.numpy().tobytes(), array.tobytes(), name)


class Servers:
    """Shard processes that stay after the run, without train-local."""

    def __init__(self, folder, shards, *flags):
        os.makedirs(folder)
        self._folder, self._flags, self._shards = folder, flags, shards
        bin_dir = os.path.join(folder, 'bin')
        os.mkdir(bin_dir)
        self._programs = collect_programs(bin_dir)
        self._processes = []
        self.addresses = []

    def __enter__(self):
        for index in range(self._shards):
            port = os.path.join(self._folder, f'port-{index}')
            command = [os.path.join(self._programs, 'lockstep-server'), '--shard-index', str(index), '--shards',
                       str(self._shards), '--workers', '1', '--bind', '127.0.0.1:0', '--port-file', port, '--data-dir',
                       os.path.join(self._folder, f'data-{index}'), '--after-run', 'serve', *self._flags]
            if index:
                command += ['--coordinator', self.addresses[0]]
            with open(os.path.join(self._folder, f'shard-{index}.log'), 'wb') as log:
                self._processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                        preexec_fn=die_with_parent))

            def listens():
                with open(port, encoding='utf-8') as file:
                    return file.read().strip()

            self.addresses.append(eventually(listens, f'shard {index} listens'))
        return self

    def __exit__(self, *_):
        for process in self._processes:
            process.kill()
            process.wait()

    def train(self, rounds):
        """One worker, to its end: its exit code."""
        worker = subprocess.run([os.path.join(self._programs, 'lockstep-worker'), '--coordinator', self.addresses[0],
                                 '--name', 'w', '--rank', '0', '--dataset', 'digits', '--model', 'mlp', '--rounds',
                                 str(rounds)], stdin=subprocess.DEVNULL, check=False, timeout=120)
        return worker.returncode

    def ctl(self, *arguments):
        subprocess.run([os.path.join(self._programs, 'lockstepctl'), '--endpoint', self.addresses[0], *arguments],
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=120)


class PlainFileTest(RestoreTest):
    """Files that NumPy has written."""

    def tensors(self):
        random = numpy.random.RandomState(5)
        shapes = {'output.weight': (10, 128), 'hidden.bias': (128,), 'output.bias': (10,), 'hidden.weight': (128, 64)}
        return {name: (random.standard_normal(shape) * 0.1).astype('<f4') for name, shape in shapes.items()}

    def write(self, tensors, **more):
        path = self.folder('plain.safetensors')
        write_tensors(path, tensors, **more)
        return path

    def test_run_begins_with_its_values_on_any_number_of_shards(self):
        path = self.write(self.tensors())
        # A learning rate too small to move them: what workers end with is what the file holds.
        for shards in ('1', '3'):
            still, _ = self.finished('--restore', path, '--shards', shards, '--optimizer', 'sgd', '--lr', '1e-30', rounds=2)
            self.assert_same_tensors(still, self.tensors())
        _, one = self.finished('--restore', path, '--shards', '1', rounds=MORE)
        _, three = self.finished('--restore', path, '--shards', '3', rounds=MORE)
        self.assertEqual(one, three)
        _, other = self.finished(rounds=MORE)
        self.assertNotEqual(one, other)

    def refused(self, exit_code, *said, tensors=None, **more):
        path = self.write(tensors if tensors is not None else self.tensors(), **more)
        with run('--restore', path, rounds=ENDLESS) as wrong:
            self.assertEqual(wrong.finish(), exit_code, wrong.output)
            for part in (path, *said):
                self.assertIn(part, wrong.output)

    def test_file_that_does_not_fit_is_refused_with_file_and_tensor(self):
        missing = self.tensors()
        del missing['hidden.bias']
        self.refused(EXIT_USAGE, 'hidden.bias', 'no tensor of that name', tensors=missing)
        surplus = dict(self.tensors(), more=numpy.zeros((3,), '<f4'))
        self.refused(EXIT_USAGE, "'more'", 'which the model has not', tensors=surplus)
        turned = self.tensors()
        turned['hidden.weight'] = turned['hidden.weight'].reshape(64, 128)
        self.refused(EXIT_USAGE, 'hidden.weight', '[64,128]', tensors=turned)

    def test_another_dtype_is_refused_with_file_and_tensor(self):
        doubles = {name: array.astype('<f8') for name, array in self.tensors().items()}
        self.refused(EXIT_USAGE, 'F64', 'hidden.bias', tensors=doubles, dtype='F64')

    def test_truncated_file_is_damaged_data(self):
        self.refused(EXIT_DATA, cut=4)


if __name__ == '__main__':
    unittest.main(verbosity=2)
