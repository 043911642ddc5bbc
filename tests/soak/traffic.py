"""Clients of the nodes: they send, receive, call, offer, publish and subscribe, all the time, and are killed now and then."""

import asyncio
import json
import random
import signal
import subprocess

from hearing import Hearing

TOPIC = "soak/news"
DEADLINES = [3, 8, 30, 60]


class Traffic:
    def __init__(self, lab, promises, seed):
        self.lab, self.promises = lab, promises
        self.random = random.Random(f"traffic {seed}")
        self.running = True      # whether new messages are handed over
        self.reading = True      # whether clients that read are started again when they end
        self.clients = {}        # what each does -> process, for those that may be killed
        self.tasks = []
        self.hearing = Hearing(promises)
        self.publishers = lab.names[1::3]
        self.publishing = {name: asyncio.Lock() for name in lab.names}
        self.calls = lab.directory / "calls"

    def start(self):
        self.calls.mkdir()
        for name in self.lab.names:
            self.tasks += [asyncio.create_task(job) for job in (self.send(name), self.request(name))]
            self.readers = getattr(self, "readers", []) + [asyncio.create_task(self.receive(name))]
        for name in self.lab.names[2::3]:
            self.readers.append(asyncio.create_task(self.offer(name)))
        for name in self.lab.names[::2]:
            self.readers.append(asyncio.create_task(self.subscribe(name)))
        for name in self.publishers:
            self.tasks.append(asyncio.create_task(self.publish(name)))

    def kill_client(self, random):
        """Kills one client, as its user or the kernel might; what it was, or None."""
        alive = sorted(what for what, process in self.clients.items() if process.returncode is None)
        if not alive:
            return None
        what = random.choice(alive)
        try:
            self.clients[what].send_signal(signal.SIGKILL)
        except ProcessLookupError:
            pass
        return what

    def other(self, name):
        return self.random.choice([other for other in self.lab.names if other != name])

    async def pause(self, least, most):
        await asyncio.sleep(self.random.uniform(least, most))

    async def send(self, name):
        """Lines to one device after another."""
        while self.running:
            to, deadline = self.other(name), self.random.choice(DEADLINES)
            process = await self.lab.spawn(
                name, "send", to, "--lines", "--json", "--deadline", f"{deadline}s", stdin=subprocess.PIPE)
            what = f"send at {name}"
            self.clients[what] = process
            numbers = []
            told = asyncio.create_task(self.outcomes(name, process, numbers))
            try:
                for _ in range(self.random.randint(20, 120)):
                    if not self.running or process.returncode is not None:
                        break
                    number, text = self.promises.next("message", name, to, deadline)
                    numbers.append(number)
                    process.stdin.write(text.encode() + b"\n")
                    await process.stdin.drain()
                    # Bursts, so that several share a frame, and single ones.
                    if self.random.random() < 0.4:
                        await self.pause(0.02, 0.5)
                process.stdin.close()
            except (BrokenPipeError, ConnectionResetError):
                pass
            try:
                await asyncio.wait_for(told, deadline + 90)
            except asyncio.TimeoutError:
                self.promises.look("one-outcome", False, f"a client of {name} does not hear how its messages to {to} ended",
                                   f"log.txt of {name}")
                process.kill()
            code = await process.wait()
            unended = [number for number in numbers if number not in self.promises.told]
            # One that was killed, or whose node could not be reached at all, has told what it knew.
            if code in (0, 2):
                self.promises.look("one-outcome", not unended, f"messages {unended[:5]} of {name} have no outcome",
                                   f"log.txt of {name}")
            elif code > 0:
                await self.pause(0.5, 1)

    async def outcomes(self, name, process, numbers):
        async for line in process.stdout:
            told = json.loads(line)
            if "line" in told:
                detail = told.get("reason", "")
                self.promises.outcome(numbers[told["line"] - 1], told["outcome"], detail, f"log.txt of {name}")

    async def receive(self, name):
        """Reads the inbox; what it printed is taken, whether or not it lives to say so."""
        while self.reading:
            process = await self.lab.spawn(name, "receive", "--follow", "--json")
            self.clients[f"receive at {name}"] = process
            async for line in process.stdout:
                self.take(name, line)
            await process.wait()
            await self.pause(0.2, 0.6)

    def take(self, name, line):
        if not line.endswith(b"\n"):
            return  # it was killed while it wrote; the message comes again
        message = json.loads(line)
        self.promises.arrived(name, message["from"], message["number"], message.get("payload", ""), f"the inbox of {name}")

    async def drain(self, name):
        """What is left in an inbox, at the end; whether it could be read."""
        for _ in range(30):
            process = await self.lab.spawn(name, "receive", "--json")
            out, _ = await process.communicate()
            for line in out.splitlines(keepends=True):
                self.take(name, line)
            if process.returncode == 0:
                return True
            await asyncio.sleep(1)
        return False

    async def offer(self, name):
        """A service whose program leaves a trace of each call."""
        trace = self.calls / name
        trace.touch()
        while self.reading:
            # Without its newline a line is what is left of one whose `offer` was killed as it handed it over.
            program = f'read -r line || exit 1; printf "%s\\n" "$line" >> {trace}; printf "%s" "$line"'
            process = await self.lab.spawn(name, "offer", "trace", "--exec", "sh", "-c", program)
            self.clients[f"offer at {name}"] = process
            await process.stdout.read()
            await process.wait()
            await self.pause(0.3, 1)

    def count_calls(self):
        for trace in sorted(self.calls.iterdir()):
            for line in trace.read_text().splitlines():
                self.promises.called(trace.name, line, f"what `offer` ran at {trace.name}")

    async def request(self, name):
        services = [other for other in self.lab.names[2::3] if other != name]
        while self.running:
            to = self.random.choice(services)
            number, text = self.promises.next("call", name, to, 10)
            code, out, _ = await self.lab.run(name, "request", f"{to}/trace", text + "\n", "--timeout", "10s", "--json", patience=40)
            try:
                told = json.loads(out)
                self.promises.outcome(number, told["outcome"], told.get("reason", ""), f"log.txt of {name}")
                if told["outcome"] == "replied":
                    same = told.get("payload") == text
                    self.promises.look("unaltered", same, f"call {number} was answered by {told.get('payload')!r}", f"log.txt of {to}")
            except (ValueError, KeyError):
                if code is None:
                    self.promises.look("one-outcome", False, f"call {number} of {name} has no end after 40 s", f"log.txt of {name}")
            await self.pause(0.5, 3)

    async def publish(self, name):
        while self.running:
            await self.publish_one(name, "10s")
            await self.pause(0.3, 2)

    async def publish_one(self, name, deadline):
        """One after the other at each node, as their order is looked at. Answers the number of what was published."""
        async with self.publishing[name]:
            number, text = self.promises.next("news", name, "all", 10)
            self.hearing.publish(name, number)
            code, _, _ = await self.lab.run(name, "publish", TOPIC, text, "--deadline", deadline, patience=40)
            self.hearing.published(number, code == 0)
        return number

    async def subscribe(self, name):
        while self.reading:
            process = await self.lab.spawn(name, "subscribe", "soak/#", "--json", stderr=subprocess.PIPE)
            self.clients[f"subscribe at {name}"] = process
            run = await self.listens(name, process)
            async for line in process.stdout:
                if line.endswith(b"\n") and run:
                    self.take_published(run, json.loads(line))
            await process.wait()
            if run:
                run.end()
            await self.pause(0.2, 0.6)

    async def listens(self, name, process):
        """The run of `subscribe` that begins when it says so; None if it ends before."""
        async for line in process.stderr:
            if b"listens to" in line:
                # What it says later is read, so that it is never held up by it.
                asyncio.create_task(process.stderr.read())
                return self.hearing.begin(name)
        return None

    def take_published(self, run, told):
        """A line of `subscribe --json`: a publication, or how many were missed of a publisher whose stream has ended."""
        lost = told.get("lost", 0) + told.get("skipped", 0)
        if "payload" not in told:
            self.hearing.hear(run, told.get("from"), None, lost)
            if told.get("uncertain"):
                self.hearing.doubt(run, told.get("from"))
            return
        heard = self.promises.published(run.node, told["payload"], f"log.txt of {run.node}")
        if heard:
            number, publisher = heard
            self.hearing.hear(run, publisher, number, lost)

    async def finish(self):
        """No more messages; waits for the ends of those under way."""
        self.running = False
        await asyncio.gather(*self.tasks)

    async def stop_reading(self):
        self.reading = False
        for process in self.clients.values():
            if process.returncode is None:
                try:
                    process.send_signal(signal.SIGTERM)
                except ProcessLookupError:
                    pass
        done, late = await asyncio.wait(self.readers, timeout=10)
        for process in self.clients.values():
            if late and process.returncode is None:
                process.kill()
        await asyncio.gather(*self.readers)
