"""A real SMTP server in a thread, which keeps what it is sent and can be made to refuse."""

import logging
import socket
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller

# A line for each step of the dialogue is more than anybody reads.
logging.getLogger("mail.log").setLevel(logging.ERROR)


class MailServer:
    """Takes mails while the context is open. `answer` is what it says to each of them."""

    def __init__(self, answer: str = "250 OK") -> None:
        self.answer = answer
        self.mails: list[EmailMessage] = []
        # The library connects to itself, so it has to be told the port before.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._controller.stop()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Keep one mail, unless it is refused."""
        if self.answer.startswith("250"):
            mail = message_from_bytes(envelope.content, policy=policy.default)
            self.mails.append(mail)
        return self.answer
