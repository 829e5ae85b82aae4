{#- In dom0: give every running VM the settings of the pillar (qubes:defaults, qubes:vms), monitors too.

    The state's ID is for your requisites:

      require:
        - qubes_vm: vminterface-push

    vminterface-push-monitors is there for older ones: after the push it finds nothing left to do.
-#}
{%- from "vminterface/synced.jinja" import unsynced with context %}
{{ unsynced("vminterface-push") }}
vminterface-push:
  qubes_vm.all_configured: []

vminterface-push-monitors:
  qubes_rpc.all_monitors: []
