{#- In dom0: keep every VM as the pillar says, however often it is started. Needs systemd. Stock Salt states alone.

    The VMs' part of the pillar becomes a file that root alone can read; the watcher reads it again when it changes, and
    need not be started anew for that. Without a list of VMs in the pillar nothing is changed, and the state fails.
-#}
{%- from "vminterface/map.jinja" import agent, faults, refuse_pillar, watch with context %}
{%- set qubes = pillar.get("qubes") %}
{%- if qubes is not mapping or qubes.get("vms") is not mapping %}
{%- do faults.append("qubes:vms: is not in the pillar of minion " ~ grains["id"]
    ~ " (expected a mapping of VMs to their settings, {} for no VMs)") %}
{%- endif %}
{%- if faults %}
{{ refuse_pillar("vminterface-watch", faults) }}
{%- else %}

include:
  - vminterface.library

vminterface-watch-pillar:
  file.serialize:
    - name: {{ watch.pillar }}
    - dataset: {{ {"qubes": pillar.get("qubes", {})} | tojson }}
    - serializer: json
    - show_changes: false
    - makedirs: true
    - dir_mode: '0700'
    - user: root
    - group: root
    - mode: '0600'

vminterface-watch:
  file.managed:
    - name: /etc/systemd/system/vminterface-watch.service
    - source: salt://vminterface/files/vminterface-watch.service
    - template: jinja
    - context: {{ {"agent": agent, "watch": watch} | tojson }}
    - user: root
    - group: root
    - mode: '0644'
  service.running:
    - name: vminterface-watch
    - enable: true
    - require:
      - file: vminterface-watch-pillar
    - watch:
      - file: vminterface-library
      - file: vminterface-command
      - file: vminterface-watch
{%- endif %}
