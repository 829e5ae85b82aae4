{#- In a VM or in dom0: take away what the other states have put there: the service handlers, in whose place the VM's own
    come back, the agent, the watcher, the library and the command. Stock Salt states alone.

    What the VM's owner or the admin has written below /etc/vminterface stays, and so does what a package has brought.
-#}
{%- from "vminterface/dom0.jinja" import in_dom0 with context %}
{%- from "vminterface/map.jinja" import agent, faults, packaged, refuse_pillar, watch with context %}
{%- set systemd = grains["init"] == "systemd" %}
{%- set service = "vminterface-watch" if in_dom0 else "vminterface-agent" %}
{%- set command = agent.command ~ " handlers %s --json" %}
{#- It prints what it did in the form that `cmd.run` with `stateful` reads. #}
{%- macro handlers(words) -%}
if test -e {{ agent.command }} -a -e {{ agent.library }}/vminterface/cli/handlers.py; then {{ command % words }};
          else echo '{"changed": false, "comment": "service handlers: no command here, nothing to remove"}'; fi
{%- endmacro %}
{#- A folder that the library shares with others is theirs. #}
{%- set folders = "/etc/vminterface" ~ (" " ~ agent.library if agent.library.endswith("/vminterface")) %}
{%- macro emptied(action) -%}
if find {{ folders }} -depth -type d -empty {{ action }} 2>/dev/null | grep -q .;
          then echo '{"changed": true, "comment": "empty folders of {{ folders }} removed"}';
          else echo '{"changed": false, "comment": "no empty folder in {{ folders }}"}'; fi
{%- endmacro %}
{%- if faults %}
{{ refuse_pillar("vminterface-absent", faults) }}
{%- else %}

# In a test Salt's state would stop a service that is not there.
vminterface-absent:
{%- if salt["service.available"](service) %}
  service.dead:
    - name: {{ service }}
{%- if systemd %}
    - enable: false
{%- endif %}
{%- else %}
  test.show_notification:
    - text: "{{ service }} is not installed here"
{%- endif %}
{%- if not in_dom0 %}

# With the library, so before it goes.
vminterface-absent-handlers:
  cmd.run:
    - name: >-
          {{ handlers("remove") }}
    - stateful:
      - test_name: >-
          {{ handlers("check --removed") }} || test $? -eq 3
    - require:
      - id: vminterface-absent
{%- endif %}

{%- if in_dom0 and salt["service.available"]("vminterface-prometheus.timer") %}

vminterface-absent-prometheus:
  service.dead:
    - name: vminterface-prometheus.timer
    - enable: false
    - require_in:
      - file: vminterface-absent-service
{%- endif %}

vminterface-absent-service:
  file.absent:
    - names:
      - /etc/systemd/system/{{ service }}.service
{%- if in_dom0 %}
      - /etc/systemd/system/vminterface-prometheus.service
      - /etc/systemd/system/vminterface-prometheus.timer
{%- endif %}
{%- if not in_dom0 %}
      - /etc/init.d/vminterface-agent
      - /run/vminterface-agent.pid
      - /run/vminterface-agent.ready
      - /var/log/vminterface-agent.log
{%- endif %}
    - require:
      - id: vminterface-absent
{%- if systemd %}
  cmd.run:
    - name: systemctl daemon-reload
    - onchanges:
      - file: vminterface-absent-service
{%- elif not in_dom0 %}
  cmd.run:
    - name: update-rc.d vminterface-agent remove
    - onchanges:
      - file: vminterface-absent-service
{%- endif %}
{%- if packaged %}

vminterface-absent-package:
  test.show_notification:
    - text: "library and command are a package's: left to the package manager"
{%- else %}

vminterface-absent-library:
  file.absent:
    - names:
      - {{ agent.library }}/vminterface
      - {{ agent.command }}
{%- if not in_dom0 %}
    - require:
      - cmd: vminterface-absent-handlers
{%- endif %}
{%- endif %}

# What the states have written there, and no file that is its owner's.
vminterface-absent-settings:
  file.absent:
    - names:
      - {{ watch.pillar }}
{%- set owned = "grep -qsx '. Managed by Salt: vminterface.agent.*' /etc/vminterface/agent.conf && echo managed" %}
{%- if not in_dom0 and (salt["cmd.run_all"](owned, python_shell=True, ignore_retcode=True).stdout | default("", true)).strip() == "managed" %}
      - /etc/vminterface/agent.conf
{%- endif %}
  cmd.run:
    - name: >-
          {{ emptied("-print -delete") }}
    - stateful:
      - test_name: >-
          {{ emptied("-print") }}
    - require:
      - file: vminterface-absent-settings
{%- if not packaged and not in_dom0 %}
      - file: vminterface-absent-library
{%- endif %}
{%- endif %}
