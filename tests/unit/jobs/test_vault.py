"""The vault of the desk: states of runs within bounds, whole or not at all."""

from qallow_agent.base.ids import JobId
from qallow_agent.base.machine import Effect, Persist
from qallow_agent.base.notice import Notice
from qallow_agent.jobs.messages import KeepEpoch
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.vault import PART_BYTES, Vault

JOB, OTHER = JobId("job-a"), JobId("job-b")


def put(vault: Vault, epoch: int, data: bytes, job: JobId = JOB) -> list[Effect]:
    effects, why_not = vault.put(KeepEpoch(job, epoch, 0, data, last=True))
    assert not why_not
    assert vault.check_bytes()
    return effects


def durable(disk: dict[str, bytes], effects: list[Effect]) -> None:
    """Do what a driver does with effects."""
    for effect in effects:
        if isinstance(effect, Persist) and effect.data is None:
            del disk[effect.name]
        elif isinstance(effect, Persist):
            disk[effect.name] = effect.data or b""


def test_a_state_comes_back_in_the_parts_in_which_it_came() -> None:
    vault = Vault(JobSettings())
    for part in range(3):
        effects, why_not = vault.put(KeepEpoch(JOB, 7, part, bytes([part]), last=part == 2))
        assert (bool(effects), why_not) == (part == 2, "")
    assert [each.data for each in vault.take(JOB, 7)] == [b"\0", b"\1", b"\2"]
    assert [each.last for each in vault.take(JOB)] == [False, False, True]
    assert vault.epochs(JOB) == ((7, 3),)
    assert vault.take(JOB, 8) == ()
    assert vault.take(OTHER) == ()


def test_parts_out_of_order_or_too_large_are_refused() -> None:
    vault = Vault(JobSettings(checkpoint_bytes=10))
    assert "out of order" in vault.put(KeepEpoch(JOB, 1, 1, b"x"))[1]
    assert "checkpoint_bytes" in vault.put(KeepEpoch(JOB, 1, 0, bytes(11)))[1]
    assert "exceeds" in Vault(JobSettings()).put(KeepEpoch(JOB, 1, 0, bytes(PART_BYTES + 1)))[1]
    assert vault.epochs(JOB) == ()


def test_old_states_of_a_job_are_thinned_out_and_the_newest_stays() -> None:
    vault, disk = Vault(JobSettings(checkpoints_kept=4)), dict[str, bytes]()
    for epoch in range(1, 40):
        durable(disk, put(vault, epoch, b"state"))
    kept = [epoch for epoch, _ in vault.epochs(JOB)]
    assert (len(kept), kept[0], kept[-1]) == (4, 1, 39)
    assert len(disk) == 4


def test_older_jobs_make_room_first() -> None:
    vault, disk = Vault(JobSettings(checkpoint_bytes=100)), dict[str, bytes]()
    durable(disk, put(vault, 1, bytes(60), OTHER))
    durable(disk, put(vault, 1, bytes(60)))
    durable(disk, put(vault, 2, bytes(60)))
    assert vault.epochs(OTHER) == ()
    assert vault.epochs(JOB) == ((2, 60),)
    assert len(disk) == 1
    durable(disk, vault.forget(JOB))
    assert (disk, vault.check_bytes()) == ({}, True)


def test_what_is_damaged_on_disk_is_named_and_an_older_state_serves() -> None:
    vault, disk = Vault(JobSettings()), dict[str, bytes]()
    for epoch in (1, 2, 3):
        durable(disk, put(vault, epoch, b"state" * epoch))
    second, third = sorted(disk)[1:]
    disk[third] = disk[third][:-1] + b"?"
    disk[second] = b""
    again = Vault(JobSettings())
    effects = again.load(disk, [JOB])
    assert [each.facts["epoch"] for each in effects if isinstance(each, Notice)] == [2, 3]
    durable(disk, effects)
    assert again.epochs(JOB) == ((1, 5),)
    assert len(disk) == 1
    assert again.check_bytes()


def test_a_state_that_lost_a_part_is_damaged() -> None:
    vault, disk = Vault(JobSettings()), dict[str, bytes]()
    for part in range(2):
        durable(disk, vault.put(KeepEpoch(JOB, 1, part, b"part", last=part == 1))[0])
    del disk[sorted(disk)[1]]
    again = Vault(JobSettings())
    again.load(disk, [JOB])
    assert again.epochs(JOB) == ()


def test_states_of_a_job_that_is_forgotten_go() -> None:
    disk: dict[str, bytes] = {}
    durable(disk, put(Vault(JobSettings()), 1, b"state", OTHER))
    again = Vault(JobSettings())
    durable(disk, again.load(disk, [JOB]))
    assert (disk, again.epochs(OTHER)) == ({}, ())
