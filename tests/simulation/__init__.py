"""A deterministic simulation of the whole system: real code, a simulated world, and one seed for each schedule.

What is real: ``dom0/push`` with its locks and acknowledgements and its watcher, the states' bare keys, ``vm/agent``.
What is simulated: the stores at the interface of ``channel/store`` (xenstored with transactions, conflicts and
permissions; a pair of QubesDB daemons whose other side sees writes later), qubesd and its events, what an agent's
settings do to its machine, time, and the order in which everything happens. The library takes clock, threads, pools
and locks from ``vminterface.runtime``; `scheduler` puts its own there, in which each thread is a greenlet and each wait
is a switch to one scheduler. So a run takes milliseconds, needs no thread, socket or sleep, and is the same each time.

A seed stands for a `scenario`: VMs and their agents, writers and what they set when, a watcher in some, and `faults`.
`host` brings it to life, `run` lets it run until all writers have ended, heals it, and pushes twice more. What happened
is a `trace` of facts, of which `invariants` say what must hold of every run, `watched` what must of a watcher, and
`rest` what must hold in the end.

    make simulate                                           a million seeds
    PYTHONPATH=_utils python -m tests.simulation --seeds 0:10000              those, as in `make test`
    PYTHONPATH=_utils python -m tests.simulation --seed 4711 --shrunk       the story of one that fails

`regressions` holds patches that each take a mend out of the library again; a test sees that the simulation finds it.

What it cannot show: faults of the parts that are not real here (wire formats, sockets, pacing of QubesDB, signals), and
anything that needs more than three VMs. A QubesDB has no transactions, so what dom0 and the VM see differs for a while:
an acknowledgement that is on its way when dom0 restores and sets the same value again counts for the second push.
"""
