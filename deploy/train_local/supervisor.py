"""Starts the processes of a run, restarts those that die, and knows when the training is over.

    shard 0 starts --> its address --> DIR/endpoint --> the other shards and the workers start
         each process:  due --> running --> done            (exit 0)
                         ^         |-----> due              (killed, or asks to be restarted)
                         |         |-----> fenced --> due   (once nobody else holds its rank)

The run is over when a shard has ended with 0 (the coordinator said: done), or every worker has.
From then on nothing is restarted, and what still runs gets GRACE seconds to end by itself.

A shard that dies comes back alone. With a journal it has its part of the model again and the run goes on. Without one the
run fails: every process ends with EXIT_RETRY and is restarted. With a journal a failed run (EXIT_RETRY of shard 0, which
hosts the coordinator) is started over as a whole: all processes end, what the shards kept is removed, all start.
A run that was started anew needs all its workers again, those that were done with the run before included.

Thread-safety: none; `step` is called a few times a second and never blocks.
"""

import os
import signal
import time

import commands
from holdups import HoldUps
from process import Process, State
from restart_policy import (EXIT_FENCED, EXIT_INTERNAL, EXIT_RETRY, Action, Verdict, describe,
                            place_is_free)
from run_folder import last_lines, read_text, write_json, write_whole

SAYS_STOPPED = 'stopped, as it was asked to'  # a shard that ended with 0 although the run goes on

GRACE = 15.0  # to end by themselves, once the run is over
TERM_SECONDS = 3.0  # to end after SIGTERM
STARTUP_SECONDS = 30.0  # for shard 0 to listen
RUN_END_SECONDS = 2.0  # to end by themselves, once the run has failed
SHARD_LOSS_SECONDS = 10.0  # after a shard's death: all others end too, and that is no news


class Stop(Exception):
    """The training cannot go on. `exit_code` is for train-local; the message says why."""

    def __init__(self, exit_code, message):
        super().__init__(message)
        self.exit_code = exit_code


class Supervisor:
    """`say` takes what people must know, `note` what they may want to."""

    def __init__(self, options, programs, folder, say, note):
        self._options = options
        self._folder = folder
        self._say = say
        self._note = note
        self._over_since = None
        self._run_id = None
        self._hold_ups = HoldUps()
        self._shard_died = float('-inf')
        self._run_failed = None  # when, while the run is being started over
        self._seated = {}  # worker -> since when the life that it has now has been seen to hold its rank
        self._replaced = set()  # workers killed to have them replaced
        self._written_pids = None
        self.endpoint = ''
        self.status = {}
        self.runs = 0
        self.shards = [self._shard(programs, index) for index in range(options.shards)]
        self.workers = [self._worker(programs, rank) for rank in range(options.workers)]

    @property
    def processes(self):
        return self.shards + self.workers

    @property
    def restarts(self):
        return sum(process.restarts for process in self.processes)

    def _shard(self, programs, index):
        name = commands.shard_name(index)

        def command():
            bind = read_text(self._folder.address_file(name))
            return commands.shard_command(self._options, programs, self._folder, index, bind,
                                          self.endpoint)

        return Process(name, command, self._folder.log_file(name))

    def _worker(self, programs, rank):
        name = commands.worker_name(rank)

        def command():
            return commands.worker_command(self._options, programs, self._folder, rank,
                                           self.endpoint)

        return Process(name, command, self._folder.log_file(name))

    # ---- running ----

    def step(self, now):
        """Looks once at everything. Returns True when the run is over and nothing runs any more.

        Raises Stop when the training cannot go on.
        """
        for process in self.processes:
            self._notice_end(process, now)
        self._start_over(now)
        self._start_due(now)
        self._find_endpoint(now)
        self._write_pids()
        return self._is_finished(now)

    def take_status(self, asked, status):
        """An answer of lockstepctl to a question of time `asked`."""
        self.status = status
        self.take_run(status.get('run_id'))
        for rank, worker in enumerate(self.workers):
            is_news = worker.state is State.FENCED and asked > worker.ended
            if is_news and place_is_free(status, rank):
                self._note(f'{worker.name}: rank {rank} is free again; restarting')
                worker.restart_at(max(worker.due, asked))
        if self._over_since is None:
            self._replace_evicted(asked, status)
            for line in self._hold_ups.news(status, lambda entry: self._explain(entry, asked)):
                self._say(line)

    def _replace_evicted(self, asked, status):
        """A stopped process does not notice that it was evicted, and so does not make way for its replacement."""
        for place in status.get('workers', []):
            worker = self.workers[place['rank']]
            if worker.state is not State.RUNNING or asked <= worker.started:
                continue
            if place.get('state') != 'absent':
                self._seated[worker] = worker.started
            elif self._seated.get(worker) == worker.started and worker.is_stopped():
                self._say(f'{worker.name} lost rank {place["rank"]} while its process {worker.pid} was stopped: killing '
                          'that process and starting a replacement')
                self._replaced.add(worker)
                worker.send(signal.SIGKILL)

    def _explain(self, entry, asked):
        """Why somebody holds the run up and what to do about it; None if that is being done."""
        is_shard = 'shard' in entry
        process = self.shards[entry['shard']] if is_shard else self.workers[entry['rank']]
        if process.pid is None or process in self._replaced:
            return None
        if asked - process.started < self.status.get('lease_seconds', 5.0):
            return None  # it is on its way
        reason = entry.get('reason', '').split(';')[0].removesuffix(': start a worker')  # we know better what to do
        replace = '' if is_shard else f', "kill -9 {process.pid}" has it replaced'
        if process.is_stopped():
            return f'{reason}; its process is stopped: "kill -CONT {process.pid}" lets it go on{replace}'
        return f'{reason}; its process {process.pid} runs: see {process.log_path}{replace}'

    def take_run(self, run_id):
        """What run the processes belong to, as one of them says. Several in a row count as one."""
        if not run_id or run_id == self._run_id:
            return
        self.runs += 1
        if self._run_id is not None:
            self._say(f'a new run has begun (run {run_id}): training starts again from the '
                      'beginning, with the same seed and so to the same bits')
            self._call_back_workers()
        self._run_id = run_id

    def _call_back_workers(self):
        """Those that were done before shard 0, and with it the new run, was started."""
        began = self.shards[0].started
        for worker in self.workers:
            if worker.state is State.DONE and worker.ended < began and self._over_since is None:
                self._note(f'{worker.name} was done with the run before; restarting')
                worker.restart_at(began, counts=False)

    def _notice_end(self, process, now):
        end = process.poll(now)
        if end is None:
            return
        exit_code, lived = end
        self._note(f'{process.name} {describe(exit_code)} after {lived:.1f} s')
        verdict = process.policy.judge(exit_code, lived)
        if process in self.shards and exit_code == 0 and SAYS_STOPPED in ''.join(last_lines(process.log_path, 1)):
            process.state = State.ENDED  # somebody's SIGTERM, not the end of the run
            verdict = Verdict(Action.RESTART)
        if self._is_over(now) or verdict.action is Action.DONE:
            return
        if verdict.action is Action.STOP_ALL:
            raise Stop(verdict.exit_code, self._obituary(process, exit_code))
        if commands.is_durable(self._options):
            self._notice_failure(process, exit_code, now)
        elif process in self.shards and exit_code != EXIT_RETRY:
            self._shard_died = now
        with_the_run = self._run_failed is not None or (exit_code in (EXIT_RETRY, EXIT_FENCED) and
                                                        now - self._shard_died < SHARD_LOSS_SECONDS)
        process.restart_at(now + verdict.pause, counts=not with_the_run and exit_code != EXIT_RETRY)
        if verdict.action is Action.FENCED and process in self.workers:
            process.state = State.FENCED
        if not with_the_run and process not in self._replaced:
            self._announce(process, exit_code, verdict)
        self._replaced.discard(process)

    def _notice_failure(self, process, exit_code, now):
        """Shard 0 hosts the coordinator, whose word it is that the run has failed."""
        if process is not self.shards[0] or exit_code != EXIT_RETRY or self._run_failed is not None:
            return
        self._run_failed = now
        lines = last_lines(process.log_path, 1)
        self._say('*** THE RUN HAS FAILED: all processes start again and train from the beginning (same seed, same bits)' +
                  (f'. {process.name} said last: {lines[0]}' if lines else ''))

    def _start_over(self, now):
        """Once nothing runs any more: without what shards have kept, which is of the run that failed."""
        if self._run_failed is None:
            return
        running = [process for process in self.processes if process.state is State.RUNNING]
        if running:
            if now - self._run_failed > RUN_END_SECONDS:
                for process in running:
                    process.send(signal.SIGKILL)
            return
        self._folder.remove_state()
        self._run_failed = None
        for process in self.processes:
            process.restart_at(max(process.due, now), counts=False)

    def _announce(self, process, exit_code, verdict):
        if process.state is State.FENCED:
            self._say(f'{process.name} {describe(exit_code)}; it comes back when the rank is free')
            return
        pause = f' in {verdict.pause:.1f} s' if verdict.pause else ''
        self._say(f'{process.name} {describe(exit_code)}; restarting it{pause}')
        if process not in self.shards or exit_code == EXIT_RETRY:
            return
        if commands.is_durable(self._options):
            self._say(f'{process.name} comes back with its part of the model from {self._folder.state_of(process.name)}; '
                      'the others wait for it')
        else:
            self._say(f'*** {process.name.upper()} DIED, AND ITS PART OF THE MODEL WITH IT: if the '
                      'run had begun, all processes start again and train from the beginning '
                      '(same seed, same bits)')

    def _obituary(self, process, exit_code):
        lines = [f'{process.name} {describe(exit_code)}, so training cannot go on. '
                 f'The end of {process.log_path}:']
        return '\n  '.join(lines + (last_lines(process.log_path, 6) or ['(the log is empty)']))

    def _start_due(self, now):
        if self._over_since is not None or self._run_failed is not None:
            return
        for process in self.processes:
            can_start = self.endpoint or process is self.shards[0]
            if process.state is State.DUE and process.due <= now and can_start:
                process.start(now)
                self._note(f'started {process.name} as process {process.pid}')

    def _find_endpoint(self, now):
        if self.endpoint:
            return
        first = self.shards[0]
        self.endpoint = read_text(self._folder.address_file(first.name))
        if self.endpoint:
            write_whole(self._folder.endpoint, self.endpoint + '\n')
            self._start_due(now)
        elif first.state is State.RUNNING and now - first.started > STARTUP_SECONDS:
            raise Stop(EXIT_INTERNAL, f'{first.name} has not said where it listens within '
                       f'{STARTUP_SECONDS:.0f} s; see {first.log_path}')

    # ---- the end ----

    def _is_over(self, now):
        done = any(shard.state is State.DONE for shard in self.shards)
        done = done or all(worker.state is State.DONE for worker in self.workers)
        if done and self._over_since is None:
            self._over_since = now
        return self._over_since is not None

    def _is_finished(self, now):
        if not self._is_over(now):
            return False
        running = [process for process in self.processes if process.state is State.RUNNING]
        if running and now - self._over_since > GRACE:
            names = ', '.join(process.name for process in running)
            self._say(f'the run is over, but still running: {names}; stopping')
            return True
        return not running

    def _write_pids(self):
        pids = {process.name: process.pid for process in self.processes if process.pid}
        if pids != self._written_pids:
            write_json(self._folder.pids, {'supervisor': os.getpid(), **pids})
            self._written_pids = pids

    def stop_all(self, hurry):
        """Ends every process: SIGTERM, and SIGKILL if that does not help (or `hurry()` says so)."""
        for process in self.processes:
            process.send(signal.SIGTERM)
            process.send(signal.SIGCONT)
        deadline = time.monotonic() + TERM_SECONDS
        while self._reap() and time.monotonic() < deadline and not hurry():
            time.sleep(0.02)
        while self._reap():
            for process in self.processes:
                process.send(signal.SIGKILL)
            time.sleep(0.01)
        write_json(self._folder.pids, {})

    def _reap(self):
        now = time.monotonic()
        for process in self.processes:
            process.poll(now)
        return any(process.state is State.RUNNING for process in self.processes)
