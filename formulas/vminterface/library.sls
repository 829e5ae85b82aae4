{#- In a VM: the library and the command, which the agent and the service handlers are made of. -#}
{%- from "vminterface/dom0.jinja" import in_dom0 with context %}
{%- from "vminterface/map.jinja" import agent, faults, packaged, refuse_pillar with context %}
{#- Where tools/install puts it. -#}
{%- set installed = "/usr/local/lib/vminterface/vminterface" %}
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
{%- if in_dom0 and opts["file_client"] == "local" and salt["file.directory_exists"](installed) %}
  # Salt would keep its own copy of each file, which costs every salt-call.
  file.symlink:
    - name: {{ agent.library }}/vminterface
    - target: {{ installed }}
    - force: true
    - makedirs: true
{%- else %}
  file.recurse:
    - name: {{ agent.library }}/vminterface
    # The first is there where tools/install has put the library outside of _utils.
    - source:
      - salt://vminterface/library
      - salt://_utils/vminterface
    - exclude_pat: 'E@(^|/)(__pycache__|\.[^/]*)(/|$)|\.pyc$'
    - clean: true
    - user: root
    - group: root
    - dir_mode: '0755'
    - file_mode: '0644'
{%- endif %}

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
