"""The one exception family for what a user can cause; its text is shown to the user as it is."""


class InputError(Exception):
    """What is wrong, where, and what to do, in one sentence or two."""


class Cancelled(Exception):
    """The user asked to stop."""
