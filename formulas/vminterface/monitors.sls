{#- In dom0: the monitors of every running VM that has some in the pillar. Nothing else of the pillar is pushed. -#}
{%- from "vminterface/synced.jinja" import unsynced with context %}
{{ unsynced("vminterface-monitors") }}
vminterface-monitors:
  qubes_rpc.all_monitors: []
