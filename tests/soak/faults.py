"""Faults, drawn from the seed: what happens to which node or link, and for how long. Each heals by itself."""

import asyncio
import random
import signal
import time


def name_of(kind):
    """A fault as the table in `run` names it."""
    return kind.__name__.replace("_", "-")


class Faults:
    """Strikes while `running`. At most `most` at a time, and one of a kind on a node or link."""

    def __init__(self, lab, traffic, seed, say, only=None, step=6, most=3):
        self.lab, self.traffic, self.say, self.most = lab, traffic, say, most
        self.step = step
        self.random = random.Random(f"faults {seed}")
        self.running = True
        self.busy, self.tasks = set(), set()
        self.struck = {}
        self.down = set()
        self.refusals = []
        kinds = [
            (self.kill, 5), (self.stop, 3), (self.hang_up, 2), (self.pause, 4), (self.cut, 4), (self.silent_cut, 3),
            (self.shape, 4), (self.full_disk, 2), (self.clock, 3), (self.kill_client, 5),
        ]
        self.kinds = [kind for kind, weight in kinds for _ in range(weight) if only is None or name_of(kind) in only]

    async def run(self):
        while self.running:
            await asyncio.sleep(self.random.uniform(0.3, 4))
            if len(self.tasks) < self.most and self.running:
                kind, draw = self.random.choice(self.kinds), random.Random(self.random.random())
                on = draw.choice(self.lab.links) if kind in (self.cut, self.silent_cut, self.shape) else draw.choice(self.lab.names)
                if on in self.busy:
                    continue
                self.busy.add(on)
                task = asyncio.create_task(self.strike(kind, on, draw))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    async def strike(self, kind, on, draw):
        name = name_of(kind)
        self.struck[name] = self.struck.get(name, 0) + 1
        self.say(f"{name} {on if isinstance(on, str) else ' - '.join(on)}")
        try:
            await kind(on, draw)
        finally:
            self.busy.discard(on)

    async def settle(self):
        """No more; waits until all have healed."""
        self.running = False
        while self.tasks:
            await asyncio.gather(*list(self.tasks))

    async def start(self, name):
        self.lab.set_full(name, False)
        for _ in range(3):
            code, _, complaint = await self.lab.verb("start", name)
            if code == 0 or "runs already" in complaint:
                self.down.discard(name)
                return
            await asyncio.sleep(1)
        self.refusals.append(f"{name} does not start again: {complaint}")

    async def kill(self, name, draw):
        self.down.add(name)
        self.traffic.hearing.kill(name)
        await self.lab.verb("kill", name)
        self.forgets(name)
        self.traffic.hearing.kill(name)
        await asyncio.sleep(draw.choice([0, 0.2, 1, 3, 8]))
        await self.start(name)

    def forgets(self, name):
        """A node that ends while its disk takes nothing knows no more of what it has sent meanwhile."""
        since = self.lab.full_since(name)
        if since is not None:
            self.traffic.promises.forgotten[name].append((since, time.monotonic()))

    async def stop(self, name, draw, number=signal.SIGTERM):
        self.down.add(name)
        pid = self.lab.pid(name)
        self.lab.signal(name, number)
        self.forgets(name)
        for _ in range(80):
            if self.lab.pid(name) != pid:
                break
            await asyncio.sleep(0.1)
        else:
            self.refusals.append(f"{name} did not stop within 8 s of {number.name}")
            self.traffic.hearing.kill(name)
            await self.lab.verb("kill", name)
        await asyncio.sleep(draw.choice([0, 0.5, 2, 6]))
        await self.start(name)

    async def hang_up(self, name, draw):
        await self.stop(name, draw, signal.SIGHUP)

    async def pause(self, name, draw):
        """Its process stands still, then finds all that has come meanwhile."""
        if self.lab.signal(name, signal.SIGSTOP):
            await asyncio.sleep(draw.choice([0.5, 2, 3, 6, 12]))
            self.lab.signal(name, signal.SIGCONT)

    async def undo(self, *order):
        """Until it is done: an end that is killed as it is told, or whose disk is full, keeps what it was told before."""
        for _ in range(60):
            code, _, complaint = await self.lab.verb(*order)
            if code == 0:
                return
            await asyncio.sleep(1)
        self.refusals.append(f"`lab {' '.join(order)}` cannot be done: {complaint}")

    async def cut(self, link, draw):
        await self.lab.verb("cut", *link)
        await asyncio.sleep(draw.uniform(1, 15))
        await self.undo("heal", *link)

    async def silent_cut(self, link, draw):
        await self.lab.verb("cut", *link, "--silent")
        await asyncio.sleep(draw.uniform(1, 12))
        await self.undo("heal", *link)

    async def shape(self, link, draw):
        delay, loss = draw.choice(["1ms", "20ms", "200ms"]), draw.choice(["0%", "1%", "10%"])
        rate = draw.choice(["200kbit", "1Mbit", "100Mbit"])
        await self.lab.verb("shape", *link, "--delay", delay, "--loss", loss, "--rate", rate)
        await asyncio.sleep(draw.uniform(3, 20))
        await self.undo("shape", *link, "--off")

    async def full_disk(self, name, draw):
        self.lab.set_full(name, True)
        await asyncio.sleep(draw.uniform(2, 10))
        self.lab.set_full(name, False)

    async def clock(self, name, draw):
        """A step, and back; two nodes that are 6 s off stay within what an epoch of a minute allows."""
        self.lab.set_clock(name, draw.uniform(-self.step, self.step) if self.step <= 6 else draw.choice([-self.step, self.step]))
        await asyncio.sleep(draw.uniform(3, 20))
        self.lab.set_clock(name, 0)

    async def kill_client(self, _name, draw):
        self.traffic.kill_client(draw)
