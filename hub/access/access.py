"""Tells who calls, and what it may see."""

from typing import Self

from hub.access.caller import ANONYMOUS, LOCAL, Caller
from hub.access.view import EVERYTHING, NOTHING, View


class Access:
    """One per hub. Open: everybody is this box itself. Required: nobody is anybody unproven."""

    def __init__(self, *, is_open: bool = False, public_view: bool = False) -> None:
        self.is_open = is_open
        self.public_view = public_view
        """Whether callers without credentials see what sites share with the public."""

    @classmethod
    def open(cls) -> Self:
        """Let everybody see and do everything: for a hub that only its own box can reach."""
        return cls(is_open=True)

    def anonymous(self) -> Caller:
        """Tell who a caller without credentials is."""
        return LOCAL if self.is_open else ANONYMOUS

    def view(self, caller: Caller) -> View:
        """Tell what a caller may see now."""
        return EVERYTHING if caller.is_hub_admin else NOTHING
