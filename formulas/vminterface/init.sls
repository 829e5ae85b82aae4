{#- In dom0: bring every running VM to what the pillar says (qubes:defaults, qubes:vms): its keys in one state, then the
    monitors of those that have some there.

    The states' IDs are for your requisites:

      require:
        - qubes_vm: vminterface-push
        - qubes_rpc: vminterface-push-monitors
-#}
vminterface-push:
  qubes_vm.all_configured: []

vminterface-push-monitors:
  qubes_rpc.all_monitors: []
