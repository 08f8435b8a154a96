"""How to train when the command line does not say: the one place for these numbers.

Where they come from: worker/trainer/README.md, "Settings that train well".
"""

import dataclasses
import math
from typing import Optional


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings that train one kind of data set well."""
    model: str
    optimizer: str
    batch: int  # samples per worker and round
    epochs: int
    schedule: str  # of the learning rate; "cosine" needs to know the number of rounds
    training_samples: Optional[int]  # None: only the workers know


RECIPES = {
    'fashion-mnist': Recipe('mlp', 'adam', 64, 15, 'cosine', 60000),
    'digits': Recipe('mlp', 'momentum', 16, 27, 'constant', 1438),
}
OTHER_DATA = Recipe('mlp', 'adam', 64, 10, 'constant', None)

# Per optimizer, since one that suits the one ruins the other.
LEARNING_RATES = {
    'sgd': 0.1,
    'momentum': 0.1,
    'nesterov': 0.1,
    'adam': 0.005,
    'adamw': 0.005,
    'adagrad': 0.02,
}

# Flags of lockstep-server that an optimizer needs besides --lr.
OPTIMIZER_FLAGS = {
    'momentum': ['--momentum', '0.9'],
    'nesterov': ['--momentum', '0.9'],
}

WORKERS = 4
SHARDS = 2
LEASE = '5s'
DURABILITY = 'journal'
KEEP_CHECKPOINTS = 3
FSYNC = 'never'
SEED = 1


def recipe_for(dataset):
    return RECIPES.get(dataset, OTHER_DATA)


def rounds_of(training_samples, workers, batch, epochs):
    """Rounds in so many passes over the data; None if the size of the data is not known."""
    if training_samples is None:
        return None
    return epochs * math.ceil(training_samples / (workers * batch))
