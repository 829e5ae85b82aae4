{#- In a VM (a template, as a rule): install the agent and keep it running. Stock Salt states alone, no pip.

    The ID of the running agent is vminterface-agent. After it vminterface-agent-replies asks the agent itself, which
    fails where it hangs, or has not reached its store within half a minute.
-#}
{%- from "vminterface/dom0.jinja" import in_dom0, refuse with context %}
{%- from "vminterface/map.jinja" import agent, faults, refuse_pillar with context %}
{%- set systemd = grains["init"] == "systemd" %}
{%- if in_dom0 %}
{{ refuse("vminterface-agent", "vminterface.agent") }}
{%- elif faults %}
{{ refuse_pillar("vminterface-agent", faults) }}
{%- else %}

include:
  - vminterface.library
  - vminterface.owner

vminterface-agent:
  file.managed:
{%- if systemd %}
    - name: /etc/systemd/system/vminterface-agent.service
    - source: salt://vminterface/files/vminterface-agent.service
    - mode: '0644'
{%- else %}
    - name: /etc/init.d/vminterface-agent
    - source: salt://vminterface/files/vminterface-agent.init
    - mode: '0755'
{%- endif %}
    - template: jinja
    - context: {{ {"agent": agent} | tojson }}
    - user: root
    - group: root
  service.running:
    - name: vminterface-agent
{%- if systemd %}
    - enable: true
{%- endif %}
    - watch:
      - file: vminterface-library
      - file: vminterface-command
      - file: vminterface-agent

vminterface-agent-replies:
  cmd.run:
    - name: {{ agent.command }} agent --check --json
    - stateful:
      - test_name: >-
          if test -S /run/vminterface-agent.sock -a -e {{ agent.command }};
          then {{ agent.command }} agent --check --json;
          else echo '{"changed": true, "comment": "the agent would be asked whether it works"}';
          fi
    - require:
      - service: vminterface-agent
{%- if not systemd %}

# Salt itself enables such a service with insserv, which need not be installed.
vminterface-agent-at-boot:
  cmd.run:
    - name: update-rc.d vminterface-agent defaults
    - unless: ls /etc/rc2.d/S[0-9][0-9]vminterface-agent
    - require:
      - file: vminterface-agent
{%- endif %}
{%- endif %}
