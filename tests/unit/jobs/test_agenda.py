from qallow_agent.jobs.agenda import Agenda


def test_the_earliest_reminder_of_a_key_counts() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.remind("a", 5.0)
    agenda.remind("a", 3.0)
    agenda.remind("a", 4.0)
    agenda.remind("b", None)
    assert agenda.next() == 3.0
    assert agenda.due(2.9) == []
    assert agenda.due(10.0) == ["a"]
    assert agenda.next() is None


def test_keys_come_due_in_order_and_once() -> None:
    agenda: Agenda[str] = Agenda()
    for key, when in (("late", 3.0), ("early", 1.0), ("never", 9.0)):
        agenda.remind(key, when)
    assert agenda.due(3.0) == ["early", "late"]
    assert agenda.due(3.0) == []


def test_a_forgotten_key_is_never_due() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.remind("a", 1.0)
    agenda.forget("a")
    assert agenda.next() is None
    agenda.remind("a", 2.0)
    assert agenda.due(1.5) == []
    assert agenda.due(2.0) == ["a"]
