{#- On the master: push the pillars of many hosts, a few hosts first; it stops where a VM refuses, and that batch has what it had.

      salt-run state.orchestrate vminterface.rollout pillar='{rollout: {name: zones, tgt: "dom0-*", canary: [dom0-paris]}}'

    What is below `rollout` are the parameters of the runner qubes_fleet.push; with `resume: true` it goes on, and with
    `restore: true` it gives all VMs back what they had.
-#}
{%- set asked = salt["pillar.get"]("rollout", {}) %}
vminterface-rollout:
{%- if asked.name is not defined %}
  test.fail_without_changes:
    - name: "rollout:name is not in the pillar (expected pillar='{rollout: {name: zones, canary: [dom0-paris]}}')"
{%- else %}
  salt.runner:
    - name: qubes_fleet.push
    - arg: [{{ asked.name | tojson }}]
{%- for parameter, value in asked.items() if parameter != "name" %}
    - {{ parameter | tojson }}: {{ value | tojson }}
{%- endfor %}
{%- endif %}
