"""A complaint: what is wrong, and what a person can do about it."""

import msgspec


class Complaint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reason with its fix; both empty when nothing is wrong."""

    why: str = ""
    fix: str = ""


NOTHING = Complaint()
