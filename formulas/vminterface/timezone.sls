{#- In dom0: the time zone of every running VM. Nothing else of the pillar is pushed. -#}
{%- from "vminterface/synced.jinja" import unsynced with context %}
{{ unsynced("vminterface-timezone") }}
vminterface-timezone:
  qubes_vm.all_configured:
    - only: [timezone]
