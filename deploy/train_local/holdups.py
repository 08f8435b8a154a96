"""Who holds the run up for long: said once when it begins, with what to do, and once when it is over. Pure."""

from progress import culprits, who

STARTUP_SECONDS = 15.0  # before there is a version: workers load their data


class HoldUps:

    def __init__(self):
        self._known = {}  # who -> how long it was waited for when last seen

    def news(self, status, advice):
        """Lines to say. `advice(entry)` is what to do about an entry of waiting_for."""
        limit = STARTUP_SECONDS if status.get('version') is None else status.get('lease_seconds', 5.0)
        late = {who(entry): entry for entry in culprits(status)
                if entry['since_seconds'] >= limit or who(entry) in self._known}
        lines = [f'{name} no longer holds the run up, after {seconds:.0f} s'
                 for name, seconds in self._known.items() if name not in late]
        lines += [f'{name} holds the run up: {entry.get("reason", "")}; {advice(entry)}'
                  for name, entry in late.items() if name not in self._known]
        self._known = {name: entry['since_seconds'] for name, entry in late.items()}
        return lines
