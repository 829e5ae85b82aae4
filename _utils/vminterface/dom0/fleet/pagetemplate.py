"""The template of the page: HTML, its style and the marks of states. It is Python, as Salt syncs no other files.

Nothing of it needs a network or a script, which its own policy forbids. Each state has a colour, a shape and its word.
"""

TEMPLATE = """\
{% macro mark(state) %}<svg class="m {{ state }}" aria-hidden="true"><use href="#m-{{ state }}"/></svg>{% endmacro %}
{% macro many(number, what) %}{{ number }} {{ what }}{{ "" if number == 1 else "s" }}{% endmacro %}
{% macro ago(seconds) %}
<time datetime="{{ seconds | moment }}">{{ (fleet.made - seconds) | age }}</time>
{%- endmacro %}
{% macro value(one) %}
{% if one is none %}<i>nothing</i>{% else %}<code>{{ one | line }}</code>{% endif %}
{% endmacro %}
{% macro sides(one) %}{{ value(one.store) }}, in the pillar {{ value(one.pillar) }}{% endmacro %}
{% macro names(vms) %}
{% for one in vms[:50] %}{{ one.host }}: {{ one.vm }}{{ ", " if not loop.last }}{% endfor %}
{% if vms | length > 50 %} and {{ vms | length - 50 }} more{% endif %}
{% endmacro %}
{% macro state_of(vm) %}
{% set applied = vm.condition("Applied") %}
<span class="{{ vm.state }}">{{ mark(vm.state) }}{{ words[vm.state] }}</span>
{% if applied and applied.since is not none %}
<small>for {{ ago(applied.since) }}</small>
{% endif %}
{% if applied and applied.message and vm.state in troubled %}
<br>{{ applied.message }}
{% endif %}
{% if vm.drift %}
<dl>
{% for field, one in vm.drift.items() %}
<dt>{{ field }}<dd>{{ sides(one) }}{% if "owner" in one %} (the VM's owner: {{ one.owner }}){% endif +%}
{% endfor %}
</dl>
{% endif %}
{% endmacro %}
{% macro memory_of(vm) %}
{% if vm.used_kb is not none %}
{% if vm.used_share is not none %}
<span class="b"><i style="width:{{ (vm.used_share * 100) | round | int }}%"></i></span>
{% endif %}
{{ vm.used_kb | size }}
{%- if vm.maximum_kb %} of {{ vm.maximum_kb | size }}{% endif %}
{% if vm.swap_used_kb %}, swap {{ vm.swap_used_kb | size }}{% endif %}
{% endif %}
{% endmacro %}
{% macro agent_of(vm) %}
{% set up = vm.condition("AgentUp") %}
{% if vm.agent is not none %}{{ vm.agent }}{% elif vm.running %}none{% endif %}
{% if vm.running and up and up.since is not none %}
 <small>for {{ ago(up.since) }}</small>
{%- endif %}
{% endmacro %}
{% macro push_of(vm) %}
{% if vm.pushed is not none %}{{ ago(vm.pushed) }} ago{% endif %}
{% if vm.acknowledged is not none %}
 <small>acknowledged {{ ago(vm.acknowledged) }} ago</small>
{%- endif %}
{% endmacro %}
{% macro monitors_of(vm) %}
{% if vm.monitors %}
{% set drawn = vm.monitors | drawing %}
<svg class="l" role="img" aria-label="{{ many(drawn.monitors | length, "monitor") }}" width="{{ drawn.width }}"
 height="{{ drawn.height }}" viewBox="{{ drawn.box }}">
{%- for one in drawn.monitors -%}
<rect x="{{ one.x }}" y="{{ one.y }}" width="{{ one.width }}" height="{{ one.height }}"/>
{#--#}<text x="{{ one.x + one.width // 2 }}" y="{{ one.y + one.height // 2 }}" font-size="{{ drawn.letters }}">
{{- loop.index }}</text>
{%- endfor -%}
</svg><small>{{ drawn.label }}</small>
{%- endif %}
{% endmacro %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { --text: #1b1b1f; --soft: #54545c; --page: #fff; --card: #f4f4f7; --line: #74747f; --link: #0b4f9e;
  --converged: #0b6b2e; --drifted: #845300; --refused: #b3261e; --hung: #6a1b9a; --failed: #a4123f;
  --not_running: #54545c; --not_in_pillar: #35618f; --unknown: #6b4a00; --silent: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --text: #e7e7ea; --soft: #b4b4bd; --page: #17171b; --card: #24242a;
  --line: #8d8d98; --link: #8fc1ff; --converged: #6fd08c; --drifted: #f0b95b; --refused: #ff9d94; --hung: #d7a6f5;
  --failed: #ff9ab8; --not_running: #b4b4bd; --not_in_pillar: #9cc4ee; --unknown: #e8c27a; --silent: #ff9d94; } }
body { color: var(--text); background: var(--page); font: 1rem/1.45 system-ui, sans-serif; margin: 0 auto;
  max-width: 80rem; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.2rem; margin: 1.6rem 0 .5rem; }
h3 { display: inline; font-size: 1rem; margin: 0; } p { margin: .4rem 0; }
a { color: var(--link); } :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; } .skip:focus { position: static; }
.soft, small { color: var(--soft); } small { font-size: .85rem; }
.m { width: 1em; height: 1em; vertical-align: -.12em; margin-right: .35em; fill: currentColor; }
{% for state in marks %}.{{ state }} { color: var(--{{ state }}); } {% endfor +%}
ul.totals, ul.tiles { display: flex; flex-wrap: wrap; gap: .5rem; list-style: none; margin: .5rem 0; padding: 0; }
ul.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); }
ul.totals li { background: var(--card); border-radius: .4rem; padding: .3rem .7rem; }
ul.tiles a { background: var(--card); border-left: .4rem solid; border-radius: .2rem; color: var(--text);
  display: block; overflow-wrap: anywhere; padding: .35rem .6rem; text-decoration: none; }
ul.tiles a:hover { text-decoration: underline; }
details { border: 1px solid var(--line); border-radius: .3rem; margin: .4rem 0; content-visibility: auto;
  contain-intrinsic-size: auto 2.6rem; }
summary { cursor: pointer; padding: .5rem .7rem; } details > div { padding: 0 .7rem .6rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { border-top: 1px solid var(--line); padding: .35rem .7rem .35rem 0; text-align: left; vertical-align: top; }
code { font-size: .9rem; overflow-wrap: anywhere; }
dl { margin: .2rem 0; } dt { font-weight: 600; } dd { margin: 0 0 0 1rem; }
.b { background: var(--page); border: 1px solid var(--line); display: block; height: .7rem; width: 9rem; }
.b i { background: var(--link); display: block; height: 100%; }
.l { display: block; } .l rect { fill: var(--card); stroke: var(--text); vector-effect: non-scaling-stroke; }
.l text { fill: var(--text); text-anchor: middle; dominant-baseline: central; }
@media print { details { border: 0; } a { color: inherit; } }
</style>
</head>
<body>
<svg width="0" height="0" style="position:absolute" aria-hidden="true">
{% for state, shape in marks.items() %}
<symbol id="m-{{ state }}" viewBox="0 0 16 16">{{ shape | safe }}</symbol>
{% endfor %}
</svg>
<a class="skip" href="#hosts">To the hosts</a>
<header>
<h1>{{ title }}</h1>
<p class="soft">As of <time>{{ fleet.made | moment }}</time>; ages are counted from then.</p>
</header>
<main>
<section aria-labelledby="totals">
<h2 id="totals">{{ many(counts.vms, "VM") }} on {{ many(counts.hosts, "host") }}</h2>
<ul class="totals">
{% if counts.silent %}
<li class="silent">{{ mark("silent") }}{{ many(counts.silent, "host") }} without a reply
{% endif %}
{% for state in states if counts[state] %}
<li class="{{ state }}">{{ mark(state) }}{{ counts[state] }} {{ words[state] }}
{% endfor %}
{% if counts.no_agent %}
<li>{{ counts.no_agent }} running without an agent
{% endif %}
</ul>
</section>
{% if troubles %}
<section aria-labelledby="reasons">
<h2 id="reasons">Why</h2>
{% for one in troubles %}
<details>
<summary>{{ mark(one.state) }}{{ one.vms | length }} {{ words[one.state] }}: {{ one.reason }}</summary>
<div>{{ names(one.vms) }}</div>
</details>
{% endfor %}
</section>
{% endif %}
{% if drift %}
<section aria-labelledby="drift">
<h2 id="drift">What differs from the pillar</h2>
{% for one in drift %}
<details>
<summary>{{ mark("drifted") }}{{ one.field }} on {{ many(one.vms, "VM") }} of {{ many(one.hosts, "host") }}</summary>
<div><dl>
{% for each in one["values"][:50] %}
<dt>{{ sides(each) }}<dd>{{ names(each.vms) }}
{% endfor %}
</dl>
{% if one["values"] | length > 50 %}
<p>and {{ one["values"] | length - 50 }} other values
{% endif %}
</div>
</details>
{% endfor %}
</section>
{% endif %}
<section aria-labelledby="hosts">
<h2 id="hosts" tabindex="-1">Hosts</h2>
<ul class="tiles">
{% for one in hosts %}
<li><a style="border-color:var(--{{ one.state }})" href="#h{{ loop.index }}">{{ mark(one.state) }}{{ one.host.name }}
<br><small>{{ one.short }}</small></a>
{% endfor %}
</ul>
{% for one in hosts %}
{% set record = one.host.record %}
<details{{ " open" if one.open }}>
<summary>{{ mark(one.state) }}<h3>{{ one.host.name }}</h3> <span class="soft">{{ one.summary }}</span></summary>
<div id="h{{ loop.index }}">
{% if one.host.message %}
<p>{{ one.host.message }}
{% endif %}
{% if record %}
<p class="soft">vminterface {{ record.version }}, inspected {{ ago(record.made) }} ago;
{{ "no good push is known" if record.pushed is none else "last good push " }}
{%- if record.pushed is not none %}{{ ago(record.pushed) }} ago{% endif +%}
{% for error in record.pillar_errors %}
<p>{{ mark("unknown") }}The pillar is wrong: <code>{{ error }}</code>
{% endfor %}
{% if record.vms %}
<div class="scroll" tabindex="0" role="region" aria-label="VMs of {{ one.host.name }}">
<table>
<thead><tr><th scope="col">VM<th scope="col">State<th scope="col">Memory<th scope="col">Agent
<th scope="col">Last good push<th scope="col">Monitors
<tbody>
{% for vm in record.vms.values() %}
<tr><th scope="row">{{ vm.name }}
<td>{{ state_of(vm) }}<td>{{ memory_of(vm) }}<td>{{ agent_of(vm) }}<td>{{ push_of(vm) }}<td>{{ monitors_of(vm) }}
{% endfor %}
</table>
</div>
{% elif not record.error %}
<p>No VM runs, and the pillar names none.
{% endif %}
{% endif %}
</div>
</details>
{% endfor %}
</section>
</main>
</body>
</html>
"""

#: What each state looks like without its colour, in a square of 16: no two have one outline.
MARKS = {
    "converged": '<circle cx="8" cy="8" r="7"/>',
    "drifted": '<path d="M8 1 15.5 15H.5z"/>',
    "refused": '<path d="M5 1h6l4 4v6l-4 4H5l-4-4V5zM4 7v2h8V7z" fill-rule="evenodd"/>',
    "hung": '<path d="M2 1h12L9 8l5 7H2l5-7z"/>',
    "failed": '<path d="M3 1l5 5 5-5 2 2-5 5 5 5-2 2-5-5-5 5-2-2 5-5-5-5z"/>',
    "not_running": '<circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="2"/>',
    "not_in_pillar": '<path d="M1 1h14v14H1zm2 2v10h10V3z" fill-rule="evenodd"/>',
    "unknown": '<path d="M8 .5 15.5 8 8 15.5.5 8z"/>',
    "silent": '<path d="M8 .5 15.5 8 8 15.5.5 8zm0 3L3.5 8 8 12.5 12.5 8z" fill-rule="evenodd"/>',
}
