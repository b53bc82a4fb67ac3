"""What a server answers to a request that it does not carry out."""

from __future__ import annotations


class RequestError(Exception):
    """A request that cannot be answered; the text goes to the client as it is.

    Attributes:
        outcome: under which label it is counted: ``refused`` (the request is wrong), ``failed`` (the policy
            is), ``expired`` (it waited too long) or ``lost`` (nobody is there to hear the answer).
    """

    def __init__(self, message: str, outcome: str = "refused"):
        super().__init__(message)
        self.outcome = outcome
