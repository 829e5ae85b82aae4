{#- In dom0: the services of every running VM. Nothing else of the pillar is pushed. -#}
{%- from "vminterface/synced.jinja" import unsynced with context %}
{{ unsynced("vminterface-services") }}
vminterface-services:
  qubes_vm.all_configured:
    - only: [services]
