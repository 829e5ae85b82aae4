{#- In dom0: the addresses of every running VM, and those that VMs with a network of their own hand out. Nothing else of the pillar is pushed. -#}
{%- from "vminterface/synced.jinja" import unsynced with context %}
{{ unsynced("vminterface-network") }}
vminterface-network:
  qubes_vm.all_configured:
    - only: [network, provides_network]
