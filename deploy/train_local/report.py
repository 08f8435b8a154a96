"""What is left of a run: summary.json and the report at the end. Pure."""


def summary(options, result, facts):
    """`result` is what rank 0 says of the training, `facts` what train-local saw of it."""
    return {
        'run_id': result.get('run_id'),
        'workers': result.get('workers', options.workers),
        'shards': result.get('shards', options.shards),
        'rounds': result.get('rounds'),
        'version': result.get('version'),
        'generation': result.get('generation'),
        'train_loss': result.get('train_loss'),
        'test_accuracy': result.get('test_accuracy'),
        'fingerprint': facts['fingerprint'],
        'restarts': facts['restarts'],
        'runs': facts['runs'],
        'wall_seconds': round(facts['wall_seconds'], 3),
        'samples_per_second': facts['samples_per_second'],
        'seed': options.seed,
        'dataset': options.dataset,
        'model': options.model,
        'optimizer': options.optimizer,
        'lr': options.lr,
        'batch': options.batch,
    }


def report(summary_, restarts_by_name, folder):
    """For people, several lines."""
    lines = [
        f'training completed in {summary_["wall_seconds"]:.1f} s',
        '',
        f'  test accuracy  {_number(summary_["test_accuracy"])}',
        f'  train loss     {_number(summary_["train_loss"])}',
        f'  rounds         {summary_["rounds"]} (version {summary_["version"]}, '
        f'generation {summary_["generation"]})',
        f'  fingerprint    {summary_["fingerprint"]}',
        f'  processes      {count(summary_["workers"], "worker")}, {count(summary_["shards"], "shard")}',
        f'  restarts       {_restarts(summary_["restarts"], restarts_by_name)}',
    ]
    if summary_['runs'] > 1:
        lines.append(f'  runs           {summary_["runs"]}: it started again from the beginning')
    if summary_['samples_per_second']:
        lines.append(f'  speed          {summary_["samples_per_second"]:,.0f} samples/s')
    lines.append(f'  results        {folder}: summary.json, model.safetensors, metrics.jsonl, '
                 'logs/')
    return '\n'.join(lines)


def count(number, noun):
    """"1 worker", "2 workers"."""
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'


def _number(value):
    return f'{value:.4f}' if isinstance(value, (int, float)) else '-'


def _restarts(total, by_name):
    if not total:
        return '0'
    each = (f'{name} x{count}' if count > 1 else name for name, count in by_name.items() if count)
    return f'{total} ({", ".join(each)})'
