{#- In dom0: keep every VM as configured in the pillar, however often it is started. Needs systemd. Stock Salt states alone.

    The VMs' part of the pillar becomes a file; the watcher reads it again when it changes, and need not be started anew
    for that. Without a list of VMs in the pillar nothing is changed, and the state fails.
-#}
{%- from "vminterface/map.jinja" import agent, faults, refuse_pillar, watch with context %}
{%- from "vminterface/dom0pillar.jinja" import missing, pillar_file with context %}
{%- if faults or missing %}
{{ refuse_pillar("vminterface-watch", faults + ([missing] if missing else [])) }}
{%- else %}

include:
  - vminterface.library

{{ pillar_file("vminterface-watch-pillar") }}

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
