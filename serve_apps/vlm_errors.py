"""What may become of one request to a model, other than an answer that is of use.

    VlmError
    ├── AnswerError      answered, but it can't be used: an error on the row
    ├── RefusedError     the server does not take this request: the row's fault, or the settings'
    └── NoAnswerError    no answer after all attempts: the row's fault, or the server's

`vlm_batch` decides between the row and the rest, and turns all of them into scores or into errors of
`frameloop.core.errors`: none leaves this package. What is the server's fault beyond doubt (it can't
be reached, the key is wrong) is a `TransientError` or a `FatalError` at once.
"""


class VlmError(Exception):
    """Root. The message is for the row or the log: bounded, cleaned, without the key."""


class AnswerError(VlmError):
    """The model has answered, and the answer is refused, cut off, or not what was asked for."""


class RefusedError(VlmError):
    """HTTP 400, 413 or 422."""


class NoAnswerError(VlmError):
    """HTTP 5xx, a time-out, a connection that was cut, or something that is no answer at all."""
