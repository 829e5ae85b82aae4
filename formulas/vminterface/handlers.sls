{#- In a VM (a template, as a rule): the programs that answer Qubes RPC services, and their configuration. The list of
    services is the library's own. Where the VM has a handler of its own, that one stays, unless the pillar has replace: on.

    The ID is vminterface-handlers.
-#}
{%- from "vminterface/dom0.jinja" import in_dom0, refuse with context %}
{%- from "vminterface/map.jinja" import agent, faults, handlers, refuse_pillar with context %}
{%- set command = agent.command ~ " handlers %s --json" ~ (" --replace" if handlers.replace else "") %}
{%- if in_dom0 %}
{{ refuse("vminterface-handlers", "vminterface.handlers") }}
{%- elif faults %}
{{ refuse_pillar("vminterface-handlers", faults) }}
{%- else %}

include:
  - vminterface.library
  - vminterface.owner

vminterface-handlers:
  cmd.run:
    - name: {{ command % "install" }}
    # In a test what is to be installed may be missing itself; a check ends with 3 where something is to be done.
    - stateful:
      - test_name: >-
          if test -e {{ agent.command }} -a -e {{ agent.library }}/vminterface/cli/handlers.py;
          then {{ command % "check" }} || test $? -eq 3;
          else echo '{"changed": true, "comment": "service handlers: would be installed"}';
          fi
    - require:
      - file: vminterface-library
      - file: vminterface-command
{%- endif %}
