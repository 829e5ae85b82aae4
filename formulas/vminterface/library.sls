{#- In a VM: the library and the command, which the agent and the service handlers are made of. -#}
{%- from "vminterface/map.jinja" import agent, faults, packaged, refuse_pillar with context %}
{%- if faults %}
{{ refuse_pillar("vminterface-library", faults) }}
{%- elif packaged %}

# A package has brought both, and renews them.
vminterface-library:
  file.exists:
    - name: {{ agent.command }}

vminterface-command:
  file.exists:
    - name: {{ agent.command }}
{%- else %}

vminterface-library:
  file.recurse:
    - name: {{ agent.library }}/vminterface
    - source: salt://_utils/vminterface
    - exclude_pat: 'E@(^|/)(__pycache__|\.[^/]*)(/|$)|\.pyc$'
    - clean: true
    - user: root
    - group: root
    - dir_mode: '0755'
    - file_mode: '0644'

# Handlers run as a user who cannot keep what Python has compiled: each call would compile all of it anew.
vminterface-library-compiled:
  cmd.run:
    - name: {{ agent.python }} -m compileall -q {{ agent.library }}/vminterface
    - onchanges:
      - file: vminterface-library

vminterface-command:
  file.managed:
    - name: {{ agent.command }}
    - source: salt://vminterface/files/vminterface
    - template: jinja
    - context: {{ {"agent": agent} | tojson }}
    - user: root
    - group: root
    - mode: '0755'
{%- endif %}
