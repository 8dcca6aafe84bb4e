"""Requests that the service refuses: the status of the answer, and one sentence that says why."""

from collections.abc import Mapping


class Refusal(Exception):
    """The error for a request that is not answered as it wishes.

    Args:
        status: status of the answer, 400 to 599.
        sentence: what is wrong, and what the sender can do.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None):
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})
