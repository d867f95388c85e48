"""The service supervisor hears when the agent is ready and that its loop turns; or nobody does."""

import socket

import pytest

from edge_agents.agent.notify import ServiceNotice


@pytest.mark.parametrize("abstract", [False, True])
def test_a_supervisor_is_told_over_the_socket_it_names(tmp_path, abstract):
    name = f"@machikoba-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(name.replace("@", "\0", 1))
        supervisor.settimeout(2)
        notice = ServiceNotice({"NOTIFY_SOCKET": name})

        notice.ready()
        notice.alive()
        notice.stopping()

        assert [supervisor.recv(64) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_without_a_supervisor_nothing_happens(tmp_path):
    ServiceNotice({}).ready()
    ServiceNotice({"NOTIFY_SOCKET": str(tmp_path / "gone")}).alive()
