"""Who holds the run up for long: said once when it begins, with what to do, and once when it is over. Pure."""

from progress import culprits, who

STARTUP_SECONDS = 15.0  # before there is a version: workers load their data


class HoldUps:

    def __init__(self):
        self._known = {}  # shard or rank -> (how it was called, how long it was waited for when last seen)

    def news(self, status, explain):
        """Lines to say. `explain(entry)` is why an entry of waiting_for holds the run up and what to do about it; None if
        that is being done and needs no word."""
        limit = STARTUP_SECONDS if status.get('version') is None else status.get('lease_seconds', 5.0)
        entries = {_place(entry): entry for entry in culprits(status)}
        lines = [f'{name} no longer holds the run up, after {seconds:.0f} s'
                 for place, (name, seconds) in self._known.items() if place not in entries]
        known = {}
        for place, entry in entries.items():
            name, _ = self._known.get(place, (None, 0.0))
            if name is None and entry['since_seconds'] >= limit:
                explanation = explain(entry)
                if explanation is not None:
                    name = who(entry)
                    lines.append(f'{name} holds the run up: {explanation}')
            if name is not None:
                known[place] = (name, entry['since_seconds'])
        self._known = known
        return lines


def _place(entry):
    """The same for whoever holds it, and for nobody."""
    return ('shard', entry['shard']) if 'shard' in entry else ('rank', entry.get('rank'))
