{#- In dom0: what every running VM is: its type, persistence, default user, debug mode and the like. Nothing else of the pillar is pushed. -#}
{%- from "vminterface/synced.jinja" import unsynced with context %}
{{ unsynced("vminterface-flags") }}
vminterface-flags:
  qubes_vm.all_configured:
    - only: [type, updateable, persistence, base_template, default_user, debug]
