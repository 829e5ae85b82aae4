# dom0 alone has what it pushes, as no VM should learn the settings of another. The VMs have the options of their agent
# and handlers.
base:
  'dom0*':
    - qubes
  'not dom0*':
    - match: compound
    - vminterface
