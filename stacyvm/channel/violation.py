"""The error for an agent that breaks the protocol."""

from stacyvm.domain.errors import AgentError


class ProtocolViolationError(AgentError):
    """The agent sent what it must not; the channel to it is closed for good."""

    def __init__(self, what: str) -> None:
        super().__init__(f"protocol violation: {what}", agent_code="protocol")
