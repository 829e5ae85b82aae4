# dom0 alone has what it pushes: what one VM is told is none of another VM's business. The VMs have what their side is
# told.
base:
  'dom0*':
    - qubes
  'not dom0*':
    - match: compound
    - vminterface
