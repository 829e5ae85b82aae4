{#- In a VM: what it accepts from dom0 where its owner has no file, as a file that the agent and the handlers read. A file
    that the owner has written stays as it is; /rw/config/vminterface/agent.conf, the owner's, goes before it.

    The ID is vminterface-owner.
-#}
{%- from "vminterface/dom0.jinja" import in_dom0 with context %}
{%- from "vminterface/map.jinja" import agent, faults with context %}
{%- set path = "/etc/vminterface/agent.conf" %}
{%- set mark = "Managed by Salt: vminterface.agent. Without this line it is yours, and Salt leaves it alone." %}
{%- if not in_dom0 and not faults %}
{#- One look for all, as each costs a connection of salt-ssh, which takes a "#" in an argument for the end of it. -#}
{%- set look = "if grep -qsxF " ~ path ~ " /etc/qubes/protected-files.d/* /rw/config/protected-files.d/*; then echo protected;"
    ~ " elif [ ! -e " ~ path ~ " ] && [ ! -h " ~ path ~ " ]; then echo absent;"
    ~ " elif [ -f " ~ path ~ " ] && grep -qsx '. " ~ mark ~ "' " ~ path ~ "; then echo managed; else echo own; fi" %}
{%- set found = (salt["cmd.run_all"](look, python_shell=True).stdout | default("", true)).strip() %}
{%- if agent.accepts and found in ("protected", "own") %}

vminterface-owner:
  test.show_notification:
    - text: {{ (path ~ (" is protected in this VM" if found == "protected" else " is the VM owner's own") ~ ": left as it is") | tojson }}
{%- elif agent.accepts %}

vminterface-owner:
  file.managed:
    - name: {{ path }}
    - contents:
      - {{ ("# " ~ mark) | tojson }}
{%- for name, word in agent.accepts | dictsort %}
      - {{ (name ~ " = " ~ word) | tojson }}
{%- endfor %}
    - makedirs: true
    - user: root
    - group: root
    - mode: '0644'
{%- elif found == "managed" %}

vminterface-owner:
  file.absent:
    - name: {{ path }}
{%- endif %}
{%- endif %}
