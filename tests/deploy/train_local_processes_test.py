"""train-local as a whole, with fake programs that start, die and come back like the real ones."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.environ.get('TEST_SRCDIR')
ROOT = os.path.join(ROOT, os.environ['TEST_WORKSPACE']) if ROOT else os.getcwd()
MAIN = os.path.join(ROOT, 'deploy', 'train_local', 'main.py')
FAKES = os.path.join(ROOT, 'tests', 'deploy', 'fakes')


def is_alive(pid):
    """A zombie that nobody has reaped yet is dead."""
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
            return file.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


class TrainLocalTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.out = os.path.join(self.folder, 'run')

    def start(self, *arguments, **environment):
        """In `self.out`; tests that start several runs that must not meet change it."""
        self.process = subprocess.Popen(
            [sys.executable, '-B', MAIN, '--out', self.out, '--workers', '2', *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=dict(os.environ, LOCKSTEP_BIN_DIR=FAKES, **environment))
        self.addCleanup(self.process.kill)
        self.addCleanup(self.process.stdout.close)

    def finish(self):
        output, _ = self.process.communicate(timeout=40)
        return output

    def read(self, name):
        with open(os.path.join(self.out, name), encoding='utf-8') as file:
            return json.load(file)

    def pids(self, *names):
        """The pids of these processes, once they all run."""
        return self.eventually(lambda: [self.read('pids.json')[name] for name in names])

    def eventually(self, look):
        for _ in range(400):
            try:
                found = look()
            except (FileNotFoundError, KeyError, ValueError):
                found = None
            if found:
                return found
            time.sleep(0.025)
        self.fail('it did not happen within 10 s')

    def wait_for_round(self, number):
        path = os.path.join(self.out, 'metrics.jsonl')
        def reached():
            with open(path, encoding='utf-8') as file:
                return sum(1 for _ in file) >= number
        self.eventually(reached)

    def test_undisturbed_run_leaves_all_results(self):
        self.start('--rounds', '8')
        output = self.finish()
        self.assertEqual(self.process.returncode, 0, output)
        summary = self.read('summary.json')
        self.assertEqual((summary['rounds'], summary['restarts'], summary['runs']), (8, 0, 1))
        self.assertEqual(len(summary['fingerprint']), 32)
        self.assertAlmostEqual(summary['samples_per_second'], 1280.0)
        for name in ('model.safetensors', 'metrics.jsonl', 'endpoint', 'logs/worker-1.log'):
            self.assertTrue(os.path.exists(os.path.join(self.out, name)), name)
        self.assertIn('training completed', output)
        self.assertEqual(self.read('pids.json'), {})

    def test_killed_worker_comes_back(self):
        self.start('--rounds', '30')
        self.wait_for_round(3)
        os.kill(self.pids('worker-1')[0], signal.SIGKILL)
        output = self.finish()
        self.assertEqual(self.process.returncode, 0, output)
        self.assertEqual(self.read('summary.json')['restarts'], 1)
        self.assertIn('worker-1 was killed by SIGKILL; restarting it', output)

    def test_killed_shard_starts_a_new_run_at_the_same_address(self):
        for shard in ('shard-0', 'shard-1'):
            with self.subTest(shard):
                self.out = os.path.join(self.folder, shard)
                self.start('--rounds', '40')
                self.wait_for_round(3)
                with open(os.path.join(self.out, 'endpoint')) as file:
                    before = file.read()
                os.kill(self.pids(shard)[0], signal.SIGKILL)
                output = self.finish()
                self.assertEqual(self.process.returncode, 0, output)
                self.assertIn('DIED, AND ITS PART OF THE MODEL WITH IT', output)
                self.assertIn('a new run has begun', output)
                self.assertEqual(self.read('summary.json')['runs'], 2)
                with open(os.path.join(self.out, 'endpoint')) as file:
                    self.assertEqual(file.read(), before)

    def test_fenced_worker_stays_away_while_its_place_is_taken(self):
        self.start('--rounds', '60')
        self.wait_for_round(3)
        with open(os.path.join(self.out, 'endpoint')) as file:
            endpoint = file.read().strip()
        other = subprocess.Popen(
            [os.path.join(FAKES, 'lockstep-worker'), '--coordinator', endpoint, '--name',
             'worker-1', '--rank', '1', '--rounds', '20', '--seed', '1'])
        output = self.finish()
        self.assertEqual(other.wait(timeout=10), 0)
        self.assertEqual(self.process.returncode, 0, output)
        self.assertIn('it comes back when the rank is free', output)
        self.assertEqual(self.read('summary.json')['restarts'], 0)

    def test_signals_stop_everything(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.out = os.path.join(self.folder, str(int(number)))
            self.start('--rounds', '1000')
            self.wait_for_round(2)
            pids = self.pids('shard-0', 'shard-1', 'worker-0', 'worker-1')
            os.kill(pids[2], signal.SIGSTOP)
            self.process.send_signal(number)
            output = self.finish()
            self.assertEqual(self.process.returncode, 130, output)
            self.assertEqual([pid for pid in pids if is_alive(pid)], [])

    def test_killed_supervisor_takes_everything_with_it(self):
        self.start('--rounds', '1000')
        self.wait_for_round(2)
        pids = self.pids('shard-0', 'shard-1', 'worker-0', 'worker-1')
        self.process.kill()
        self.eventually(lambda: not any(is_alive(pid) for pid in pids))

    def test_configuration_error_stops_all_and_shows_the_log(self):
        self.start('--rounds', '1000', FAKE_EXIT_CODE='64')
        output = self.finish()
        self.assertEqual(self.process.returncode, 64)
        self.assertIn('expected one that I know', output)

    def test_folder_is_used_again(self):
        for _ in range(2):
            self.start('--rounds', '3')
            self.assertIn('training completed', self.finish())
        with open(os.path.join(self.out, 'metrics.jsonl')) as file:
            self.assertEqual(len(file.readlines()), 3)

    def test_wrong_option_exits_with_64(self):
        self.start('--workers', '0')
        self.assertIn('expected 1 to 1024', self.finish())
        self.assertEqual(self.process.returncode, 64)


if __name__ == '__main__':
    unittest.main()
