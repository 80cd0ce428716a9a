"""The gate never flaps: a rule-based machine against what the table says in words."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qallow_agent.ethics.gate import Admission, Gate, Running
from qallow_agent.ethics.score import Score

NEAR = st.one_of(st.integers(2850, 2950), st.sampled_from([2899, 2900, 2929, 2930]))


class Doorman(RuleBasedStateMachine):
    """Keeps every score it ever showed, and reads the rules off that history."""

    @initialize(threshold=st.sampled_from([2400, 2900, 2970]))
    def begin(self, threshold: int) -> None:
        self.gate = Gate(threshold)
        self.now_s = 0.0
        self.history: list[tuple[float, int, bool, Admission]] = []

    @rule(e=NEAR, wait_s=st.sampled_from([0.0, 0.25, 1.0, 2.5, 5.0, 60.0]), stop=st.booleans())
    def show(self, e: int, wait_s: float, stop: bool) -> None:  # noqa: FBT001
        shifted = min(3000, max(0, e + self.gate.threshold - 2900))
        self.now_s += wait_s
        parts = (shifted // 3, (shifted + 1) // 3, (shifted + 2) // 3)
        stops = ("c8",) if stop and e % 7 == 0 else ()
        verdict = self.gate.judge("d", Score(*parts, ("", "", ""), stops, ()), self.now_s)
        self.history.append((self.now_s, shifted, bool(stops), verdict.admission))
        assert (verdict.running is Running.STOP) == bool(stops)
        assert (verdict.admission is Admission.ADMIT) == self._should_be_open()

    def _should_be_open(self) -> bool:
        """Replay the rule in words: open until a close; then 5 s on end at the higher mark."""
        is_open, since_s = True, None
        for at_s, e, stop, _ in self.history:
            if stop or e < self.gate.threshold:
                is_open, since_s = False, None
            elif not is_open and e >= self.gate.threshold + 30:
                since_s = at_s if since_s is None else since_s
                if at_s - since_s >= 5.0:
                    is_open = True
            elif not is_open:
                since_s = None
        return is_open

    @invariant()
    def nothing_is_admitted_within_five_seconds_after_a_close(self) -> None:
        closed_s: float | None = None
        for at_s, e, stop, admission in getattr(self, "history", []):
            if stop or e < self.gate.threshold:
                closed_s = at_s
                assert admission is not Admission.ADMIT
            elif admission is Admission.ADMIT and closed_s is not None:
                assert at_s - closed_s >= 5.0
                closed_s = None


Doorman.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTheGateNeverFlaps = Doorman.TestCase
