"""Writing nonsense into what one worker of a running fleet may write to: its rings, its words, its cells, its page.

The layout is that of shm/region.h and shm/iptable.h; what could not be read there without a compiler is checked against
the region's own numbers."""
import mmap
import os
import random
import struct

HEADER = struct.Struct("<QII QQQ QQQ II Q IIII QII")
WORDS_OFFSET, WORDS_BYTES = 192, 64
HOST_BYTES, ADDRESS_BYTES, REACH_BYTES, RING_HEADER_BYTES = 304, 20, 64, 192
MAGIC = 0x31746565666C7468
PID_OFFSET = 4  # in a worker's words
DRAINING_OFFSET = 136


def rounded(number, to):
    return -(-number // to) * to


class Region:
    """The shared memory of the fleet that the worker `pid` belongs to."""

    def __init__(self, pid):
        descriptor = os.open(f"/proc/{pid}/fd/3", os.O_RDWR)
        try:
            self.memory = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        (magic, version, self.workers, total, _, _, self.pages, self.rings, self.ring_stride, self.task_capacity,
         self.record_capacity, tables, self.hosts, self.ips, refs, _, _, self.coordinator, _) = HEADER.unpack_from(
             self.memory)
        assert magic == MAGIC and total == len(self.memory)
        self.page_bytes = (version & 0xFFFFF) - HOST_BYTES
        self.page_stride = rounded(self.page_bytes, 64)
        row = 4 * self.workers
        self.fleet_cells = tables
        self.reach = self.fleet_cells + rounded(row, 64)
        hosts = self.reach + self.workers * REACH_BYTES
        self.host_cells = (hosts + rounded(self.hosts * HOST_BYTES, 64) + rounded(self.ips * ADDRESS_BYTES, 64) +
                           rounded(refs * 4, 64))
        self.ip_cells = self.host_cells + rounded(self.hosts * row, 64)
        assert rounded(self.ip_cells + rounded(self.ips * row, 64), 4096) == total, "the layout is another one"

    def close(self):
        self.memory.close()

    def worker_pid(self, worker):
        return self.read("<I", WORDS_OFFSET + worker * WORDS_BYTES + PID_OFFSET)

    def index_of(self, pid):
        return next(w for w in range(self.workers) if self.worker_pid(w) == pid)

    def read(self, form, at):
        return struct.unpack_from(form, self.memory, at)[0]

    def write(self, form, at, value):
        struct.pack_into(form, self.memory, at, value)

    # --- places ---
    def task_ring(self, worker):
        return self.rings + worker * self.ring_stride

    def record_ring(self, worker):
        return self.task_ring(worker) + RING_HEADER_BYTES + self.task_capacity

    def page(self, worker):
        return self.pages + worker * self.page_stride

    def words(self, worker):
        """Where `asleep` and `wants_room` stand."""
        at = WORDS_OFFSET + worker * WORDS_BYTES
        return at, at + 16

    def cells(self, worker, rows):
        """Of the fleet, and of the first `rows` hosts and addresses."""
        places = [self.fleet_cells + 4 * worker]
        for table in (self.host_cells, self.ip_cells):
            places += [table + 4 * (row * self.workers + worker) for row in range(rows)]
        return places


def odd_number(chance, bits):
    """A number as a bug would write it: anything, or something extreme, or nearly right."""
    return chance.choice([chance.getrandbits(bits), chance.getrandbits(chance.randrange(1, bits)), (1 << bits) - 1, 0,
                          1 << (bits - 1)])


class Scribbler:
    """Writes random nonsense, by a seed, into the areas of one worker."""

    def __init__(self, region, worker, seed):
        self.region, self.worker, self.chance = region, worker, random.Random(seed)
        self.kinds = [self.tail, self.head, self.payload, self.page, self.words, self.cells]

    def scribble(self):
        """One stroke; its name."""
        kind = self.chance.choice(self.kinds)
        kind()
        return kind.__name__

    def ring(self):
        if self.chance.random() < 0.5:
            return self.region.task_ring(self.worker), self.region.task_capacity
        return self.region.record_ring(self.worker), self.region.record_capacity

    def position(self, at):
        old = self.region.read("<Q", at)
        value = self.chance.choice([odd_number(self.chance, 64), old + self.chance.randrange(-4096, 4096)])
        self.region.write("<Q", at, value % (1 << 64))

    def tail(self):
        self.position(self.ring()[0])

    def head(self):
        self.position(self.ring()[0] + 64)

    def payload(self):
        """Around where the ring is being used."""
        at, capacity = self.ring()
        used = self.region.read("<Q", at) + self.chance.randrange(-2048, 2048)
        for _ in range(self.chance.randrange(1, 200)):
            used += self.chance.randrange(0, 8)
            self.region.memory[at + RING_HEADER_BYTES + used % capacity] = self.chance.getrandbits(8)

    def page(self):
        for _ in range(self.chance.randrange(1, 20)):
            at = self.region.page(self.worker) + 8 * self.chance.randrange(self.region.page_bytes // 8)
            self.region.write("<Q", at, odd_number(self.chance, 64))

    def words(self):
        self.region.write("<I", self.chance.choice(self.region.words(self.worker)), odd_number(self.chance, 32))

    def cells(self):
        """Never fewer than there are: what a worker forgets of its own connections nobody else can know."""
        for at in self.region.cells(self.worker, 4):
            value = odd_number(self.chance, 32)
            if value > self.region.read("<I", at) + 1000:
                self.region.write("<I", at, value)
