"""What was handed over, what was told of it, and what arrived; and one line for each promise that was broken.

A payload says what it is: `kind number sender receiver checksum`. So whatever arrives can be told and compared, and nothing
else is needed to know whether it may be there.
"""

import collections
import time
import zlib



def payload(kind, number, sender, receiver):
    text = f"{kind} {number} {sender} {receiver}"
    return f"{text} {zlib.crc32(text.encode()):08x}"


def parse(text):
    """Kind, number, sender, receiver; None if it is not as it was made."""
    words = text.split(" ")
    if len(words) != 5 or not words[1].isdigit() or payload(words[0], int(words[1]), words[2], words[3]) != text:
        return None
    return words[0], int(words[1]), words[2], words[3]


class Promises:
    """The ledger of a run. `say` prints a line."""

    def __init__(self, say):
        self.say = say
        self.began = time.monotonic()
        self.number = 0
        # Of each message: (sender, receiver, deadline in seconds, when it was handed over).
        self.sent = {}
        # Outcomes told, by number of the message.
        self.told = collections.defaultdict(list)
        # Numbers of its inbox under which a receiver had a message.
        self.there = collections.defaultdict(set)
        self.heard = 0
        self.replied, self.calls = set(), collections.Counter()
        self.looked, self.broken = collections.Counter(), collections.Counter()
        self.excused = collections.Counter()
        # Of each sender when it ended while its disk took nothing: since when that was, and until when.
        self.forgotten = collections.defaultdict(list)

    def look(self, promise, holds, what, see):
        """A promise was looked at. `what` is wrong with it if it does not hold, `see` where to look."""
        self.looked[promise] += 1
        if not holds:
            self.broken[promise] += 1
            at = time.monotonic() - self.began
            self.say(f"VIOLATION {at:8.2f} s  {promise}: {what}; look at {see}")
        return holds

    def violations(self):
        return sum(self.broken.values())

    def next(self, kind, sender, receiver, deadline):
        self.number += 1
        self.sent[self.number] = (sender, receiver, deadline, time.monotonic())
        return self.number, payload(kind, self.number, sender, receiver)

    def outcome(self, number, word, detail, see):
        self.told[number].append((word, detail))
        self.look("one-outcome", len(self.told[number]) == 1, f"message {number} ended as {self.told[number]}", see)

    def arrived(self, node, sender, inbox_number, text, see):
        """A message was read from an inbox. Read again under the same number it is the same one, after a crash."""
        made = parse(text)
        if not self.look("unaltered", made is not None and made[0] == "message", f"{node} got {text!r}", see):
            return
        _, number, wrote, receiver = made
        right = (wrote, receiver) == (sender, node)
        self.look("unaltered", right, f"message {number} of {wrote} to {receiver} is at {node} from {sender}", see)
        self.there[number].add((node, inbox_number))
        copies = len(self.there[number])
        if copies > 1 and self.may_be_twice(number):
            self.excused["once"] += 1
            return
        self.look("once", copies == 1, f"message {number} is there as {sorted(self.there[number])}", see)

    def may_be_twice(self, number):
        """Whether it was sent while its sender's disk took nothing, and the sender ended before it did."""
        sender, _, _, at = self.sent[number]
        return any(since - 1 <= at <= until for since, until in self.forgotten[sender])

    def called(self, node, text, see):
        """A service's program ran."""
        made = parse(text)
        if self.look("unaltered", made is not None and made[0] == "call", f"{node} was called with {text!r}", see):
            self.calls[made[1]] += 1
            self.look("called-once", self.calls[made[1]] == 1, f"call {made[1]} was made {self.calls[made[1]]} times", see)

    def published(self, node, text, see):
        """A publication was heard at a node. Answers its number and its publisher."""
        made = parse(text)
        if not self.look("unaltered", made is not None and made[0] == "news", f"{node} heard {text!r}", see):
            return None
        self.heard += 1
        return made[1], made[2]

    def check_end(self):
        """When all inboxes have been read to their ends."""
        for number, told in sorted(self.told.items()):
            sender, receiver, deadline, _ = self.sent[number]
            word = told[0][0]
            what = f"message {number} of {sender} to {receiver} (deadline {deadline} s) was told {told[0]}"
            see = f"log.txt of {sender} and {receiver}"
            if word == "delivered":
                self.look("delivered-is-there", number in self.there, f"{what} and lies in no inbox", see)
            elif word == "refused":
                self.look("refused-is-not-there", number not in self.there, f"{what} and is there", see)
            elif word == "replied":
                self.look("replied-was-called", self.calls[number] == 1, f"{what}, calls: {self.calls[number]}", see)

    def summary(self):
        words = collections.Counter(told[0][0] for told in self.told.values())
        rows = [f"{promise:22} looked {self.looked[promise]:7}, broken {self.broken[promise]}" for promise in sorted(self.looked)]
        rows += [f"{promise:22} excused {count}" for promise, count in self.excused.items()]
        rows.append("outcomes: " + ", ".join(f"{count} {word}" for word, count in words.most_common()))
        rows.append(f"handed over {len(self.sent)}, in inboxes {len(self.there)}, calls {len(self.calls)}, heard {self.heard}")
        return rows
