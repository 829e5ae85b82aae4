{#- In dom0: bring every running VM to what the pillar says (qubes:defaults, qubes:vms), all of it in one state.

    The state's ID is for your requisites:

      require:
        - qubes_vm: vminterface-push
-#}
vminterface-push:
  qubes_vm.all_configured: []
