"""What befalls a host: each kind of fault as a function that brings it about, and what ends it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count

from tests.simulation import intruder
from tests.simulation.host import BOOT, DOWN, Host
from tests.simulation.scenario import Fault, texts
from tests.simulation.trace import Disturbed
from tests.simulation.watcher import WRONG, WatcherOf
from tests.simulation.xenstore import OWN
from vminterface import keys
from vminterface.dom0.push.watch.ending import END
from vminterface.errors import KeyNotFound, QuotaExceeded

#: Seconds after which a request to a store that hung, or was gone, is made again.
HUNG = 3.5
#: Seconds that an agent takes for each setting while it is slow.
SLOW = 0.7
End = Callable[[], None]


def plan(host: Host, fault: Fault) -> None:
    """Let *fault* happen when its time comes, and end when it is over."""

    def begin() -> None:
        end = KINDS[fault.kind](host, fault)
        if end is not None:
            host.world.at(host.world.now + fault.seconds, end)

    host.world.at(fault.at, begin)


def heal(host: Host) -> None:
    """End all faults: daemons and agents run and are as they should be."""
    host.qubesd.go_on()
    host.qubesd.start()
    host.qubesd.failing = 0
    host.xenstored.go_on()
    host.xenstored.start()
    host.xenstored.late = host.xenstored.twice = 0.0
    host.world.slowest = 0.002
    for process in host.writers.values():
        process.go_on()
    if host.watcher is not None:
        if host.watcher.process is not None:
            host.watcher.process.go_on()
        if host.watcher.choice == WRONG:
            host.watcher.set_pillar(host.watcher.right or 0)
        # One that is about to end has done so by the second time.
        for seconds in (0.0, END + 0.1):
            host.world.at(host.world.now + seconds, host.watcher.start)
    for vm, agent in host.agents.items():
        if vm not in host.domids:
            host.start_vm(vm)
        if vm in host.pairs and not host.pairs[vm].dom0.up:
            host.pairs[vm].restart_dom0()
        for side in (host.pairs[vm].dom0, host.pairs[vm].inside) if vm in host.pairs else ():
            side.go_on()
            side.start()
            side.late = side.twice = 0.0
        agent.seconds, agent.refused = 0.0, frozenset()
        agent.failing.clear()
        if agent.process is not None:
            agent.process.go_on()
        else:
            host.world.at(host.world.now + BOOT, lambda vm=vm: host.start_agent(vm))  # type: ignore[misc]


def _disturb(host: Host, fault: Fault, vm: str = "", *, more: float = 0.1) -> None:
    """Note that the watcher may not notice what happens until *more* seconds after the fault."""
    host.trace.facts.append(Disturbed(host.world.now, host.world.now + fault.seconds + more, vm))


def _watcher(host: Host, fault: Fault) -> WatcherOf | None:
    """Return the watcher if it is what the fault befalls."""
    return host.watcher if host.watcher is not None and host.watcher.name == fault.target else None


def _kill(host: Host, fault: Fault) -> End | None:
    if (watcher := _watcher(host, fault)) is not None:
        watcher.kill()
        return watcher.start
    host.kill(host.writers[fault.target])
    return None


def _stop(host: Host, fault: Fault) -> End | None:
    process = host.writers[fault.target]
    if (watcher := _watcher(host, fault)) is not None:
        if watcher.process is None:
            return None
        process = watcher.process
        _disturb(host, fault)
    process.stop()
    return process.go_on


def _interrupt(host: Host, fault: Fault) -> End | None:
    if (watcher := _watcher(host, fault)) is not None:
        watcher.finish()
        return watcher.start
    if fault.target in host.stops:
        host.world.note(fault.target, "is interrupted")
        host.stops[fault.target].set()
    return None


def _agent_dies(host: Host, fault: Fault) -> End | None:
    agent = host.agents[fault.target]
    agent.kill()
    return lambda: host.start_agent(fault.target)


def _agent_hangs(host: Host, fault: Fault) -> End | None:
    process = host.agents[fault.target].process
    if process is None:
        return None
    process.stop()
    return process.go_on


def _agent_ends(host: Host, fault: Fault) -> End | None:
    agent = host.agents[fault.target]
    agent.finish()
    return lambda: host.start_agent(fault.target)


def _agent_fails(host: Host, fault: Fault) -> None:
    host.agents[fault.target].failing |= {"timezone", "services", "network"}


def _slow_agent(host: Host, fault: Fault) -> End:
    agent = host.agents[fault.target]
    before, agent.seconds = agent.seconds, SLOW

    def end() -> None:
        agent.seconds = before

    return end


def _store_hangs(host: Host, fault: Fault) -> End:
    daemon = host.pairs[fault.target].dom0 if fault.target in host.pairs else host.xenstored
    _disturb(host, fault, fault.target if fault.target in host.pairs else "", more=HUNG)
    daemon.hang()
    return daemon.go_on


def _connections_lost(host: Host, fault: Fault) -> None:
    daemon = host.pairs[fault.target].dom0 if fault.target in host.pairs else host.xenstored
    _disturb(host, fault, fault.target if fault.target in host.pairs else "", more=HUNG)
    host.world.note(daemon.name, "loses its connections")
    for client in list(daemon.clients):
        client.lose("Connection reset by peer")


def _start(host: Host, vm: str) -> None:
    """Start *vm*, unless it runs, and its agent once it has booted."""
    if vm not in host.domids:
        host.start_vm(vm)
        host.world.at(host.world.now + BOOT, lambda: host.start_agent(vm))


def _vm_restarts(host: Host, fault: Fault) -> End | None:
    vm = fault.target
    if vm not in host.domids:
        return None
    host.end_vm(vm)

    host.world.at(host.world.now + DOWN, partial(_start, host, vm))
    return None


def _dom0_restarts(host: Host, fault: Fault) -> None:
    if fault.target in host.pairs:
        host.pairs[fault.target].restart_dom0()


def _inside_restarts(host: Host, fault: Fault) -> None:
    if fault.target in host.pairs:
        host.pairs[fault.target].restart_inside()


def _dom0_dies(host: Host, fault: Fault) -> End | None:
    """End dom0's daemon, so that its socket refuses; the VM runs on."""
    pair = host.pairs.get(fault.target)
    if pair is None or not pair.dom0.up:
        return None
    pair.end_dom0()
    _disturb(host, fault, fault.target)
    return lambda: pair.restart_dom0() if not pair.dom0.up and pair.inside.up else None


def _vm_ends(host: Host, fault: Fault) -> End | None:
    vm = fault.target
    if vm not in host.domids:
        return None
    host.end_vm(vm)

    return partial(_start, host, vm)


def _xenstored_restarts(host: Host, fault: Fault) -> End:
    """End the daemon for a while; it has its nodes again then, as after a live update."""
    _disturb(host, fault, more=HUNG)
    host.xenstored.die()
    return host.xenstored.start


def _pillar_wrong(host: Host, fault: Fault) -> End | None:
    watcher = host.watcher
    if watcher is None or watcher.choice == WRONG:
        return None
    before = watcher.choice
    watcher.set_pillar(WRONG)
    return lambda: watcher.set_pillar(before) if watcher.choice == WRONG else None


def _hostile(host: Host, fault: Fault) -> End | None:
    """Let somebody in the VM write over what dom0 and the agent have said, as far as the store lets a VM."""
    vm = fault.target
    if vm not in host.domids or (host.on_qubesdb and vm not in host.pairs):
        return None
    host.untrusted.add(vm)
    process, domid = host.world.process(f"intruder in {vm}"), host.domids[vm]

    def begin() -> None:
        # It is one of the VM's programs, which may have ended at the same time.
        if host.domids.get(vm) == domid:
            intruder.run(lambda: host.own_store(vm, process), process)

    process.start(begin)
    return process.kill


def _qubesd_fails(host: Host, fault: Fault) -> None:
    host.qubesd.failing, host.qubesd.storing = 1 + int(fault.seconds), "stores" in fault.kind


def _qubesd_hangs(host: Host, fault: Fault) -> End:
    host.qubesd.hang()
    return host.qubesd.go_on


def _qubesd_dies(host: Host, fault: Fault) -> End:
    host.qubesd.die()
    return host.qubesd.start


def _nodes_used_up(host: Host, fault: Fault) -> End | None:
    """Let a program in the VM make nodes until it may have no more; it removes them later."""
    domid, who = host.domids.get(fault.target), f"a program in {fault.target}"
    if domid is None or host.on_qubesdb:
        return None
    own = f"/local/domain/{domid}/{OWN}"
    host.world.note(who, "uses up the nodes of its VM")
    with suppress(QuotaExceeded):
        for number in count():
            host.xenstored.write(who, None, f"{own}/{number}", b"", domid)

    def end() -> None:
        host.world.note(who, "removes its nodes")
        # There is nothing where the VM has ended.
        with suppress(KeyNotFound):
            for name in host.xenstored.names(None, own):
                host.xenstored.remove(who, None, f"{own}/{name}", domid)

    return end


def _foreign_write(host: Host, fault: Fault) -> None:
    """Let a program that knows nothing of locks write a field of a VM."""
    vm = fault.target
    name = keys.for_field(next(iter(texts(vm, 0, host.scenario.fields)))).name
    if vm in host.pairs:
        host.pairs[vm].dom0.write("another program", f"/{name}", b"another")
    elif vm in host.domids and not host.on_qubesdb:
        host.xenstored.write("another program", None, f"/local/domain/{host.domids[vm]}/{name}", b"another")
    else:
        return
    host.untrusted.add(vm)


KINDS: dict[str, Callable[[Host, Fault], End | None]] = {
    "kill": _kill,
    "stop": _stop,
    "interrupt": _interrupt,
    "agent dies": _agent_dies,
    "agent ends": _agent_ends,
    "agent hangs": _agent_hangs,
    "agent fails once": _agent_fails,
    "slow agent": _slow_agent,
    "store hangs": _store_hangs,
    "connections lost": _connections_lost,
    "vm restarts": _vm_restarts,
    "vm ends": _vm_ends,
    "xenstored restarts": _xenstored_restarts,
    "pillar is wrong": _pillar_wrong,
    "dom0's daemon restarts": _dom0_restarts,
    "vm's daemon restarts": _inside_restarts,
    "dom0's daemon dies": _dom0_dies,
    "intruder": _hostile,
    "foreign write": _foreign_write,
    "nodes used up": _nodes_used_up,
    "qubesd stores, then fails": _qubesd_fails,
    "qubesd refuses": _qubesd_fails,
    "qubesd hangs": _qubesd_hangs,
    "qubesd dies": _qubesd_dies,
}
