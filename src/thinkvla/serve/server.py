"""One port for robots: websocket sessions of either protocol, and the pages of HTTP."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvloop
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from thinkvla.contract import Observation, Policy
from thinkvla.serve import openpi, vla_eval
from thinkvla.serve.batching import Batcher
from thinkvla.serve.faults import Refused
from thinkvla.serve.frame_reader import FrameReader
from thinkvla.serve.frames import FrameError, encode
from thinkvla.serve.greeting import PROTOCOLS, Contract, camera_keys, greeting
from thinkvla.serve.live import snapshot
from thinkvla.serve.metrics import Metrics
from thinkvla.serve.options import ServerOptions
from thinkvla.serve.pages import Pages
from thinkvla.serve.process import settle_in
from thinkvla.serve.service import Service, Session

logger = logging.getLogger(__name__)
OPENPI, VLA_EVAL = PROTOCOLS
GOING_AWAY, INTERNAL_ERROR = 1001, 1011
_SWEEP_S = 0.5


def served_contract(policy: Policy, options: ServerOptions, **known: Any) -> Contract:
    """What ``policy`` is served as; raises ValueError when the options do not fit it.

    Args:
        policy: to be served.
        options: of the server.
        **known: ``normalization`` and ``versions``, where they are known.
    """
    execute = policy.chunk if options.execute is None else options.execute
    if not 1 <= execute <= policy.chunk:
        raise ValueError(f"execute is {execute}; this policy's chunks allow 1 to {policy.chunk} steps")
    cameras = camera_keys(policy.embodiment, options.keys)
    return Contract(
        policy.embodiment, policy.chunk, execute, cameras, options.instruction_key, options.ignored, **known
    )


def warm_up(policy: Policy) -> None:
    """One chunk for a grey picture, so that the first robot does not wait for what is only done once."""
    robot = policy.embodiment
    grey = np.full((*robot.image_size, 3), 128, np.uint8)
    policy.act([Observation(dict.fromkeys(robot.cameras, grey), "warm up")])


class PolicyServer:
    """Serves one policy.

    Args:
        policy: loaded; ``act`` is called from one thread.
        contract: what it is served as.
        options: of the server.
    """

    def __init__(self, policy: Policy, contract: Contract, options: ServerOptions) -> None:
        self.policy, self.contract, self.options = policy, contract, options
        self.metrics = Metrics()
        self.port = 0
        self._sessions: dict[ServerConnection, _Open] = {}
        self._draining = False
        self._service: Service
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        height, width = contract.embodiment.image_size
        observation = len(contract.embodiment.cameras) * height * width * 3
        self._payload = options.payload or 2 * observation + 2**18

    async def run(self, started: Callable[[], None] = lambda: None, *, signals: bool = True) -> None:
        """Serve until ``stop`` is called or, with ``signals``, SIGTERM or SIGINT comes; then drain.

        Args:
            started: called as soon as clients can come; ``port`` is set then.
            signals: take the signals; only the main thread can.
        """
        options = self.options
        token, tls = read_token(options), _tls(options)
        batcher = Batcher(
            self.policy, batch=options.batch, queue=options.queue, deadline_s=options.deadline_s, metrics=self.metrics
        )
        self._service = Service(self.contract, options.guards, batcher, self.metrics)
        self.metrics.gauge("sessions", "Connections of robots and benchmarks.", lambda: len(self._sessions))
        self.metrics.gauge("waiting", "Observations waiting for the policy.", lambda: batcher.waiting)
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._stop.set)
        pages = Pages(token, self.metrics, self._live, self._not_ready, self._full)
        try:
            async with serve(
                self._serve,
                options.host,
                options.port,
                process_request=pages,
                origins=[None],  # no page of another site can talk to the robot through somebody's browser
                compression=None,
                max_size=self._payload,
                max_queue=2,
                ping_interval=None,  # a simulator that is busy does not answer pings; idle_s ends what is dead
                ssl=tls,
                server_header=None,
            ) as server:
                self.port = server.sockets[0].getsockname()[1]
                started()
                sweep = asyncio.create_task(self._sweep())
                await self._stop.wait()
                await self._drain(server)
                sweep.cancel()
        finally:
            self._service.close()

    def run_to_end(self, started: Callable[[], None] = lambda: None, *, signals: bool = True) -> None:
        """The same on an event loop of its own; returns when the server has ended.

        With ``signals`` the process is the server's own, and is prepared for that.
        """
        if signals:
            settle_in()
        uvloop.run(self.run(started, signals=signals))

    def stop(self) -> None:
        """Begin to drain; from any thread."""
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve(self, connection: ServerConnection) -> None:
        """One session, from the greeting to the end."""
        session = Session(_name(connection))
        state = self._sessions[connection] = _Open(session)
        reader = FrameReader(self.options.limits)
        try:
            await connection.send(encode(greeting(self.contract, self._limits(), self._guards())))
            while not self._draining:
                state.wait("request")
                frame = await connection.recv()
                state.wait("policy")
                reply = await self._reply(session, reader, frame, time.monotonic())
                if reply is not None:
                    state.wait("client")
                    broadcast([connection], reply)  # as send, with less around it
                    await asyncio.sleep(0)  # the answer leaves now; the rest can wait until it has
                    self._service.settle(session)
                    await connection.drain()
            await connection.close(GOING_AWAY, "the server is shutting down")
        except ConnectionClosed:
            pass
        except Exception:  # our own fault; the others go on
            logger.exception("%s: the session ends by an error of the server", session.name)
            await connection.close(INTERNAL_ERROR, "internal error; the server's log says which")
        finally:
            del self._sessions[connection]

    async def _reply(
        self, session: Session, reader: FrameReader, frame: bytes | str, received: float
    ) -> bytes | str | None:
        try:
            if isinstance(frame, str):
                raise FrameError("expected a binary message, got text")
            message = reader.read(frame)
            session.known = session.known and reader.repeated
            if not session.protocol:
                session.protocol = VLA_EVAL if vla_eval.speaks(message) else OPENPI
            if session.protocol == OPENPI:
                return await openpi.answer(self._service, session, message, received)
            if not vla_eval.speaks(message):
                raise FrameError("this is no message of vla-eval, which this session has begun with")
            return await vla_eval.answer(self._service, session, message, received)
        except FrameError as error:
            refused = Refused("frame", str(error))
        except Refused as caught:
            refused = caught
        self._service.refused(session, refused)
        return vla_eval.refusal(refused, 0) if session.protocol == VLA_EVAL else openpi.refusal(refused)

    async def _live(self) -> dict[str, Any]:
        return await asyncio.to_thread(snapshot, self._service, len(self._sessions))

    def _limits(self) -> dict[str, Any]:
        return {
            "payload": self._payload,
            "instruction": self.options.guards.instruction,
            "deadline_s": self.options.deadline_s,
            "max_age_s": self.options.guards.max_age_s,
        }

    def _guards(self) -> dict[str, Any]:
        guards = self.options.guards
        names = ("not_finite", "out_of_range", "step_limit", "no_answer", "step_limits", "frozen_after")
        return {name: getattr(guards, name) for name in names}

    def _not_ready(self) -> str | None:
        if self._draining:
            return "draining: the server is shutting down"
        return "stuck: the policy does not return" if self._service.batcher.stuck else None

    def _full(self) -> str | None:
        if self._draining:
            return "draining: the server is shutting down"
        if len(self._sessions) >= self.options.sessions:
            return f"busy: {self.options.sessions} sessions are open already, the most this server serves"
        return None

    async def _sweep(self) -> None:
        """Close sessions that say nothing, and cut those that do not take their answers."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            for connection, state in list(self._sessions.items()):
                if state.waits_for == "client" and now - state.since > self.options.stall_s:
                    logger.warning("%s: does not take its answer; cut off", state.session.name)
                    connection.transport.abort()
                elif state.waits_for == "request" and now - state.since > self.options.idle_s:
                    logger.info("%s: silent for %g s; closed", state.session.name, self.options.idle_s)
                    _later(connection.close(GOING_AWAY, f"nothing heard for {self.options.idle_s:g} s"), state)

    async def _drain(self, server: Server) -> None:
        """Let requests in progress end; take no new ones."""
        self._draining = True
        logger.info("shutting down: %d sessions", len(self._sessions))
        for connection, state in list(self._sessions.items()):
            if state.waits_for == "request":
                _later(connection.close(GOING_AWAY, "the server is shutting down"), state)
        end = time.monotonic() + self.options.drain_s
        while self._sessions and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for connection in list(self._sessions):
            connection.transport.abort()
        server.close()


class _Open:
    """What a session is waiting for, and since when."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tasks: set[asyncio.Task[None]] = set()
        self.wait("client")

    def wait(self, what: str) -> None:
        self.waits_for, self.since = what, time.monotonic()


def _later(work: Any, state: _Open) -> None:
    """Do it beside everything else, once: a close takes as long as the other side likes."""
    if not state.tasks:
        state.tasks.add(asyncio.ensure_future(work))
    else:
        work.close()


def _name(connection: ServerConnection) -> str:
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if address else "unknown"


def read_token(options: ServerOptions) -> str | None:
    """The token, if there is to be one; raises ValueError if its file cannot be read or is empty."""
    if options.token_file is None:
        return None
    try:
        token = options.token_file.read_text("utf-8").strip()
    except OSError as error:
        raise ValueError(f"token_file: {error}") from error
    if not token:
        raise ValueError(f"token_file: {options.token_file} is empty; write the token that clients must give")
    return token


def _tls(options: ServerOptions) -> ssl.SSLContext | None:
    if options.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.certificate, options.key)
    except OSError as error:  # ssl's own error is one too
        raise ValueError(f"certificate {options.certificate} and key {options.key}: {error}") from error
    return context


@contextmanager
def running(policy: Policy, options: ServerOptions, contract: Contract | None = None) -> Iterator[PolicyServer]:
    """A server on a thread of this process, drained on the way out: for tests and measurements.

    Args:
        policy: to serve.
        options: of the server; port 0 takes a free one, which ``port`` of the server then tells.
        contract: default that of ``policy`` under ``options``.
    """
    server = PolicyServer(policy, served_contract(policy, options) if contract is None else contract, options)
    ready = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            server.run_to_end(ready.set, signals=False)
        except BaseException as error:  # told to the thread that waits
            errors.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="policy server")
    thread.start()
    ready.wait()
    if errors:
        thread.join()
        raise errors[0]
    try:
        yield server
    finally:
        if thread.is_alive():
            server.stop()
        thread.join()
