"""What subscribers hear, held against what they are promised.

A subscriber hears each publication that is made while it subscribes, in its publisher's order, once; or it is told how many
it missed: with the next one that it hears of that publisher, or when that publisher's stream ends; or, where that end is not heard,
that it may have missed some. What is asked here of each
run of `subscribe`, publisher by publisher, is whether both add up. Where it cannot be known from outside whether one counts,
it may be told or not:

- one of whose end its publisher was told nothing, or that it was not sent;
- one that was handed over around the beginning of the run, or soon before its publisher was killed, or after which its
  publisher was killed before it was heard of again: a crash ends a stream unsaid;
- one of an epoch that had only just ended when the run ended, as the end of a stream is told at a time of its own.
"""

import collections
import time

EPOCH = 60
# What is handed over so soon before or after a run begins may have been under way, or may have waited at its publisher for somebody
# who listens, for up to 3 s; in seconds.
BEGINNING = 4
# What is handed over so soon before its publisher is killed may have gone with it.
LAST = 2
# Clocks are up to 6 s wrong, so that a publisher's epoch turns so much before or after.
TURN = 8
# So long after the turn of an epoch what was missed before it has been told.
TOLD = 60


class Run:
    """One run of `subscribe` at a node."""

    def __init__(self, node):
        self.node, self.began, self.ended = node, time.monotonic(), None
        self.heard = collections.defaultdict(list)    # by publisher: numbers, as they came
        self.told = collections.Counter()             # by publisher: how many it was told that it missed
        self.doubted = {}                             # by publisher: when it was last told that there may be others

    def end(self):
        self.ended = time.monotonic()


class Hearing:
    def __init__(self, promises):
        self.promises = promises
        self.runs = []
        self.made = collections.defaultdict(list)     # by publisher: (number, when it was handed over)
        self.unsure = set()                           # numbers
        self.killed = collections.defaultdict(list)   # by node: when
        self.heard_at = collections.defaultdict(set)  # by node: numbers
        # Between this process's clock and the wall's, by which epochs turn.
        self.wall = time.time() - time.monotonic()

    def begin(self, node):
        run = Run(node)
        self.runs.append(run)
        return run

    def publish(self, publisher, number):
        """A publication is handed over; its end is not known until `published`."""
        self.made[publisher].append((number, time.monotonic()))
        self.unsure.add(number)

    def published(self, number, was_sent):
        if was_sent:
            self.unsure.discard(number)

    def kill(self, node):
        self.killed[node].append(time.monotonic())

    def hear(self, run, publisher, number, lost):
        """A run was handed a publication, or with `number` None told of missed ones alone."""
        run.told[publisher] += lost
        if number is None:
            return
        see = f"log.txt of {run.node}"
        before = run.heard[publisher]
        again, earlier = number in before, number in self.heard_at[run.node]
        what = f"publication {number} of {publisher} was heard again at {run.node}"
        self.promises.look("heard-once", not again, what, see)
        self.promises.look("heard-by-one-run", again or not earlier, f"{what}, by another run of `subscribe`", see)
        after = bool(before) and before[-1] > number
        what = f"publication {number} of {publisher} was heard after {before[-1:]} at {run.node}"
        self.promises.look("heard-in-order", again or not after, what, see)
        self.heard_at[run.node].add(number)
        before.append(number)

    def doubt(self, run, publisher):
        """A run was told that it may have missed others of a publisher as well."""
        run.doubted[publisher] = time.monotonic()

    def check_end(self):
        for run in self.runs:
            for publisher in self.made:
                self.check(run, publisher)

    def check(self, run, publisher):
        made, heard = self.made[publisher], set(run.heard[publisher])
        times = dict(made)
        last = max(heard, default=0)
        ended = run.ended or time.monotonic()
        must, may = [], []
        for number, at in made:
            if number in heard or at < run.began - BEGINNING or at > ended:
                continue
            may.append(number)
            following = min((other for other in heard if other > number), default=None)
            sure = number not in self.unsure and at > run.doubted.get(publisher, 0) and at >= run.began + BEGINNING and number < last and following is not None
            if sure and not self.was_killed(publisher, at, max(at + LAST, times[following])) and self.is_due(at, times[following], ended):
                must.append(number)
        told, see = run.told[publisher], f"log.txt of {run.node} and {publisher}"
        what = f"of {publisher} {must[:8]} were made while {run.node} listened, and not heard there; it was told of {told}, not {len(must)}"
        self.promises.look("heard-or-told", told >= len(must), what, see)
        what = f"{run.node} was told that {told} of {publisher} were missed, and {len(may)} were"
        self.promises.look("told-truly", told <= len(may), what, see)

    def was_killed(self, node, since, until):
        return any(since <= at <= until for at in self.killed[node])

    def is_due(self, at, following, ended):
        """Whether what was missed at that time was to be told by the end of the run."""
        turn = self.turn(at)
        return following < turn - TURN or turn + TOLD < ended

    def turn(self, at):
        """When the epoch of a moment ends, at the latest."""
        wall = at + self.wall
        end = (wall // EPOCH + 1) * EPOCH - self.wall
        return end if end - at < EPOCH - TURN else end - EPOCH
