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

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'fakes'))
import wire

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

    def start(self, *arguments, main=(MAIN,), **environment):
        """In `self.out`; tests that start several runs that must not meet change it."""
        self.process = subprocess.Popen(
            [sys.executable, '-B', *main, '--out', self.out, '--workers', '2', *arguments],
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

    def text(self, name):
        with open(os.path.join(self.out, name), encoding='utf-8') as file:
            return file.read()

    def test_link_to_lockstepctl_is_shown(self):
        self.start('--rounds', '3')
        output = self.finish()
        link = os.path.join(self.out, 'lockstepctl')
        self.assertEqual(os.path.realpath(link), os.path.realpath(os.path.join(FAKES, 'lockstepctl')))
        self.assertIn(f'{link} --endpoint {self.out}/endpoint status', output)

    def test_killed_worker_comes_back(self):
        self.start('--rounds', '30')
        self.wait_for_round(3)
        os.kill(self.pids('worker-1')[0], signal.SIGKILL)
        output = self.finish()
        self.assertEqual(self.process.returncode, 0, output)
        self.assertEqual(self.read('summary.json')['restarts'], 1)
        self.assertIn('worker-1 was killed by SIGKILL; restarting it', output)

    def test_killed_shard_without_a_journal_starts_a_new_run_at_the_same_address(self):
        for shard in ('shard-0', 'shard-1'):
            with self.subTest(shard):
                self.out = os.path.join(self.folder, shard)
                self.start('--rounds', '40', '--durability', 'memory')
                self.wait_for_round(3)
                with open(os.path.join(self.out, 'endpoint')) as file:
                    before = file.read()
                os.kill(self.pids(shard)[0], signal.SIGKILL)
                output = self.finish()
                self.assertEqual(self.process.returncode, 0, output)
                self.assertIn('DIED, AND ITS PART OF THE MODEL WITH IT', output)
                self.assertIn('a new run has begun', output)
                summary = self.read('summary.json')
                self.assertEqual((summary['restarts'], summary['runs']), (1, 2), 'the others ended with the run')
                with open(os.path.join(self.out, 'endpoint')) as file:
                    self.assertEqual(file.read(), before)

    def test_killed_shard_with_a_journal_comes_back_alone(self):
        for shard in ('shard-0', 'shard-1'):
            with self.subTest(shard):
                self.out = os.path.join(self.folder, shard)
                self.start('--rounds', '40', FAKE_PATIENCE='1')
                self.wait_for_round(3)
                names = ['shard-0', 'shard-1', 'worker-0', 'worker-1']
                before = dict(zip(names, self.pids(*names)))
                command = self.command_line(before[shard])
                os.kill(before[shard], signal.SIGKILL)
                after = self.eventually(lambda: self.started_anew(shard, before[shard]))
                self.assertEqual(self.command_line(after), command)
                pids = self.read('pids.json')
                self.assertEqual({n: pids[n] for n in names if n != shard}, {n: before[n] for n in names if n != shard})
                output = self.finish()
                self.assertEqual(self.process.returncode, 0, output)
                summary = self.read('summary.json')
                self.assertEqual((summary['restarts'], summary['runs']), (1, 1), output)
                self.assertIn(f'{shard} comes back with its part of the model', output)

    def command_line(self, pid):
        with open(f'/proc/{pid}/cmdline', encoding='utf-8') as file:
            words = file.read().split('\0')
        del words[words.index('--bind') + 1]  # at first any port, then the same again
        return words

    def started_anew(self, name, old):
        pid = self.read('pids.json').get(name, old)
        return pid if pid != old else None

    def test_failed_run_with_a_journal_starts_over_without_it(self):
        self.start('--rounds', '40', FAKE_PATIENCE='1')
        self.wait_for_round(3)
        pid = self.pids('shard-1')[0]
        os.unlink(os.path.join(self.out, 'state', 'shard-1', 'memory.json'))
        os.kill(pid, signal.SIGKILL)
        output = self.finish()
        self.assertEqual(self.process.returncode, 0, output)
        summary = self.read('summary.json')
        self.assertEqual((summary['restarts'], summary['runs']), (1, 2), output)
        self.assertIn('THE RUN HAS FAILED', output)
        self.assertIn('shard-0 said last: the run has failed: a shard has lost its memory', output)

    def test_evicted_and_stopped_worker_is_replaced(self):
        self.start('--rounds', '100')
        self.wait_for_round(3)
        pid = self.pids('worker-1')[0]
        # So that train-local has seen that it holds its rank.
        self.eventually(lambda: 'rank 1 (worker-1)' in self.text('logs/train-local.log'))
        os.kill(pid, signal.SIGSTOP)
        wire.ask(self.text('endpoint').strip(), {'evict': 1})
        self.eventually(lambda: self.started_anew('worker-1', pid))
        output = self.finish()
        self.assertEqual(self.process.returncode, 0, output)
        self.assertIn(f'worker-1 lost rank 1 while its process {pid} was stopped: killing', output)
        self.assertNotIn('worker-1 was killed by SIGKILL', output, 'it has been said')
        self.assertEqual(self.read('summary.json')['restarts'], 1)

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
