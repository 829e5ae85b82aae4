{#- In dom0: what every running VM is: its type, persistence, default user, debug mode and the like. Nothing else of the pillar is pushed. -#}
vminterface-flags:
  qubes_vm.all_configured:
    - only: [type, updateable, persistence, base_template, default_user, debug]
