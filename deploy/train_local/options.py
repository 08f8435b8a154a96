"""The command line of train-local, checked before anything is started."""

import argparse
import dataclasses
import difflib
import math
import os
import re
import sys
from typing import Optional

import defaults

EXIT_USAGE = 64


@dataclasses.dataclass(frozen=True)
class Options:
    """What to train and how. Of `rounds` and `epochs` one is set; all else has a value."""
    workers: int
    shards: int
    dataset: str  # a name, or an absolute path (or two with a comma)
    model: str
    optimizer: str
    lr: float
    batch: int
    rounds: Optional[int]
    epochs: Optional[int]
    total_rounds: Optional[int]  # as far as it can be known
    schedule: str
    seed: int
    lease: str
    durability: str  # journal, checkpoint or memory
    fsync: str  # of the journal: never or round
    checkpoint_rounds: int  # 0: as the servers choose
    checkpoint_interval: Optional[str]
    keep_checkpoints: int
    checkpoint_dir: str  # absolute
    restore: Optional[str]  # absolute, or latest
    delay_max: float
    out: str  # absolute
    build: bool
    verbose: bool


class _Parser(argparse.ArgumentParser):
    """Exits with 64 for wrong usage, as all programs of Lockstep do."""

    def error(self, message):
        self.print_usage(sys.stderr)
        if message.startswith('unrecognized'):
            message += self._guess(message)
        self.exit(EXIT_USAGE, f'train-local: {message}\n')

    def _guess(self, message):
        for word in message.split():
            near = difflib.get_close_matches(word.split('=')[0], self._option_string_actions, 1)
            if word.startswith('--') and near:
                return f'; did you mean {near[0]}?'
        return ''


def _integer(low, high):
    def convert(text):
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'expected a whole number, got {text!r}')
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f'expected {low} to {high}, got {value}')
        return value

    return convert


def _number(at_least, excluded):
    def convert(text):
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'expected a number, got {text!r}')
        if not math.isfinite(value) or value < at_least or (excluded and value == at_least):
            bound = 'more than' if excluded else 'at least'
            raise argparse.ArgumentTypeError(f'expected {bound} {at_least:g}, got {text}')
        return value

    return convert


def _lease(text):
    match = re.fullmatch(r'(\d+(?:\.\d+)?)(ms|s|m|h|)', text)
    milliseconds = {'ms': 1, 's': 1000, '': 1000, 'm': 60000, 'h': 3600000}
    if not match or not 500 <= float(match.group(1)) * milliseconds[match.group(2)] <= 3600000:
        raise argparse.ArgumentTypeError(
            f'expected a duration of at least 500ms and at most 1h, such as 5s, but got {text!r}')
    return text if match.group(2) else text + 's'


def _dataset(text):
    if text in defaults.RECIPES:
        return text
    paths = [os.path.abspath(path) for path in text.split(',')]
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        known = ', '.join(sorted(defaults.RECIPES))
        raise argparse.ArgumentTypeError(
            f'{missing[0]} does not exist; expected {known}, a directory with IDX files, '
            f'a .csv file, or IMAGES,LABELS')
    return ','.join(paths)


def _restore(given):
    if given.restore is None or given.restore == 'latest':
        return given.restore
    return os.path.abspath(given.restore)


def _check(parser, given):
    """What no single option shows."""
    if given.durability == 'memory' and (given.restore or given.checkpoint_dir):
        parser.error('--restore and --checkpoint-dir need shards that keep something: not --durability memory')
    if given.restore == 'latest' and not given.checkpoint_dir:
        parser.error('--restore latest is the newest checkpoint of --checkpoint-dir, which is not given')
    if given.restore not in (None, 'latest') and not os.path.exists(given.restore):
        parser.error(f'--restore: {given.restore} does not exist')


def _parser():
    parser = _Parser(
        prog='train-local', allow_abbrev=False,
        description='Trains a real model on this machine with real shard and worker processes, '
        'which it builds, starts, watches and restarts.',
        epilog='Exit codes: 0 training completed; 64 wrong usage; 65 damaged data; 70 it could '
        'not be completed; 130 stopped by a signal.')
    add = parser.add_argument
    add('--workers', type=_integer(1, 1024), default=defaults.WORKERS, metavar='N',
        help='worker processes (%(default)s)')
    add('--shards', type=_integer(1, 1024), default=defaults.SHARDS, metavar='S',
        help='shard processes (%(default)s)')
    add('--dataset', type=_dataset, default='fashion-mnist', metavar='fashion-mnist|digits|PATH',
        help='what to learn (%(default)s)')
    add('--model', choices=['softmax', 'mlp'], help='(mlp)')
    add('--optimizer', choices=sorted(defaults.LEARNING_RATES),
        help='(adam for fashion-mnist, momentum for digits)')
    add('--lr', type=_number(0, True), metavar='X', help='learning rate (suits the optimizer)')
    add('--batch', type=_integer(1, 1 << 20), metavar='B', help='samples per worker and round')
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--rounds', type=_integer(1, 1 << 40), metavar='R', help='rounds to train')
    length.add_argument('--epochs', type=_integer(1, 1 << 20), metavar='E',
                        help='or passes over the data (15 for fashion-mnist)')
    add('--seed', type=_integer(0, (1 << 64) - 1), default=defaults.SEED, metavar='X',
        help='same seed, same bits (%(default)s)')
    add('--out', default='run', metavar='DIR', help='where results and logs go (%(default)s)')
    add('--lease', type=_lease, default=defaults.LEASE, metavar='TIME',
        help='how long a worker is believed alive after its last heartbeat (%(default)s)')
    add('--durability', choices=['journal', 'checkpoint', 'memory'], default=defaults.DURABILITY,
        help='where shards keep their part of the model: each round in DIR/state too, so that one that dies comes back '
        'with it; in checkpoints, so that the run goes back to the newest one; or in memory alone, so that all start '
        'again (%(default)s)')
    add('--checkpoint-rounds', type=_integer(1, 1 << 40), default=0, metavar='R',
        help='a checkpoint every R rounds (as the shards choose)')
    add('--checkpoint-interval', metavar='TIME', help='and a checkpoint so long after the one before, such as 10m (none)')
    add('--keep-checkpoints', type=_integer(1, 1000), default=defaults.KEEP_CHECKPOINTS, metavar='K',
        help='how many checkpoints stay (%(default)s)')
    add('--checkpoint-dir', metavar='DIR', help='where checkpoints go; they outlive the run there (DIR/state/checkpoints)')
    add('--restore', metavar='PATH',
        help='begin with this: the folder of a checkpoint, a folder of checkpoints (the newest whole one), "latest" (the '
        'same of --checkpoint-dir), or a .safetensors file with the tensors of the model')
    add('--fsync', choices=['never', 'round'], default=defaults.FSYNC,
        help='when the journal is forced to disk: never outlives processes, round this machine too (%(default)s)')
    add('--delay-max', type=_number(0, False), default=0.0, metavar='SECONDS',
        help='workers sleep a random time up to this before each contribution (0)')
    add('--no-build', action='store_true', help='use the programs that were built last')
    add('--verbose', action='store_true', help='debug logs in DIR/logs, and say what is started')
    return parser


def parse(arguments):
    """Options from a command line. Exits with 64 and a message if it makes no sense."""
    parser = _parser()
    given = parser.parse_args(arguments)
    _check(parser, given)
    recipe = defaults.recipe_for(given.dataset)
    optimizer = given.optimizer or recipe.optimizer
    batch = given.batch or recipe.batch
    epochs = None if given.rounds else given.epochs or recipe.epochs
    total = given.rounds or defaults.rounds_of(recipe.training_samples, given.workers, batch,
                                               epochs)
    return Options(
        workers=given.workers, shards=given.shards, dataset=given.dataset,
        model=given.model or recipe.model, optimizer=optimizer,
        lr=given.lr or defaults.LEARNING_RATES[optimizer], batch=batch, rounds=given.rounds,
        epochs=epochs, total_rounds=total, schedule=recipe.schedule if total else 'constant',
        seed=given.seed, lease=given.lease,
        durability=given.durability, fsync=given.fsync, checkpoint_rounds=given.checkpoint_rounds,
        checkpoint_interval=given.checkpoint_interval, keep_checkpoints=given.keep_checkpoints,
        checkpoint_dir=os.path.abspath(given.checkpoint_dir) if given.checkpoint_dir else '',
        restore=_restore(given), delay_max=given.delay_max,
        out=os.path.abspath(given.out), build=not given.no_build, verbose=given.verbose)
