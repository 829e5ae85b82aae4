{#- In dom0: the time zone of every running VM. Nothing else of the pillar is pushed. -#}
vminterface-timezone:
  qubes_vm.all_configured:
    - only: [timezone]
