{#- In dom0: let every running VM report its memory and devices, also those that the pillar does not name. -#}
vminterface-reports:
  qubes_vm.all_reporting: []
