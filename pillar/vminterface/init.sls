# What the VMs' side is told, by vminterface.agent and vminterface.handlers: of these fields, those that are as here need
# not be written down. What dom0 pushes, qubes:, is no part of it, as every VM gets this file.
vminterface:
  agent:
    # Whether the agent also starts and stops the systemd unit that has a service's name.
    live_services: off
    # What VMs accept of dom0 where their owners say nothing: accept, ignore or refuse, by setting or service.
    accepts: {}
  handlers:
    # Whether ours answer a service that the VM has a handler of its own for.
    replace: off
