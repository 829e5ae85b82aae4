{#- In dom0: let every running VM report its memory and devices, also those that the pillar does not name. -#}
{%- from "vminterface/synced.jinja" import unsynced with context %}
{{ unsynced("vminterface-reports") }}
vminterface-reports:
  qubes_vm.all_reporting: []
