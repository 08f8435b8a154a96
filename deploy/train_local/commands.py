"""The command lines of the programs that train-local starts. Pure."""

import defaults

LOOPBACK_ANY_PORT = '127.0.0.1:0'


def shard_name(index):
    return f'shard-{index}'


def worker_name(rank):
    return f'worker-{rank}'


def shard_command(options, programs, folder, index, bind, coordinator):
    """`bind` is the address of the shard's life before, so that a restart does not move it."""
    command = [
        programs.server,
        '--shard-index', str(index),
        '--shards', str(options.shards),
        '--workers', str(options.workers),
        '--bind', bind or LOOPBACK_ANY_PORT,
        '--port-file', folder.address_file(shard_name(index)),
        '--lease', options.lease,
        '--log-level', log_level(options),
    ]
    command += durability_flags(options, folder, index)
    if index > 0:
        command += ['--coordinator', coordinator]
    return command + optimizer_flags(options)


def is_durable(options):
    """Does a shard that dies come back, with its part of the model or of a checkpoint?"""
    return options.durability != 'memory'


def durability_flags(options, folder, index):
    if not is_durable(options):
        return ['--durability', options.durability]
    flags = ['--data-dir', folder.state_of(shard_name(index)), '--durability', options.durability,
             '--fsync', options.fsync, '--checkpoint-dir', options.checkpoint_dir or folder.checkpoints,
             '--checkpoint-rounds', str(options.checkpoint_rounds),
             '--keep-checkpoints', str(options.keep_checkpoints)]
    if options.checkpoint_interval:
        flags += ['--checkpoint-interval', options.checkpoint_interval]
    if options.restore:
        flags += ['--restore', options.restore]
    return flags


def optimizer_flags(options):
    flags = ['--optimizer', options.optimizer, '--lr', repr(options.lr)]
    flags += defaults.OPTIMIZER_FLAGS.get(options.optimizer, [])
    flags += ['--schedule', options.schedule]
    if options.schedule == 'cosine':
        flags += ['--schedule-total-rounds', str(options.total_rounds)]
    return flags


def worker_command(options, programs, folder, rank, coordinator):
    command = [
        programs.worker,
        '--coordinator', coordinator,
        '--name', worker_name(rank),
        '--rank', str(rank),
        '--dataset', options.dataset,
        '--model', options.model,
        '--batch', str(options.batch),
        '--seed', str(options.seed),
        '--delay-max', repr(options.delay_max),
        '--log-level', log_level(options),
    ]
    command += length_flags(options)
    if rank == 0:
        command += ['--metrics', folder.metrics, '--save', folder.model, '--result', folder.result]
    return command


def length_flags(options):
    if options.rounds:
        return ['--rounds', str(options.rounds)]
    return ['--epochs', str(options.epochs)]


def log_level(options):
    return 'debug' if options.verbose else 'info'
