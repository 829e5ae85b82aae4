"""Connections to a port of the VM: each way at its own pace, and an end for whoever goes first."""

from __future__ import annotations

import os
import socket
import struct
import threading

import pytest

from tests.support.agentcall import Running, call, within
from tests.support.echoserver import EchoServer
from tests.support.handlers import VM
from vminterface.vm.handlers import connecttcp

SERVICE, PROXY = "qubes.ConnectTCP", "qubes.UpdatesProxy"


def test_both_sides_speak_in_turn(vm: VM) -> None:
    with EchoServer() as server, Running(vm, SERVICE, str(server.port)) as running:
        for word in (b"one", b"two", b"three"):
            running.send(word)
            assert running.read(len(word)) == word
        running.end_input()
        assert running.ended().status == 0


def test_much_goes_both_ways_while_nobody_reads_the_answer(vm: VM) -> None:
    """A caller that sends all before it reads is not blocked for ever: 4 MiB are more than all the buffers hold."""
    data = os.urandom(4 << 20)
    got = bytearray()

    def at_once(connection: socket.socket) -> None:
        writer = threading.Thread(target=connection.sendall, args=(data,))
        writer.start()
        while piece := connection.recv(65536):
            got.extend(piece)
        writer.join()

    with EchoServer(at_once) as server, Running(vm, SERVICE, str(server.port)) as running:
        running.send(data)
        running.end_input()
        reply = running.ended()
        assert (reply.status, reply.stdout == data, bytes(got) == data) == (0, True, True)


def test_an_answer_that_ends_first_ends_the_call_although_the_caller_keeps_its_side_open(vm: VM) -> None:
    with EchoServer(lambda c: c.sendall(b"bye")) as server, Running(vm, SERVICE, str(server.port)) as running:
        reply = running.ended()
        assert (reply.status, reply.stdout, reply.stderr) == (0, b"bye", "")


def test_what_the_caller_sends_last_is_followed_by_the_answer(vm: VM) -> None:
    def last(connection: socket.socket) -> None:
        request = b""
        while piece := connection.recv(65536):
            request += piece
        connection.sendall(request.upper())

    with EchoServer(last) as server:
        assert call(vm, SERVICE, b"to the end", str(server.port)).stdout == b"TO THE END"


def test_a_caller_that_goes_ends_a_connection_that_says_nothing(vm: VM) -> None:
    gone = threading.Event()

    def say_nothing(connection: socket.socket) -> None:
        gone.wait(10)

    with EchoServer(say_nothing) as server, Running(vm, SERVICE, str(server.port)) as running:
        running.send(b"x")
        running.hang_up()
        assert running.process.wait(10) == 1
        gone.set()


def test_a_connection_that_breaks_off_is_told(vm: VM) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with EchoServer(reset) as server, Running(vm, SERVICE, str(server.port)) as running:
        running.send(b"x")
        assert running.ended().refused(SERVICE) == "the connection ended early: Connection reset by peer"


def test_without_a_proxy_the_template_hears_why(vm: VM) -> None:
    with EchoServer() as server:
        port = server.port
    vm.write("etc/vminterface/handlers.conf", f"updates-proxy-port = {port}\n")
    reason = call(vm, PROXY).refused(PROXY)
    assert reason == f"port {port} of 127.0.0.1 cannot be connected to: Connection refused"


@pytest.mark.parametrize("text", ["0", "http", "65536", "-1", "08082"])
def test_a_port_that_is_none_is_refused_by_its_file(vm: VM, text: str) -> None:
    vm.write("etc/vminterface/handlers.conf", f"updates-proxy-port = {text}\n")
    reason = call(vm, PROXY).refused(PROXY)
    assert reason.startswith(f"/etc/vminterface/handlers.conf: updates-proxy-port: '{text}' is not a valid port")


def test_the_callers_streams_are_left_as_they_were(vm: VM) -> None:
    """They may be a terminal that somebody goes on using."""
    with EchoServer() as server, within(vm, SERVICE, b"x", str(server.port)) as (one, reply):
        connecttcp.handle(one)
        assert reply.recv(10) == b"x"
        assert os.get_blocking(one.stdin.fileno())
        assert os.get_blocking(one.stdout.fileno())
