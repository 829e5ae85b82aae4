# Options of vminterface.agent and vminterface.handlers in the VMs; these are the defaults, which need not be written down.
# What dom0 pushes, qubes:, does not belong here, as every VM gets this file.
vminterface:
  agent:
    # Whether the agent also starts and stops the systemd unit that has a service's name.
    live_services: off
    # What VMs accept from dom0 where their owners have no file: accept, ignore or refuse, by setting or service.
    accepts: {}
  handlers:
    # Whether these handlers replace those that the VM has for the same services.
    replace: off
