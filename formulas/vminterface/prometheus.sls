{#- In dom0: metrics of the VMs for Prometheus, in a file that its node_exporter reads, written anew each minute. Needs
    systemd, and node_exporter with --collector.textfile.directory. Stock Salt states alone.
-#}
{%- from "vminterface/map.jinja" import agent, faults, prometheus, refuse_pillar, watch with context %}
{%- from "vminterface/dom0pillar.jinja" import missing, pillar_file with context %}
{%- if faults or missing %}
{{ refuse_pillar("vminterface-prometheus", faults + ([missing] if missing else [])) }}
{%- else %}

include:
  - vminterface.library

{{ pillar_file("vminterface-prometheus-pillar") }}

vminterface-prometheus-service:
  file.managed:
    - name: /etc/systemd/system/vminterface-prometheus.service
    - source: salt://vminterface/files/vminterface-prometheus.service
    - template: jinja
    - context: {{ {"agent": agent, "watch": watch, "prometheus": prometheus} | tojson }}
    - user: root
    - group: root
    - mode: '0644'

vminterface-prometheus:
  file.managed:
    - name: /etc/systemd/system/vminterface-prometheus.timer
    - source: salt://vminterface/files/vminterface-prometheus.timer
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
  service.running:
    - name: vminterface-prometheus.timer
    - enable: true
    - require:
      - file: vminterface-library
      - file: vminterface-command
      - file: vminterface-prometheus-pillar
    - watch:
      - file: vminterface-prometheus-service
      - file: vminterface-prometheus
{%- endif %}
