{#- In dom0: the services of every running VM. Nothing else of the pillar is pushed. -#}
vminterface-services:
  qubes_vm.all_configured:
    - only: [services]
