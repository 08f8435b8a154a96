"""The parts of train-local that need no processes."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
import unittest.mock

ROOT = os.environ.get('TEST_SRCDIR')
ROOT = os.path.join(ROOT, os.environ['TEST_WORKSPACE']) if ROOT else os.getcwd()
sys.path.insert(0, os.path.join(ROOT, 'deploy', 'train_local'))

import commands
import defaults
import options
import build
from build import Programs
from holdups import HoldUps
from metrics import Metrics
from progress import Display, progress_line, short_number, waiting_for
from report import report, summary
from restart_policy import (Action, LONGEST_PAUSE, MAX_QUICK_FAILURES, RestartPolicy, describe,
                            place_is_free)
from run_folder import FolderError, RunFolder, last_lines, read_json, shown, write_json

PROGRAMS = Programs('/bin/server', '/bin/worker', '/bin/ctl')


def flags(command):
    """{"--workers": "4", ...} of a command line."""
    return dict(zip(command[1::2], command[2::2]))


class OptionsTest(unittest.TestCase):

    def refused(self, *arguments):
        """The message for a wrong command line."""
        err = io.StringIO()
        with contextlib.redirect_stderr(err), self.assertRaises(SystemExit) as caught:
            options.parse(list(arguments))
        self.assertEqual(caught.exception.code, 64)
        return err.getvalue()

    def test_nothing_given_takes_the_recipe(self):
        chosen = options.parse([])
        recipe = defaults.RECIPES['fashion-mnist']
        self.assertEqual((chosen.workers, chosen.shards), (4, 2))
        self.assertEqual(chosen.optimizer, recipe.optimizer)
        self.assertEqual(chosen.lr, defaults.LEARNING_RATES[recipe.optimizer])
        self.assertEqual(chosen.epochs, recipe.epochs)
        self.assertEqual(chosen.total_rounds, recipe.epochs * 235)
        self.assertTrue(os.path.isabs(chosen.out))

    def test_rounds_take_the_place_of_epochs(self):
        chosen = options.parse(['--rounds', '7'])
        self.assertEqual((chosen.rounds, chosen.epochs, chosen.total_rounds), (7, None, 7))

    def test_optimizer_brings_its_learning_rate(self):
        self.assertEqual(options.parse(['--optimizer', 'sgd']).lr, defaults.LEARNING_RATES['sgd'])
        self.assertEqual(options.parse(['--optimizer', 'sgd', '--lr', '0.3']).lr, 0.3)

    def test_unknown_size_of_data_keeps_the_rate_constant(self):
        with tempfile.TemporaryDirectory() as folder:
            chosen = options.parse(['--dataset', folder])
        self.assertIsNone(chosen.total_rounds)
        self.assertEqual(chosen.schedule, 'constant')

    def test_lease_takes_seconds_or_a_unit(self):
        self.assertEqual(options.parse(['--lease', '3']).lease, '3s')
        for lease in ('500ms', '800ms', '1h', '60m'):
            self.assertEqual(options.parse(['--lease', lease]).lease, lease)

    def test_durability_has_a_default(self):
        self.assertEqual((options.parse([]).durability, options.parse([]).fsync), ('journal', 'never'))
        chosen = options.parse(['--durability', 'memory', '--fsync', 'round'])
        self.assertEqual((chosen.durability, chosen.fsync), ('memory', 'round'))

    def test_wrong_usage_says_what_was_expected(self):
        self.assertIn('expected 1 to 1024, got 0', self.refused('--workers', '0'))
        self.assertIn('whole number', self.refused('--shards', 'two'))
        self.assertIn('more than 0', self.refused('--lr', '-1'))
        self.assertIn('more than 0', self.refused('--lr', 'nan'))
        self.assertIn('/no/such/set does not exist', self.refused('--dataset', '/no/such/set'))
        self.assertIn('not allowed with', self.refused('--rounds', '1', '--epochs', '1'))
        self.assertIn('invalid choice', self.refused('--optimizer', 'magic'))
        for lease in ('soon', '499ms', '61m', '0.4'):
            self.assertIn('expected a duration of at least 500ms', self.refused('--lease', lease))
        self.assertIn('did you mean --workers?', self.refused('--worker', '2'))
        self.assertIn('invalid choice', self.refused('--durability', 'paper'))
        self.assertIn('unrecognized', self.refused('--no-such-flag'))
        self.assertIn('did you mean --dataset?', self.refused('--datset', 'digits'))


class RestartPolicyTest(unittest.TestCase):

    def test_done_is_done(self):
        self.assertEqual(RestartPolicy().judge(0, 1.0).action, Action.DONE)

    def test_killed_after_a_while_restarts_at_once(self):
        verdict = RestartPolicy().judge(-9, 30.0)
        self.assertEqual((verdict.action, verdict.pause), (Action.RESTART, 0.0))

    def test_quick_failures_wait_longer_each_time(self):
        policy = RestartPolicy()
        pauses = [policy.judge(75, 0.1).pause for _ in range(7)]
        self.assertEqual(pauses, [0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_PAUSE, LONGEST_PAUSE])

    def test_a_long_life_forgives(self):
        policy = RestartPolicy()
        for _ in range(MAX_QUICK_FAILURES - 1):
            policy.judge(70, 0.1)
        self.assertEqual(policy.judge(70, 2.5).pause, 0.0)
        self.assertEqual(policy.judge(70, 0.1).pause, 0.2)

    def test_ten_quick_failures_stop_all(self):
        policy = RestartPolicy()
        actions = [policy.judge(-11, 0.5).action for _ in range(MAX_QUICK_FAILURES)]
        self.assertEqual(actions[-2:], [Action.RESTART, Action.STOP_ALL])

    def test_wrong_options_and_damaged_data_stop_all(self):
        for code, own in ((64, 64), (78, 64), (65, 65)):
            verdict = RestartPolicy().judge(code, 100.0)
            self.assertEqual((verdict.action, verdict.exit_code), (Action.STOP_ALL, own))

    def test_fenced_is_not_restarted_at_once(self):
        self.assertEqual(RestartPolicy().judge(77, 100.0).action, Action.FENCED)

    def test_place_is_free_when_nobody_holds_it(self):
        def status(state):
            return {'workers': [{'rank': 0, 'state': 'active'}, {'rank': 1, 'state': state}]}
        self.assertTrue(place_is_free(status('lost'), 1))
        self.assertTrue(place_is_free(status('absent'), 1))
        self.assertFalse(place_is_free(status('active'), 1))
        self.assertFalse(place_is_free(status('silent'), 1))
        self.assertFalse(place_is_free(status('left'), 1))

    def test_describe_names_signals_and_codes(self):
        self.assertEqual(describe(-9), 'was killed by SIGKILL')
        self.assertIn('its place was taken from it', describe(77))
        self.assertEqual(describe(3), 'ended with code 3')


class CommandsTest(unittest.TestCase):

    def setUp(self):
        self.options = options.parse(['--out', '/tmp/x', '--workers', '3', '--seed', '7'])
        self.folder = RunFolder(self.options.out)

    def test_shard_zero_needs_no_coordinator(self):
        given = flags(commands.shard_command(self.options, PROGRAMS, self.folder, 0, '', ''))
        self.assertNotIn('--coordinator', given)
        self.assertEqual(given['--bind'], '127.0.0.1:0')
        self.assertEqual(given['--schedule-total-rounds'], str(self.options.total_rounds))

    def test_restarted_shard_keeps_its_address(self):
        given = flags(commands.shard_command(self.options, PROGRAMS, self.folder, 1, 'h:2', 'h:1'))
        self.assertEqual((given['--bind'], given['--coordinator']), ('h:2', 'h:1'))

    def test_shard_has_a_folder_of_its_own_unless_it_keeps_its_memory_only(self):
        def durability(*arguments):
            chosen = options.parse(['--out', '/tmp/x', *arguments])
            return flags(['server'] + commands.durability_flags(chosen, self.folder, 1))

        self.assertEqual(durability(), {'--data-dir': '/tmp/x/state/shard-1', '--durability': 'journal',
                                        '--fsync': 'never', '--checkpoint-dir': '/tmp/x/state/checkpoints',
                                        '--checkpoint-rounds': '0', '--keep-checkpoints': '3'})
        self.assertEqual(durability('--checkpoint-dir', '/elsewhere')['--checkpoint-dir'], '/elsewhere')
        self.assertEqual(durability('--fsync', 'round')['--fsync'], 'round')
        self.assertEqual(durability('--durability', 'memory'), {'--durability': 'memory'})

    def test_only_rank_zero_writes_results(self):
        first = flags(commands.worker_command(self.options, PROGRAMS, self.folder, 0, 'h:1'))
        other = flags(commands.worker_command(self.options, PROGRAMS, self.folder, 1, 'h:1'))
        self.assertEqual(first['--save'], '/tmp/x/model.safetensors')
        self.assertNotIn('--save', other)
        self.assertEqual((other['--name'], other['--rank']), ('worker-1', '1'))
        self.assertEqual(other['--seed'], '7')

    def test_rounds_or_epochs_not_both(self):
        with_rounds = options.parse(['--rounds', '9'])
        self.assertEqual(commands.length_flags(with_rounds), ['--rounds', '9'])
        self.assertEqual(commands.length_flags(self.options)[0], '--epochs')


class FolderTest(unittest.TestCase):

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.path = os.path.join(self.temporary.name, 'run')

    def prepared(self):
        folder = RunFolder(self.path)
        folder.prepare()
        self.addCleanup(folder.release)
        return folder

    def test_old_results_go_and_strangers_stay(self):
        folder = self.prepared()
        write_json(folder.summary, {})
        for name in ('notes.txt', 'logs/worker-3.log', 'logs/mine.log'):
            with open(os.path.join(self.path, name), 'w') as file:
                file.write('x')
        folder.release()
        self.prepared()
        self.assertFalse(os.path.exists(folder.summary))
        self.assertEqual(sorted(os.listdir(folder.logs)), ['mine.log'])
        self.assertTrue(os.path.exists(os.path.join(self.path, 'notes.txt')))

    def test_state_of_old_shards_goes(self):
        folder = self.prepared()
        for name in ('shard-0', 'shard-12', 'mine'):
            os.makedirs(os.path.join(folder.state_of(name), 'deep'))
        folder.release()
        self.prepared()
        self.assertEqual(os.listdir(folder.state), ['mine'])

    def test_link_to_lockstepctl_is_made_anew_but_no_file_is_lost(self):
        folder = self.prepared()
        for program in ('/bin/false', '/bin/true'):
            self.assertEqual(folder.link_ctl(program), folder.ctl)
            self.assertEqual(os.readlink(folder.ctl), program)
        os.unlink(folder.ctl)
        write_json(folder.ctl, {})
        self.assertEqual(folder.link_ctl('/bin/true'), '/bin/true')
        self.assertFalse(os.path.islink(folder.ctl))

    def test_paths_are_shown_as_one_types_them(self):
        self.assertEqual(shown(os.path.join(os.getcwd(), 'run', 'endpoint')), 'run/endpoint')
        self.assertEqual(shown('/proc/x'), '/proc/x')

    def test_results_of_others_are_not_touched(self):
        os.makedirs(self.path)
        write_json(os.path.join(self.path, 'summary.json'), {})
        with self.assertRaisesRegex(FolderError, 'summary.json, which train-local did not write'):
            RunFolder(self.path).prepare()

    def test_folder_in_use_is_refused(self):
        self.prepared()
        with self.assertRaisesRegex(FolderError, f'process {os.getpid()}'):
            RunFolder(self.path).prepare()

    def test_unusable_folder_is_explained(self):
        with self.assertRaisesRegex(FolderError, '--out'):
            RunFolder('/proc/nothing/here').prepare()

    def test_torn_json_is_none(self):
        path = os.path.join(self.temporary.name, 'torn.json')
        self.assertIsNone(read_json(path))
        with open(path, 'w') as file:
            file.write('{"a": ')
        self.assertIsNone(read_json(path))

    def test_last_lines_of_a_log(self):
        path = os.path.join(self.temporary.name, 'log')
        with open(path, 'w') as file:
            file.write('one\ntwo\n\nthree\n')
        self.assertEqual(last_lines(path, 2), ['two', 'three'])
        self.assertEqual(last_lines(path + 'x', 2), [])


class MetricsTest(unittest.TestCase):

    def setUp(self):
        self.file = tempfile.NamedTemporaryFile(mode='w', suffix='.jsonl')
        self.addCleanup(self.file.close)
        self.metrics = Metrics(self.file.name)

    def append(self, text):
        self.file.write(text)
        self.file.flush()
        self.metrics.poll()

    def line(self, number, **values):
        entry = {'round': number, 'seconds': 0.5, 'samples_per_second': 100.0, **values}
        return json.dumps(entry) + '\n'

    def test_half_a_line_waits_for_the_rest(self):
        self.append(self.line(1) + '{"round": 2, ')
        self.assertEqual(self.metrics.last['round'], 1)
        self.append('"loss": 0.5}\n')
        self.assertEqual(self.metrics.last, {'round': 2, 'loss': 0.5})

    def test_torn_lines_are_skipped(self):
        self.append('{"rou' + self.line(1) + 'null\n' + self.line(2))
        self.assertEqual(self.metrics.last['round'], 2)

    def test_accuracy_is_the_newest_measured(self):
        self.append(self.line(1, accuracy=0.5) + self.line(2, accuracy=None))
        self.assertEqual(self.metrics.accuracy, 0.5)

    def test_speed_starts_again_with_the_run(self):
        self.append(self.line(1) + self.line(2) + self.line(1, samples_per_second=300.0))
        self.assertEqual(self.metrics.samples_per_second(), 300.0)

    def test_file_written_anew_is_read_from_its_beginning(self):
        self.append(self.line(1) + self.line(2) + self.line(3))
        with tempfile.TemporaryDirectory() as folder:
            other = os.path.join(folder, 'metrics.jsonl')
            with open(other, 'w') as file:
                file.write(self.line(1))
            os.rename(other, self.file.name)
        self.metrics.poll()
        self.assertEqual(self.metrics.last['round'], 1)
        self.assertEqual(self.metrics.samples_per_second(), 100.0)

    def test_missing_file_is_no_round(self):
        metrics = Metrics('/no/such/file')
        metrics.poll()
        self.assertIsNone(metrics.samples_per_second())


class ProgressTest(unittest.TestCase):

    def test_training_says_all_there_is(self):
        metrics = {'round': 118, 'loss': 0.41234, 'samples_per_second': 48200.0}
        self.assertEqual(progress_line(metrics, 0.861, {'state': 'training'}, 3525, 0),
                         'round 118/3525  loss 0.4123  accuracy 0.8610  48.2k samples/s')

    def test_who_is_waited_for_is_named(self):
        status = {'state': 'training', 'waiting_for': [
            {'rank': 2, 'name': 'worker-2', 'since_seconds': 1.5},
            {'rank': 3, 'name': 'worker-3', 'since_seconds': 8.24},
            {'rank': 1, 'name': 'worker-1', 'since_seconds': 0.01}]}
        self.assertEqual(waiting_for(status), ['waits 8.2 s for rank 3 (worker-3) and 1 more'])
        self.assertIn('round 0  waits 8.2 s for', progress_line({}, None, status, None, 2))

    def test_nameless_ranks_and_shards(self):
        rank = {'rank': 0, 'name': '', 'since_seconds': 2}
        shard = {'shard': 1, 'name': 'h:1', 'since_seconds': 2}
        self.assertEqual(waiting_for({'waiting_for': [rank]}), ['waits 2.0 s for rank 0'])
        self.assertEqual(waiting_for({'waiting_for': [shard]}), ['waits 2.0 s for shard 1'])

    def test_before_the_first_round_the_state_is_shown(self):
        self.assertEqual(progress_line({}, None, {'state': 'waiting_for_workers'}, None, 0),
                         'round 0  waiting for workers')
        self.assertEqual(progress_line({}, None, {}, 10, 0), 'round 0/10')

    def test_restarts_and_runs_are_told_apart(self):
        self.assertEqual(progress_line({'round': 5}, None, {}, 10, 1, runs=2), 'round 5/10  restarts 1  runs 2')
        self.assertEqual(progress_line({'round': 5}, None, {}, 10, 0, runs=1), 'round 5/10')

    def test_events_fit_the_terminal(self):
        stream = io.StringIO()
        stream.isatty = lambda: True
        with unittest.mock.patch.dict(os.environ, {'COLUMNS': '60', 'TERM': 'xterm'}):
            Display(stream).say('rank 1 holds the run up: ' + 'word ' * 20, elapsed=3.0)
        lines = stream.getvalue().splitlines()
        self.assertGreater(len(lines), 2)
        self.assertTrue(all(len(line) <= 60 for line in lines), lines)
        self.assertTrue(all(line.startswith(' ' * 10 + 'word') for line in lines[1:]), lines)

    def test_short_numbers(self):
        self.assertEqual([short_number(n) for n in (812.4, 48200, 3.1e6)], ['812', '48.2k', '3.1M'])


class HoldUpsTest(unittest.TestCase):

    def test_said_once_and_taken_back_once(self):
        hold_ups = HoldUps()

        def news(*waits):
            waiting = [{'rank': rank, 'name': f'worker-{rank}', 'since_seconds': seconds, 'reason': 'silent'}
                       for rank, seconds in waits]
            status = {'version': 7, 'lease_seconds': 5.0, 'waiting_for': waiting}
            return hold_ups.news(status, lambda entry: f'silent; kill {entry["rank"]}')

        self.assertEqual(news((2, 4.0)), [])
        self.assertEqual(news((2, 5.5)), ['rank 2 (worker-2) holds the run up: silent; kill 2'])
        self.assertEqual(news((2, 6.5), (3, 1.0)), [])
        self.assertEqual(news(), ['rank 2 (worker-2) no longer holds the run up, after 6 s'])
        self.assertEqual(news(), [])

    def test_rank_that_loses_its_holder_is_the_same_hold_up(self):
        hold_ups = HoldUps()

        def news(name, seconds, explanation):
            waiting = [{'rank': 1, 'name': name, 'since_seconds': seconds}] if seconds else []
            status = {'version': 7, 'lease_seconds': 5.0, 'waiting_for': waiting}
            return hold_ups.news(status, lambda entry: explanation)

        self.assertEqual(news('worker-1', 6.0, 'silent'), ['rank 1 (worker-1) holds the run up: silent'])
        self.assertEqual(news('', 7.0, 'nobody holds this rank'), [])
        self.assertEqual(news('', 0, ''), ['rank 1 (worker-1) no longer holds the run up, after 7 s'])
        self.assertEqual(news('', 8.0, None), [], 'it is being seen to')
        self.assertEqual(news('', 0, ''), [])

    def test_live_workers_are_not_blamed_for_others(self):
        shard = {'shard': 1, 'name': 'h:1', 'since_seconds': 6.0, 'reason': 'silent'}
        live = {'rank': 0, 'name': 'worker-0', 'since_seconds': 9.0, 'reason': 'alive'}
        lost = {'rank': 1, 'name': 'worker-1', 'since_seconds': 7.0, 'reason': 'lost'}
        workers = [{'rank': 0, 'state': 'active'}, {'rank': 1, 'state': 'lost'}]

        def blamed(*entries):
            status = {'version': 7, 'lease_seconds': 5.0, 'workers': workers, 'waiting_for': list(entries)}
            return [line.split(' holds')[0] for line in HoldUps().news(status, lambda entry: 'advice')]

        self.assertEqual(blamed(live, shard), ['shard 1'])
        self.assertEqual(blamed(live, lost), ['rank 1 (worker-1)'])
        self.assertEqual(blamed(live), ['rank 0 (worker-0)'])

    def test_loading_data_is_no_hold_up(self):
        waiting = [{'rank': 0, 'name': '', 'since_seconds': 9.0}]
        self.assertEqual(HoldUps().news({'version': None, 'lease_seconds': 5.0, 'waiting_for': waiting}, str), [])


class BuildTest(unittest.TestCase):
    """With a Bazel that only talks."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = temporary.name
        self.log = os.path.join(self.root, 'build.log')
        self.script('deploy/install-deps', 'true')
        for path in build._IN_BAZEL_BIN:
            self.script(path, 'true')
        self.stream = io.StringIO()

    def script(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as file:
            file.write(f'#!/bin/sh\n{text}\n')
        os.chmod(path, 0o755)
        return path

    def build(self, says):
        bazel = self.script('bazel', f'echo "INFO: noise" >&2; if [ $1 = info ]; then echo {self.root}; else {says}; fi')
        changes = {'LOCKSTEP_BAZEL': bazel, 'LOCKSTEP_BAZEL_FLAGS': '', 'LOCKSTEP_BIN_DIR': ''}
        with unittest.mock.patch.dict(os.environ, changes), unittest.mock.patch.object(build, 'ROOT', self.root):
            return build.programs(True, Display(self.stream), self.log, lambda: False)

    def test_noise_goes_to_the_log(self):
        self.assertTrue(self.build('echo "[3 / 1,024] Compiling" >&2').ctl.endswith('lockstepctl'))
        self.assertEqual(self.stream.getvalue(), 'building; the first time takes minutes\n')
        with open(self.log) as file:
            self.assertIn('INFO: noise', file.read())
        self.assertEqual(build.progress(self.log), 'building: 3 of 1,024 steps')

    def test_failure_shows_the_end_of_the_log(self):
        with self.assertRaisesRegex(build.BuildError, 'x.cc:3: wrong'):
            self.build('echo "x.cc:3: wrong" >&2; exit 1')

    def test_before_bazel_counts(self):
        self.assertIn('building', build.progress('/no/such/file'))


class ReportTest(unittest.TestCase):

    def test_summary_has_what_is_promised(self):
        facts = {'fingerprint': 'f' * 32, 'restarts': 3, 'runs': 1, 'wall_seconds': 41.23456,
                 'samples_per_second': 50000.0}
        outcome = summary(options.parse([]), {'run_id': 'r', 'rounds': 5, 'version': 5}, facts)
        for key in ('run_id', 'workers', 'shards', 'rounds', 'version', 'generation', 'train_loss',
                    'test_accuracy', 'fingerprint', 'restarts', 'wall_seconds', 'seed', 'dataset',
                    'model', 'optimizer', 'samples_per_second'):
            self.assertIn(key, outcome)
        text = report(outcome, {'worker-1': 2, 'shard-0': 0, 'worker-3': 1}, '/run')
        self.assertIn('3 (worker-1 x2, worker-3)', text)
        self.assertIn('50,000 samples/s', text)
        self.assertNotIn('runs ', text)
        one = report({**outcome, 'workers': 1, 'shards': 1, 'runs': 2}, {}, '/run')
        self.assertIn('1 worker, 1 shard\n', one)
        self.assertIn('runs           2', one)


if __name__ == '__main__':
    unittest.main()
