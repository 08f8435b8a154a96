"""deploy/train-local and lockstepctl as their users meet them: real processes, real data.

Every run here trains the same: 4 workers, digits, ROUNDS rounds. How long that takes is up to --delay-max, which must
not change a bit, and neither must anything else that a test does to the run.

    LOCKSTEP_BIN_DIR=FOLDER python3 tests/integration/train_local_test.py [CLASS[.TEST]]
"""

import contextlib
import functools
import json
import os
import random
import re
import signal
import subprocess
import time
import unittest

from local_run import PATIENCE, LocalRun, eventually, read_safetensors

ROUNDS = 60
ENDLESS = 1_000_000_000  # rounds of a run that a test ends
WORKERS = 4
EXIT_FENCED = 77


def run(*arguments, rounds=ROUNDS, **more):
    return LocalRun('--rounds', str(rounds), *arguments, **more)


@functools.lru_cache(maxsize=None)
def undisturbed(rounds=ROUNDS, seed=1):
    """The fingerprint that the run must have, whatever happens to it."""
    with run('--seed', str(seed), '--shards', '1', rounds=rounds) as quiet:
        if quiet.finish() != 0:
            raise AssertionError(quiet.output)
        return quiet.json('summary.json')['fingerprint']


def random_with_seed(test):
    seed = int(os.environ.get('LOCKSTEP_TEST_SEED') or random.SystemRandom().randrange(1 << 32))
    print(f'{test.id()}: seed {seed}; repeat with: LOCKSTEP_TEST_SEED={seed} '
          f'python3 tests/integration/train_local_test.py {".".join(test.id().split(".")[-2:])}', flush=True)
    return random.Random(seed)


class RunTest(unittest.TestCase):
    """What the tests below have in common."""

    def assert_same_bits(self, disturbed, restarts_at_least=0):
        """Ends the run."""
        self.assertEqual(disturbed.finish(), 0, disturbed.output)
        summary = disturbed.json('summary.json')
        self.assertEqual(summary['fingerprint'], undisturbed(), disturbed.output)
        self.assertEqual(summary['version'], ROUNDS)
        self.assertGreaterEqual(summary['restarts'], restarts_at_least, disturbed.output)
        self.assertEqual(disturbed.left_over(), [])
        return summary


class SameBitsTest(RunTest):

    def test_shards_and_delays_change_no_bit(self):
        for shards in (1, 2, 3):
            with self.subTest(shards=shards), run('--shards', str(shards), '--delay-max', '0.03') as slowed:
                self.assert_same_bits(slowed)

    def test_another_seed_has_another_fingerprint(self):
        self.assertNotEqual(undisturbed(seed=2), undisturbed())

    def test_random_workers_killed_at_any_moment(self):
        chance = random_with_seed(self)
        with run('--shards', str(chance.randint(1, 3)), '--delay-max', '0.1') as disturbed:
            disturbed.pid('worker-0')
            for _ in range(6):
                time.sleep(chance.uniform(0, 0.6))
                running = {name: pid for name, pid in disturbed.pids().items() if name.startswith('worker')}
                victims = chance.sample(sorted(running), min(len(running), chance.choice((1, 1, 1, 2))))
                print(f'  kill -9 {victims}', flush=True)
                for name in victims:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(running[name], signal.SIGKILL)
            self.assert_same_bits(disturbed, restarts_at_least=1)

    def test_two_at_once_and_all_at_once(self):
        with run('--shards', '3', '--delay-max', '0.08') as disturbed:
            disturbed.wait_for_version(5)
            disturbed.kill('worker-0', 'worker-2')
            disturbed.wait_for_version(20)
            disturbed.kill(*[f'worker-{rank}' for rank in range(WORKERS)])
            summary = self.assert_same_bits(disturbed, restarts_at_least=6)
            self.assertEqual(summary['runs'], 1)


class StoppedWorkerTest(RunTest):

    def entry_of(self, stopped, rank):
        """What the status says of a rank under waiting_for, once it does."""
        def look():
            status = stopped.status() or {'waiting_for': []}
            return next((e for e in status['waiting_for'] if e.get('rank') == rank and e['missing']), None)

        # The one deadline here that is a promise: a stopped worker is named within 6 s.
        return eventually(look, f'rank {rank} is waited for', patience=6.0)

    def test_named_and_goes_on(self):
        with run('--shards', '2', '--delay-max', '0.05', '--lease', '1s') as stopped:
            stopped.wait_for_version(5)
            stopped.kill('worker-2', signal_=signal.SIGSTOP)
            entry = self.entry_of(stopped, 2)
            self.assertEqual(entry['name'], 'worker-2')
            self.assertGreater(entry['since_seconds'], 0)
            for missing in entry['missing']:
                self.assertIn(missing['shard'], (0, 1))
                self.assertTrue(0 < missing['missing_blocks'] <= missing['blocks'], missing)
            eventually(lambda: stopped.status()['workers'][2]['state'] == 'lost', 'the lease expires')
            self.assertEqual([entry['rank'] for entry in stopped.status()['waiting_for']], [2])
            status = stopped.ctl('status')
            self.assertEqual(status.returncode, 1, status.stdout)
            self.assertIn('NOT HEALTHY', status.stdout)
            self.assertIn('worker-2', status.stdout)
            self.assertEqual(stopped.ctl('workers').returncode, 0)
            eventually(lambda: 'its process is stopped: "kill -CONT' in stopped.text('logs/train-local.log'),
                       'train-local says what to do')
            stopped.kill('worker-2', signal_=signal.SIGCONT)
            self.assertEqual(self.assert_same_bits(stopped)['restarts'], 0)

    def test_replaced_by_hand_is_fenced(self):
        with run('--shards', '2', '--delay-max', '0.15') as stopped:
            stopped.wait_for_version(5)
            old = stopped.pid('worker-2')
            with open(f'/proc/{old}/cmdline', encoding='utf-8') as file:
                command = file.read().split('\0')[:-1]
            os.kill(old, signal.SIGSTOP)
            self.entry_of(stopped, 2)
            with open(stopped.path('replacement.log'), 'wb') as log:
                replacement = subprocess.Popen(command, stdout=log, stderr=log, env=stopped.environment)
            self.addCleanup(replacement.wait)
            eventually(lambda: stopped.status()['workers'][2]['replacements'] == 1, 'the rank is taken over')
            os.kill(old, signal.SIGCONT)
            eventually(lambda: 'worker-2' not in stopped.pids(), 'the old one ends')
            self.assertEqual(self.assert_same_bits(stopped)['restarts'], 0)
            self.assertEqual(replacement.wait(timeout=30), 0, stopped.text('replacement.log'))
            self.assertIn(f'worker-2 ended with code {EXIT_FENCED}', stopped.output)
            self.assertIn('fenced', stopped.text('logs/worker-2.log'))

    def test_killed_while_stopped_is_replaced(self):
        with run('--delay-max', '0.05') as stopped:
            stopped.wait_for_version(5)
            stopped.kill('worker-1', 'worker-3', signal_=signal.SIGSTOP)

            # One of them may have sent all of this round, so that nothing is missing from it.
            def both_named():
                return {1, 3} <= {entry.get('rank') for entry in stopped.status()['waiting_for']}

            eventually(both_named, 'both are waited for')
            stopped.kill('worker-1', 'worker-3')
            self.assert_same_bits(stopped, restarts_at_least=2)


class KilledShardTest(RunTest):

    def test_it_comes_back_and_the_run_goes_on_to_the_same_bits(self):
        for shards in (('shard-0',), ('shard-1',), ('shard-0', 'shard-1', 'worker-0', 'worker-1')):
            with self.subTest(shards), run('--shards', '2', '--delay-max', '0.05') as disturbed:
                disturbed.wait_for_version(5)
                disturbed.kill(*shards)
                summary = self.assert_same_bits(disturbed, restarts_at_least=len(shards))
                self.assertEqual(summary['runs'], 1, disturbed.output)
                self.assertFalse(os.path.exists(disturbed.path('state/shard-0')), 'journals stay behind')


    def test_one_that_was_asked_to_stop_comes_back_too(self):
        with run('--shards', '2', '--delay-max', '0.05') as disturbed:
            disturbed.wait_for_version(5)
            disturbed.kill('shard-1', signal_=signal.SIGTERM)
            summary = self.assert_same_bits(disturbed, restarts_at_least=1)
            self.assertEqual(summary['runs'], 1, disturbed.output)
            self.assertIn('shard-1 ended with code 0', disturbed.output)


class LostShardTest(RunTest):

    def test_run_starts_again_with_the_same_bits(self):
        for shard in ('shard-0', 'shard-1'):
            with self.subTest(shard), run('--shards', '2', '--delay-max', '0.05', '--durability',
                                          'memory') as disturbed:
                disturbed.wait_for_version(5)
                disturbed.kill(shard)
                summary = self.assert_same_bits(disturbed, restarts_at_least=1)
                self.assertEqual(summary['runs'], 2, disturbed.output)
                self.assertIn(f'{shard.upper()} DIED, AND ITS PART OF THE MODEL WITH IT', disturbed.output)
                self.assertIn('a new run has begun', disturbed.output)
                rounds = [json.loads(line)['round'] for line in disturbed.text('metrics.jsonl').splitlines()]
                self.assertEqual(rounds, list(range(1, ROUNDS + 1)))


class ControlTest(RunTest):

    def answer(self, live, *arguments, **more):
        """Standard output of a lockstepctl that must say that all is well."""
        done = live.ctl(*arguments, **more)
        self.assertEqual(done.returncode, 0, (arguments, done.stdout, done.stderr))
        return done.stdout

    def test_questions_from_any_shard(self):
        with run('--shards', '3', '--delay-max', '0.1', rounds=ENDLESS) as live:
            live.wait_for_version(1)
            shards = json.loads(self.answer(live, 'shards', '-o', 'json'))
            self.assertEqual([shard['shard'] for shard in shards], [0, 1, 2])
            self.assertEqual(shards[0]['address'], live.endpoint())
            for shard in shards:
                self.ask_everything(live, shard['address'])
            by_environment = {'LOCKSTEP_ENDPOINT': live.path('endpoint')}
            self.assertIn('TRAINING', self.answer(live, 'status', environment=by_environment))
            self.assertEqual(json.loads(self.answer(live, 'status', '-o', 'json'))['generation'], 1)

    def ask_everything(self, live, endpoint):
        ask = functools.partial(self.answer, live, endpoint=endpoint)
        status = json.loads(ask('status', '-o', 'json'))
        self.assertEqual((status['state'], status['healthy']), ('training', True))
        self.assertLessEqual(len(ask('status').splitlines()), 24)
        self.assertEqual([w['name'] for w in json.loads(ask('workers', '-o', 'json'))],
                         [f'worker-{rank}' for rank in range(WORKERS)])
        self.assertEqual(len(ask('workers', '-o', 'wide').splitlines()), 1 + WORKERS)
        self.assertEqual(len(ask('shards').splitlines()), 1 + 3)
        newest = json.loads(ask('rounds', '-o', 'json', '-n', '5'))[0]
        self.assertEqual(newest['participants'], list(range(WORKERS)))
        self.assertIn(newest['last_rank'], newest['participants'])
        self.assertIn('LAST', ask('rounds').splitlines()[0])
        self.assertIn('ready', ask('health'))
        self.assertTrue(json.loads(ask('health', '--live', '-o', 'json'))['live'])
        taken = json.loads(ask('checkpoint', '-o', 'json'))
        self.assertGreaterEqual(taken['version'], status['version'])
        manifest = os.path.join(taken['folder'], f'version-{taken["version"]:010}', 'manifest.json')
        self.assertTrue(os.path.exists(manifest), taken)
        ahead = status['version'] + 2
        self.assertIn(f'version {ahead} is complete', ask('wait', '--version', str(ahead)))

    def test_versions_are_the_same_for_all_who_read_them(self):
        version = 20
        with run('--shards', '2', '--delay-max', '0.2') as live:
            exported = live.path('exported.safetensors')
            last = live.path('last.safetensors')
            live.wait_for_version(1)
            endpoints = [s['address'] for s in json.loads(self.answer(live, 'shards', '-o', 'json'))]
            readers = [live.ctl_process('fingerprint', '--version', str(version), endpoint=e) for e in endpoints]
            export = live.ctl_process('export', exported, '--version', str(version))
            final = live.ctl_process('export', last, '--version', str(ROUNDS))
            newest = json.loads(self.answer(live, 'fingerprint', '-o', 'json'))
            self.assertEqual(newest['fingerprint'], undisturbed(rounds=newest['version']))
            expected = undisturbed(rounds=version)
            for reader in readers:
                done = reader()
                self.assertEqual((done.returncode, done.stdout.strip()), (0, expected), done.stderr)
            self.assertEqual(export().returncode, 0)
            self.assertEqual(self.answer(live, 'fingerprint', '--file', exported).strip(), expected)
            self.assert_same_bits(live)
            done = final()
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(read_safetensors(last), read_safetensors(live.path('model.safetensors')))

    def test_evicted_worker_comes_back(self):
        with run('--shards', '2', '--delay-max', '0.1') as live:
            live.wait_for_version(5)
            self.assertIn('evicted worker-1', self.answer(live, 'evict', '1'))
            self.assertEqual(live.ctl('evict', '9').returncode, 64)
            self.assert_same_bits(live, restarts_at_least=1)
            self.assertIn(f'worker-1 ended with code {EXIT_FENCED}', live.output)
            self.assertIn('evicted', live.text('logs/worker-1.log'))

    def test_wrong_endpoints_are_explained(self):
        with run() as live:
            live.finish()  # and nobody listens any more
            gone = live.ctl('status')
            self.assertEqual((gone.returncode, gone.stdout), (69, ''))
            self.assertIn(f'cannot reach {live.endpoint()}', gone.stderr)
            missing = live.ctl('status', endpoint=live.path('no-such-file'))
            self.assertEqual(missing.returncode, 69)
            self.assertIn('DIR/endpoint', missing.stderr)
            self.assertEqual(live.ctl('status', endpoint='no sense').returncode, 64)
            self.assertEqual(live.ctl('frobnicate').returncode, 64)


class ResultsTest(RunTest):

    def test_files_hold_what_is_promised(self):
        with run('--shards', '2', '--delay-max', '0.05') as disturbed:
            disturbed.wait_for_version(5)
            disturbed.kill('worker-0')
            summary = self.assert_same_bits(disturbed, restarts_at_least=1)
            for key in ('run_id', 'generation', 'train_loss', 'wall_seconds'):
                self.assertTrue(summary[key], key)
            self.assertEqual((summary['workers'], summary['shards'], summary['rounds']), (WORKERS, 2, ROUNDS))
            self.assertGreater(summary['test_accuracy'], 0.8)
            self.check_model(disturbed.path('model.safetensors'))
            rounds = [json.loads(line)['round'] for line in disturbed.text('metrics.jsonl').splitlines()]
            self.assertEqual(rounds, sorted(set(rounds)))
            self.assertEqual(rounds[-1], ROUNDS)
            # One may be lost with each life of rank 0.
            self.assertGreaterEqual(len(rounds), ROUNDS - 1)
            for name in ('shard-0', 'shard-1', 'worker-0', 'worker-3', 'train-local'):
                self.assertTrue(disturbed.text(f'logs/{name}.log'), name)
            self.assertTrue(re.fullmatch(r'127\.0\.0\.1:\d+', disturbed.endpoint()))

    def check_model(self, path):
        shapes = [(name, shape) for name, shape, _ in read_safetensors(path)]
        self.assertEqual(shapes, [('hidden.bias', [128]), ('hidden.weight', [128, 64]), ('output.bias', [10]),
                                  ('output.weight', [10, 128])])

    def test_interrupt_leaves_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number), run('--delay-max', '0.5') as live:
                live.wait_for_version(1)
                live.kill('worker-3', signal_=signal.SIGSTOP)
                live.send(number)
                self.assertEqual(live.finish(), 130, live.output)
                self.assertEqual(live.left_over(), [])
                self.assertEqual(live.json('pids.json'), {})
                self.assertFalse(os.path.exists(live.path('summary.json')))

    def test_two_in_one_folder_are_refused(self):
        with run('--delay-max', '0.1') as first:
            first.wait_for_version(1)
            second = subprocess.run(first.command, env=first.environment, capture_output=True, text=True,
                                    timeout=PATIENCE, check=False)
            self.assertEqual(second.returncode, 64, second.stderr)
            self.assertIn('another train-local', second.stderr)
            self.assert_same_bits(first)


if __name__ == '__main__':
    unittest.main(verbosity=2)
