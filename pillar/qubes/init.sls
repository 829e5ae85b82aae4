# yaml-language-server: $schema=../vminterface.schema.json
qubes:
  defaults:
    timezone: Europe/Warsaw
    services: {cups: off}
  vms:
    work:
      timezone: America/Indiana/Indianapolis
      # On Qubes R4 meminfo-writer is a key of the running VM alone; memory balancing is property maxmem there.
      services: {cups: on, meminfo-writer: on, clocksync: default}
      network: {ip: 10.137.0.12, netmask: 255.255.255.255, gateway: 10.137.0.5, dns: [10.139.1.1, 10.139.1.2]}
      keyboard: pl+dvorak
      # On Qubes, where services can be called: the monitors that dom0 has.
      # monitors: from_dom0
      debug: off
      # On Qubes R4 qubesd keeps these, for VMs that do not run too. dom0 itself is never touched.
      # label: blue
      # memory: 400
      # maxmem: 4GiB
      # features: {gui-allow-fullscreen: on, check-updates: off}
    personal:
      type: AppVM
      services: {meminfo-writer: on}
      network: {ip: 10.137.0.13, netmask: 255.255.255.255, gateway: 10.137.0.5, dns: [10.139.1.1, 10.139.1.2]}
    sys-net:
      type: NetVM
      provides_network: {gateway: 10.137.0.5, netmask: 255.255.255.255, network: 10.137.0.0, dns: [10.139.1.1, 10.139.1.2]}
