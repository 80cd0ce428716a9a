"""The vectorised score gives the integers of the plain one, whatever the evidence."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.ethics.batch import Batch, first_verdicts, gather, pack_batch, score_batch
from qallow_agent.ethics.evidence import Evidence, Item
from qallow_agent.ethics.gate import Gate
from qallow_agent.ethics.policy import Override, Policy, PresetName, Ramp, overridable, preset
from qallow_agent.ethics.records import pack, record
from qallow_agent.ethics.score import Score, score
from qallow_agent.ethics.signals import SIGNALS, TABLE, UNSKIPPABLE

NOW_MS = 1_795_000_000_000
GIVEN = [each.id for each in TABLE if each.role != "ceiling"]
PRESETS: tuple[PresetName, ...] = ("desktop", "dedicated", "field")


@st.composite
def items(draw: st.DrawFn) -> Item:
    signal = SIGNALS[draw(st.sampled_from(GIVEN))]
    low, high = sorted((signal.bad or 0, signal.good or 1_000_000))
    near = st.integers(low - (high - low) // 4, high + (high - low) // 4)
    value = draw(st.one_of(near, st.integers(-(2**63), 2**63 - 1), st.none(), st.just(0)))
    unit = draw(st.sampled_from([signal.unit] * 9 + ["parsecs"]))
    age_ms = draw(
        st.one_of(st.just(0), st.integers(-2_000, 90_000), st.integers(-(10**17), 10**17))
    )
    grade = draw(st.sampled_from(["measured", "measured", "estimated", "unknown"]))
    return Item(signal.id, value, unit, NOW_MS - age_ms, "test", grade)


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    return Evidence("n", "d", "j", NOW_MS, tuple(draw(st.lists(items(), max_size=24))))


ENDS = st.integers(-(10**15), 10**15)
RAMPS = st.builds(Ramp, ENDS, ENDS).filter(lambda each: each.bad != each.good)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    base = preset(draw(st.sampled_from(PRESETS)))
    free = [each.id for each in TABLE if each.bad is not None and not each.stop]
    ramps = draw(st.dictionaries(st.sampled_from(free), RAMPS, max_size=4))
    skippable = [each.id for each in TABLE if each.role == "signal" and each.id not in UNSKIPPABLE]
    skipped = draw(st.lists(st.sampled_from(skippable), max_size=3))
    names = st.sampled_from([each.id for each in TABLE if overridable(each.id)])
    ends = st.integers(NOW_MS - 2, NOW_MS + 2)
    overrides = tuple(draw(st.lists(st.builds(Override, names, ends), max_size=3)))
    return Policy(1, 2900, {**base.ramps, **ramps}, (*base.skipped, *skipped), overrides)


@settings(max_examples=300, deadline=None)
@given(st.lists(evidences(), min_size=1, max_size=6), policies())
def test_many_at_once_score_as_one_by_one(given_: list[Evidence], policy: Policy) -> None:
    found = score_batch(gather(given_, [NOW_MS] * len(given_)), policy)
    for row, evidence in enumerate(given_):
        wanted: Score = score(evidence, policy, NOW_MS)
        codes = [SIGNALS[each].code if each else 0 for each in wanted.culprits]
        assert (found.s[row], found.c[row], found.h[row]) == (wanted.s, wanted.c, wanted.h)
        assert found.culprits[row].tolist() == codes
        assert found.stopped[row] == bool(wanted.stops)
        assert (found.solo[row], found.e[row]) == (wanted.solo, wanted.e)


@settings(deadline=None)
@given(st.lists(evidences(), min_size=1, max_size=5), st.integers(2400, 3000))
def test_records_of_many_are_those_of_each(given_: list[Evidence], threshold: int) -> None:
    policy = Policy(threshold=threshold)
    found = score_batch(gather(given_, [NOW_MS] * len(given_)), policy)
    wanted, hashes = b"", []
    for evidence in given_:
        own = score(evidence, policy, NOW_MS)
        verdict = Gate(threshold).judge("d", own, 0.0)
        each = record(evidence, own, verdict, NOW_MS - 9)
        wanted += pack(each)
        hashes.append(each.job + each.device + each.evidence)
    ms = np.full(len(given_), 9, np.int64)
    body = pack_batch(found, first_verdicts(found, threshold), np.array(hashes, "S24"), ms)
    assert body == wanted


@settings(max_examples=60, deadline=None)
@given(evidences(), policies(), st.sets(st.sampled_from(GIVEN)))
def test_columns_that_are_left_out_count_as_absent(
    evidence: Evidence, policy: Policy, kept: set[str]
) -> None:
    whole = gather([evidence], [NOW_MS])
    places = [place for place, name in enumerate(whole.signals) if name in kept]
    part = Batch(
        tuple(whole.signals[place] for place in places),
        whole.values[:, places],
        whole.grades[:, places],
        whole.times_ms[:, places],
        whole.now_ms,
    )
    rest = Evidence("n", "d", "j", 0, tuple(each for each in evidence.items if each.signal in kept))
    wanted = score(rest, policy, NOW_MS)
    found = score_batch(part, policy)
    assert (found.e[0], found.solo[0]) == (wanted.e, wanted.solo)


def test_more_rows_than_one_pass_takes_score_alike() -> None:
    few = gather([Evidence("n", "d", "j", 0, ())], [NOW_MS])
    many = gather([Evidence("n", "d", "j", 0, ())] * 20_000, [NOW_MS] * 20_000)
    wanted = score_batch(few, preset("desktop")).e[0]
    assert np.all(score_batch(many, preset("desktop")).e == wanted)
