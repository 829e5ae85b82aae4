{#- In dom0: the keyboard layout of every running VM. Nothing else of the pillar is pushed. -#}
{%- from "vminterface/synced.jinja" import unsynced with context %}
{{ unsynced("vminterface-keyboard") }}
vminterface-keyboard:
  qubes_vm.all_configured:
    - only: [keyboard, keymap]
