"""A lab of real nodes, and what can be done to it: `m2mesh lab` with a shim under each node (see shim.c)."""

import asyncio
import json
import os
import signal
import struct
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Lab:
    """One running lab. Names are those of its nodes, `node-1` and on."""

    def __init__(self, binary, directory, links, epoch, count=8):
        self.binary, self.directory, self.links, self.epoch = str(binary), Path(directory), links, epoch
        self.names = [f"node-{number}" for number in range(1, count + 1)]
        self.process = None
        self.clean = {k: v for k, v in os.environ.items() if not k.startswith("M2MESH_") and k != "LD_PRELOAD"}
        # Nodes whose shim says that their disk is full or their clock is wrong, as it was last told.
        self.control = {name: [0, 0] for name in self.names}
        self.full = {}           # of each node: since when its disk was full last, and until when

    async def start(self):
        shim = self.directory / "shim.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, HERE / "shim.c", "-ldl"], check=True)
        topology = self.directory / "topology"
        topology.write_text("".join(f"{a} {b}\n" for a, b in self.links))
        log = open(self.directory / "lab.txt", "wb")
        arguments = ["lab", "--nodes", str(len(self.names)), "--topology", str(topology)]
        arguments += ["--epoch", self.epoch, "--dir", str(self.directory / "lab")]
        environment = {**self.clean, "LD_PRELOAD": str(shim)}
        self.process = await asyncio.create_subprocess_exec(
            self.binary, *arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            start_new_session=True)

    def path(self, name):
        return self.directory / "lab" / name

    async def stop(self):
        if self.process and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), 30)
            except asyncio.TimeoutError:
                self.process.kill()
                await self.process.wait()

    async def spawn(self, name, *arguments, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        """A command against a node, with its output to be read."""
        return await asyncio.create_subprocess_exec(
            self.binary, "--dir", str(self.path(name)), *arguments, stdin=stdin, stdout=subprocess.PIPE,
            stderr=stderr, env=self.clean, limit=1 << 22)

    async def run(self, name, *arguments, patience=20):
        """Exit code, output and complaint of a command against a node; code None when it did not end in time."""
        return await self._end(await self.spawn(name, *arguments, stderr=subprocess.PIPE), patience)

    async def verb(self, *arguments, patience=40):
        """As `run`, for a verb of the lab itself."""
        process = await asyncio.create_subprocess_exec(
            self.binary, "--dir", str(self.directory / "lab"), "lab", *arguments, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.clean)
        return await self._end(process, patience)

    @staticmethod
    async def _end(process, patience):
        try:
            out, complaint = await asyncio.wait_for(process.communicate(), patience)
            return process.returncode, out.decode(errors="replace"), complaint.decode(errors="replace").strip()
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()
            return None, "", f"it did not end within {patience} s"

    async def json(self, name, *arguments, patience=20):
        """What a command prints as JSON; None if it failed."""
        code, out, _ = await self.run(name, *arguments, "--json", patience=patience)
        try:
            return json.loads(out) if code in (0, 2) else None
        except ValueError:
            return None

    async def states(self):
        """State and process of each node."""
        code, out, _ = await self.verb("status", "--json")
        if code != 0:
            return {}
        try:
            return {row["node"]: row for row in json.loads(out)}
        except (ValueError, KeyError, TypeError):
            return {}

    def pid(self, name):
        """Of the node's process, as the kernel has it: its command line names its directory."""
        wanted = ["run", "--dir", str(self.path(name))]
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    words = Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace").split("\0")
                except OSError:
                    continue
                if words[1:4] == wanted:
                    return int(entry)
        return None

    def signal(self, name, number):
        pid = self.pid(name)
        if pid is None:
            return False
        try:
            os.kill(pid, number)
            return True
        except ProcessLookupError:
            return False

    def set_clock(self, name, seconds):
        self.control[name][0] = int(seconds * 1_000_000)
        self._write(name)

    def set_full(self, name, full):
        if full:
            self.full[name] = [time.monotonic(), None]
        elif name in self.full and self.full[name][1] is None:
            self.full[name][1] = time.monotonic()
        self.control[name][1] = int(full)
        self._write(name)

    def full_since(self, name):
        """Since when a node's disk has taken nothing; None if it takes writes, and has for long enough to have noticed."""
        since, until = self.full.get(name, (None, 0))
        return since if until is None or time.monotonic() - until < 2 else None

    def _write(self, name):
        # In place: the node has this file mapped.
        with open(self.path(name) / "soak-control", "r+b") as file:
            file.write(struct.pack("<qI", *self.control[name]))

    def memory(self, name):
        """Resident memory in MiB."""
        try:
            status = Path("/proc", str(self.pid(name)), "status").read_text()
        except OSError:
            return 0
        return next((int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0)
