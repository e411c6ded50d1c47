"""Who answers while no worker does, in process and on a real socket."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any

from functions.runtime.doorman import REST_S, Doorman


class Exhausted(socket.socket):
    """A listener in a process that has no descriptor left, until it is ``free``."""

    tries = 0
    free = False

    def accept(self) -> tuple[socket.socket, Any]:
        self.tries += 1
        if not self.free:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_without_descriptors_callers_wait_and_the_processor_does_not_spin() -> None:
    async def main(listener: Exhausted) -> bytes:
        doorman = Doorman(listener, {})
        doorman.open(lambda connection: False)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET /ping HTTP/1.1\r\n\r\n")
        await asyncio.sleep(5 * REST_S)
        assert 1 <= listener.tries <= 10  # thousands, if it looked whenever somebody is there
        listener.free = True
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        listener.free = False
        _, last = await asyncio.open_connection(*listener.getsockname())
        await asyncio.sleep(REST_S)
        await doorman.close()
        tries = listener.tries
        await asyncio.sleep(2 * REST_S)
        assert listener.tries == tries
        last.close()
        return answer

    with Exhausted(socket.AF_INET) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert asyncio.run(main(listener)).startswith(b"HTTP/1.1 503 ")


def test_whoever_came_before_it_closed_is_answered() -> None:
    async def main(listener: socket.socket) -> list[bytes]:
        doorman = Doorman(listener, {})
        doorman.open(lambda connection: False)
        address = listener.getsockname()
        callers = [socket.create_connection(address) for _ in range(8)]  # nobody accepts meanwhile
        for caller in callers:
            caller.sendall(b"GET /ping HTTP/1.1\r\n\r\n")

        def answer(caller: socket.socket) -> bytes:
            with caller:
                return caller.recv(1000)

        answers = [asyncio.to_thread(answer, caller) for caller in callers]
        *heads, _ = await asyncio.gather(*answers, doorman.close())
        return [head for head in heads if head]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        heads = asyncio.run(main(listener))
    assert [head[:13] for head in heads] == [b"HTTP/1.1 503 "] * 8
