"""The workload of a connection: its jobs, and which one takes in the next evaluation."""

import time
from typing import Final

from qallow_agent.base.errors import QallowError
from qallow_agent.base.units import Seconds
from qallow_agent.client.book import KernelBook
from qallow_agent.client.futures import JobFuture, copy_of
from qallow_agent.client.job import Job
from qallow_agent.client.payload import Payload, Singles
from qallow_agent.client.phase import Phase
from qallow_agent.client.switch import Switch
from qallow_agent.client.wires import Exchange
from qallow_agent.jobs.messages import JobOptions, SubmitJob

_LONGEST_NAP_S: Final = 1.0


class Workload:
    """Gives every job its turn when it wants one.

    Args:
        desk: The agent.
        exchange: Connects to runners.
        book: The kernels known here.
    """

    def __init__(self, desk: Switch, exchange: Exchange, book: KernelBook) -> None:
        self._desk = desk
        self._exchange = exchange
        self._book = book
        self._pools: dict[tuple[str, JobOptions], Job] = {}
        self._last: Job | None = None
        self._jobs: dict[Job, Seconds | None] = {}
        self._ready: dict[Job, None] = {}
        self.retired = False
        """No more work comes: what rests, ends."""

    @property
    def done(self) -> bool:
        """Whether there is no job left."""
        return not self._jobs

    def new_job(self, order: SubmitJob, payload: Payload, guess_s: Seconds) -> Job:
        """Return a job that is not submitted yet; any thread may ask for one."""
        spec = self._book.spec(order.kernel)
        return Job(
            order,
            payload,
            self._desk,
            self._exchange,
            guess_s=guess_s,
            touch=self.touch,
            tolerances={} if spec is None else spec.tolerances(),
        )

    def launch(self, job: Job, now: Seconds) -> None:
        """Submit a job."""
        self._jobs[job] = None
        self._ready[job] = None
        job.begin(now)

    def take_in(self, future: JobFuture, now: Seconds) -> None:
        """Add an evaluation to the pool of its kind, or to a job of its own."""
        if future.cancelled():
            future.confirm_cancelled()
            return
        job = self._last
        like = job is not None and job.order.options is future.options
        if job is None or not like or job.order.kernel != future.kernel or not job.accepting:
            job = self._pool_of(future, now)
        future.work = job
        job.scribe.added(future)
        job.account.add(future)
        self._ready[job] = None

    def drop(self, future: JobFuture) -> None:
        """Give up an evaluation that was cancelled."""
        future.confirm_cancelled()
        job = future.work
        if job is None:
            return
        if job.account.drop(future, time.monotonic()):
            # Only the end of its job stops what a runner is at, so newcomers get another job.
            job.retiring = True
        self.touch(job)

    def touch(self, job: Job) -> None:
        """Give a job its turn soon."""
        if job in self._jobs:
            self._ready[job] = None

    def serve(self, now: Seconds) -> Seconds:
        """Give every job that wants it its turn; return when the next one is due."""
        jobs = self._jobs
        for job, due_s in list(jobs.items()):
            if due_s is not None and due_s <= now:
                job.tick(now)
                self._ready[job] = None
        if any(job.hungry(now) for job in jobs):
            # A pool that rests keeps its runners for a while, unless others wait for some.
            for job in jobs:
                job.make_room()
        while self._ready:
            ready, self._ready = self._ready, {}
            for job in ready:
                job.turn(now)
                if job.phase is Phase.OVER:
                    jobs.pop(job, None)
                else:
                    jobs[job] = job.due()
        nap_s = now + _LONGEST_NAP_S
        return min((due_s for due_s in jobs.values() if due_s is not None), default=nap_s)

    def retire(self) -> None:
        """End every job once it has nothing left to do."""
        self.retired = True
        for job in self._jobs:
            job.retiring = True
            self._ready[job] = None

    def give_up(self, error: QallowError) -> None:
        """Fail what has no outcome and tell the desk."""
        self.retire()
        for job in list(self._jobs):
            job.give_up(error)

    def abort(self, error: QallowError) -> None:
        """Fail what has no outcome; the desk is gone."""
        self.retired = True
        for job in list(self._jobs):
            job.abort(copy_of(error))
        self._jobs.clear()

    def _pool_of(self, future: JobFuture, now: Seconds) -> Job:
        options = future.options
        alone = options.retain or options.deadline_s > 0
        key = (future.kernel, options)
        found = None if alone else self._pools.get(key)
        if found is not None and found.accepting:
            self._last = found
            return found
        given = future.arguments
        slots = max(1, options.verify)
        order = SubmitJob(
            future.kernel, int(alone), given.scalars, slots, options, shapes=given.shapes
        )
        guess_s = self._book.guess_s(future.kernel, given.scalars, order.shapes)
        job = self.new_job(order, Singles(hashed=options.fingerprint), guess_s)
        job.retiring = alone or self.retired
        self.launch(job, now)
        if not alone:
            self._pools = {each: pool for each, pool in self._pools.items() if pool.accepting}
            self._pools[key] = self._last = job
        return job
