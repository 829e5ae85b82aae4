{#- On the master, for the event push_due of the beacon qubes_vm: its host pushes to the VMs that have started or drifted.

      reactor:
        - salt/beacon/*/qubes_vm/push_due:
            - salt://vminterface/reactor.sls

    The names come from the host, and are passed on as data; the host's ID is the only one in a list, so that it is never
    a pattern that others match. VMs that the pillar does not name are left out there.
-#}
push-what-is-due:
  local.qubes_rollout.push_due:
    - tgt: [{{ data["id"] | tojson }}]
    - tgt_type: list
    - args:
        - vms: {{ data["vms"] | tojson }}
